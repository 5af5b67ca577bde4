"""Requests to the REST API of a forge, with retries within bounds. A token goes to that host and to no other."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any, Final, cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from worker.cli.ci.limits import backoff

__all__ = ["MOST_ITEMS", "Api", "CiError", "NoUsableResponse", "NotFound", "PlanRefused"]

_TIMEOUT_SECONDS: Final = 30.0
"""Seconds to wait for a reply."""
_PAGE: Final = 100
_PAGES: Final = 100
"""Most pages of a list that are read."""
MOST_ITEMS: Final = _PAGE * _PAGES
"""Most items of a list that are read."""
_CAP: Final = 300 << 20
"""Most bytes of a reply."""
_ERROR_CAP: Final = 64 << 10
"""Most bytes of an error's reply."""
_TRIES: Final = 5
"""Tries of one request, the first included."""
_BUDGET: Final = 120.0
"""Seconds that one command waits between tries, over all its requests."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class CiError(Exception):
    """A request to the forge failed. The message says what failed, and what to do."""

    status = 1
    """The exit status of the command."""


class NotFound(CiError):
    """The forge has nothing at that path, or the token may not see it."""


class NoUsableResponse(CiError):
    """A request that must not be repeated blindly has no usable answer: it may have taken effect.

    `seconds` is how long the forge asks to wait before the next try, None where it does not say.
    """

    def __init__(self, problem: str, seconds: float | None = None) -> None:
        super().__init__(problem)
        self.seconds = seconds


class PlanRefused(CiError):
    """A rule forbids to apply the plan. Nothing was written."""

    status = 4


class _NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: a token must not reach another host."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Return no request, which makes the redirect an error."""


def _report(line: str) -> None:
    sys.stderr.write(f"senderid: {line}\n")


