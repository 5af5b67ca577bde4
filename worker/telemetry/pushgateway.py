"""A client of the Prometheus push gateway, with a time limit."""

from collections.abc import Callable
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import pushadd_to_gateway

from worker.model.messages import Message
from worker.telemetry.threads import run_with_timeout

__all__ = ["TIMEOUT_SECONDS", "push"]

TIMEOUT_SECONDS: Final = 2.0
"""Time limit in seconds for the push at the end of a run. A gateway in the same network responds in milliseconds."""

_SCHEMES: Final = ("http://", "https://")


class _NoRedirects(HTTPRedirectHandler):
    """A handler that follows no redirect, so that metrics go only to the gateway of the settings."""

    def redirect_request(self, *_: object) -> None:
        """Return None, which makes the redirect an HTTPError."""


def push(registry: CollectorRegistry, url: str, job: str, *, timeout: float = TIMEOUT_SECONDS) -> str | None:
    """Push all metrics of a registry to the gateway at `url`. Return the reason if it fails, else None.

    `timeout` is the limit for the whole push, in seconds. The gateway keeps metrics of the same job whose names are not
    in the registry, so a run does not remove metrics for which it has no values.
    """
    failures: list[str | None] = []
    no_response = Message("no response within {timeout:g} seconds", timeout=timeout)

    def work() -> None:
        try:
            pushadd_to_gateway(url, job, registry, timeout=timeout, handler=_sender)
        except HTTPError as error:
            failures.append(Message("the gateway returned status {code}", code=error.code))
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            is_silent = isinstance(reason, TimeoutError)
            failures.append(
                no_response if is_silent else str(getattr(reason, "strerror", None) or reason) or type(error).__name__
            )
        else:
            failures.append(None)

    # the request's timeout applies to each read: a gateway that sends one byte a second would never time out
    return failures[0] if run_with_timeout(timeout, work) else no_response


def _sender(
    url: str, method: str, timeout: float | None, headers: list[tuple[str, str]], data: bytes
) -> Callable[[], None]:
    def send() -> None:
        assert url.startswith(_SCHEMES), Message("settings accept no other scheme")  # noqa: S101 - a bug of the worker
        request = Request(url, data=data, headers=dict(headers), method=method)  # noqa: S310 - see above
        # proxies of the environment are not used here either
        with build_opener(ProxyHandler({}), _NoRedirects).open(request, timeout=timeout):
            pass

    return send
