"""Push metrics to a gateway within a bounded time, whatever the gateway does."""

from collections.abc import Callable
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import pushadd_to_gateway

from worker.model.messages import Message
from worker.telemetry.threads import run_with_timeout

__all__ = ["PATIENCE", "push"]

PATIENCE: Final = 2.0
"""Seconds that a run waits for a gateway when it ends: one in the same network answers in milliseconds."""

_SCHEMES: Final = ("http://", "https://")


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: metrics go only to the gateway of the settings."""

    def redirect_request(self, *_: object) -> None:
        """Return None, which makes the redirect an HTTPError."""


def push(registry: CollectorRegistry, url: str, job: str, *, patience: float = PATIENCE) -> str | None:
    """Push all metrics of the registry to a gateway. Return the reason of a failure, None on success.

    Metrics of other names stay at the gateway: a run does not remove metrics that it has no values for.
    """
    failures: list[str | None] = []
    silence = Message("no answer within {patience:g} seconds", patience=patience)

    def work() -> None:
        try:
            pushadd_to_gateway(url, job, registry, timeout=patience, handler=_sender)
        except HTTPError as error:
            failures.append(Message("it answered {code}", code=error.code))
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            is_silent = isinstance(reason, TimeoutError)
            failures.append(
                silence if is_silent else str(getattr(reason, "strerror", None) or reason) or type(error).__name__
            )
        else:
            failures.append(None)

    # the request's timeout applies to each read: a gateway that sends one byte a second would never time out
    return failures[0] if run_with_timeout(patience, work) else silence


def _sender(
    url: str, method: str, timeout: float | None, headers: list[tuple[str, str]], data: bytes
) -> Callable[[], None]:
    def send() -> None:
        assert url.startswith(_SCHEMES), Message("settings let nothing else through")  # noqa: S101 - a bug of the worker
        request = Request(url, data=data, headers=dict(headers), method=method)  # noqa: S310 - see above
        # proxies of the environment are not used here either
        with build_opener(ProxyHandler({}), _NoRedirects).open(request, timeout=timeout):
            pass

    return send