class Api:
    """A forge's API below `base`, an HTTP URL, with `headers` that carry the token.

    A request that meets a rate limit, a server error or a broken connection is sent again, up to 5 times in all, while
    the waits of this object stay within 2 minutes. `sleep` waits some seconds, `wall` is the Unix time, and `report`
    gets a line for each wait.
    """

    def __init__(
        self,
        base: str,
        headers: Mapping[str, str],
        *,
        sleep: Callable[[float], None] = time.sleep,
        wall: Callable[[], float] = time.time,
        report: Callable[[str], None] = _report,
    ) -> None:
        if urlsplit(base).scheme not in {"http", "https"}:
            raise CiError("the API's URL is not one of HTTP: check the environment of this job")
        self._base = base.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "senderid", **headers}
        self._opener: OpenerDirector = build_opener(_NoRedirects)
        self._sleep = sleep
        self._wall = wall
        self._report = report
        self._budget = _BUDGET

    def get(self, path: str, /, **query: str) -> Any:
        """Return the JSON at a path."""
        return self._json("GET", path, query)

    def replace(self, method: str, path: str, **fields: Any) -> Any:
        """Send JSON that may be sent again, as a second time changes nothing; return the JSON of the answer."""
        return self._json(method, path, {}, fields)

    def delete(self, path: str) -> None:
        """Delete the item at a path; one that is not there any more is deleted."""
        with suppress(NotFound):
            self._json("DELETE", path, {})

    def create(self, path: str, find: Callable[[], Any], **fields: Any) -> Any:
        """Create an item once, and return it.

        Where a POST has no usable answer, `find` looks the item up before it is sent again, so that there is no second,
        and after the last try, so that an item that is there is not reported as a failure.
        """
        attempt = 0
        while True:
            attempt += 1
            seconds: float | None = None
            try:
                response = self._json("POST", path, {}, fields, is_repeatable=False)
                if isinstance(response, dict) and "id" in response:
                    return response
                problem = f"POST {path}: the answer names no item"
            except NoUsableResponse as error:
                problem, seconds = str(error), error.seconds
            if attempt < _TRIES:
                self._wait(seconds, problem, attempt)
            item = find()
            if item is not None:
                return item
            if attempt >= _TRIES:
                raise _attempts_used_up(problem, attempt)

    def pages(self, path: str, /, **query: str) -> Iterator[Any]:
        """Yield every item of a list, page after page."""
        for page in range(1, _PAGES + 1):
            items = self.get(path, **query, per_page=str(_PAGE), page=str(page))
            if not isinstance(items, list):
                raise CiError(f"{path}: the answer is no list")
            yield from items
            if len(items) < _PAGE:
                return

    def download(self, path: str, accept: str = "*/*", **query: str) -> bytes:
        """Return the bytes at a path, or at the place that it redirects to, which is not shown the token."""
        try:
            return self._send(Request(self._url(path, query), headers=self._headers | {"Accept": accept}))  # noqa: S310 - HTTP, see above
        except HTTPError as error:
            elsewhere = error.headers.get("Location")
            if error.code not in _REDIRECTS or not elsewhere:
                raise _failure("GET", path, error) from None
        if urlsplit(elsewhere).scheme not in {"http", "https"}:
            raise CiError(f"GET {path}: sends to something that is not HTTP")
        try:
            return self._send(Request(elsewhere, headers={"User-Agent": "senderid"}))  # noqa: S310 - as above
        except HTTPError as error:
            raise _failure("GET", path, error) from None

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        return f"{self._base}{path}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        fields: Mapping[str, Any] | None = None,
        *,
        is_repeatable: bool = True,
    ) -> Any:
        body = None if fields is None else json.dumps(fields).encode()
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        request = Request(self._url(path, query), data=body, headers=headers, method=method)  # noqa: S310 - HTTP, see above
        try:
            response = self._send(request, is_repeatable=is_repeatable)
            return json.loads(response) if response else None
        except HTTPError as error:
            raise _failure(method, path, error) from None
        except (ValueError, RecursionError):
            raise (CiError if is_repeatable else NoUsableResponse)(f"{method} {path}: the answer is not JSON") from None

    def _send(self, request: Request, *, is_repeatable: bool = True) -> bytes:
        """Return the answer to a request, which is sent again while that can help.

        Raises:
            HTTPError: an answer that another try would not change.
            Unanswered: the request is not repeatable, and may have taken effect.
            Failed: there were too many tries, or the wait would be too long.
        """
        name = f"{request.get_method()} {urlsplit(request.full_url).path}"
        attempt = 0
        while True:
            attempt += 1
            seconds: float | None = None
            try:
                return self._read(request)
            except HTTPError as error:
                with error:
                    headers = cast("Mapping[str, str]", error.headers)
                    wait = backoff(error.code, headers, _beginning(error), self._wall())
                if wait is None:
                    raise
                problem, seconds = f"{name}: {error.code}, {wait.reason}", wait.seconds
                is_certain = wait.is_refusal
            except (URLError, HTTPException, OSError) as error:
                problem, is_certain = f"{name}: no answer ({getattr(error, 'reason', error)})", False
            if not (is_certain or is_repeatable):
                raise NoUsableResponse(problem, seconds)
            self._wait(seconds, problem, attempt)

    def _wait(self, seconds: float | None, problem: str, attempt: int) -> None:
        """Wait before the next try, for as long as the forge asks, or else twice as long as the last time.

        Raises:
            Failed: there were too many tries, or the wait would be too long.
        """
        if attempt >= _TRIES:
            raise _attempts_used_up(problem, attempt)
        seconds = 2.0 ** (attempt - 1) if seconds is None else seconds
        if seconds > self._budget:
            raise CiError(
                f"{problem}; the next try would have to wait {seconds:,.0f} s, longer than the {_BUDGET:g} s that a "
                "command waits in all: run the job again later"
            )
        self._budget -= seconds
        self._report(f"{problem}; waiting {seconds:,.0f} s before try {attempt + 1} of {_TRIES}")
        self._sleep(seconds)

    def _read(self, request: Request) -> bytes:
        with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
            data: bytes = response.read(_CAP + 1)
        if len(data) > _CAP:
            raise CiError(f"{urlsplit(request.full_url).path}: the answer is longer than any plan")
        return data


def _beginning(error: HTTPError) -> bytes:
    try:
        return error.read(_ERROR_CAP)
    except (HTTPException, OSError):
        return b""


def _attempts_used_up(problem: str, attempt: int) -> CiError:
    return CiError(f"{problem}; gave up after {attempt} tries: run the job again")


def _failure(method: str, path: str, error: HTTPError) -> CiError:
    hints = {
        401: "the token is not known: check it",
        403: "the token may not do that: check the job's permissions",
        404: "it is not there, or the token may not see it: check the job's permissions",
    }
    kind = NotFound if error.code == 404 else CiError  # noqa: PLR2004 - the status
    return kind(f"{method} {path}: {error.code}, {hints.get(error.code, 'run the job again')}")
