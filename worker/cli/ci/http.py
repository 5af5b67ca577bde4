"""Client of the REST API of GitHub or GitLab, with bounded retries. The token is sent only to the API's host."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException
from math import ceil
from typing import Any, Final, NamedTuple, cast
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from worker.solapi.wire import retry_after

__all__ = ["MAX_ITEMS", "Api", "Backoff", "CiError", "NoUsableResponse", "NotFound", "PlanRefused", "backoff"]

_TIMEOUT_SECONDS: Final = 30.0
"""Timeout of a request in seconds."""
_PAGE: Final = 100
_PAGES: Final = 100
"""Maximum count of pages of a list that are read."""
MAX_ITEMS: Final = _PAGE * _PAGES
"""Maximum count of items of a list that are read."""
_CAP: Final = 300 << 20
"""Maximum size in bytes of a response."""
_ERROR_CAP: Final = 64 << 10
"""Maximum size in bytes of an error response."""
_TRIES: Final = 5
"""Attempts of one request, including the first."""
_BUDGET: Final = 120.0
"""Total seconds that a command waits between attempts of all its requests."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class CiError(Exception):
    """An error of a step. The message says what failed and what to do."""

    status = 1
    """The exit status of the command."""


class NotFound(CiError):
    """The path does not exist on the forge, or the token does not permit reading it."""


class NoUsableResponse(CiError):
    """A request that must not be repeated got no usable response, so it may have taken effect.

    `seconds` is the wait that the server requires before the next attempt; None if it requires none.
    """

    def __init__(self, problem: str, seconds: float | None = None) -> None:
        super().__init__(problem)
        self.seconds = seconds


class PlanRefused(CiError):
    """The plan must not be applied. Nothing was written."""

    status = 4


class _NoRedirects(HTTPRedirectHandler):
    """Redirect handler that follows no redirect, as the token must not be sent to another host."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Return None, which makes the redirect an error."""


def _report(line: str) -> None:
    sys.stderr.write(f"senderid: {line}\n")


class Api:
    """Client of the API below the URL `base`. `headers` contain the token.

    After a rate limit, a server error or a broken connection, a request is retried. It has at most 5 attempts, and all
    waits of one client take at most 2 minutes. `sleep` waits some seconds, `wall` returns the Unix time in seconds, and
    `report` is called with a line for each wait.
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
        """Return the decoded JSON at a path."""
        return self._json("GET", path, query)

    def replace(self, method: str, path: str, **fields: Any) -> Any:
        """Send an idempotent request with `fields` as JSON. Return the decoded JSON of the response."""
        return self._json(method, path, {}, fields)

    def delete(self, path: str) -> None:
        """Delete the item at a path. A missing item is not an error."""
        with suppress(NotFound):
            self._json("DELETE", path, {})

    def create(self, path: str, find: Callable[[], Any], **fields: Any) -> Any:
        """Create an item exactly once, and return it.

        `find` returns the item if it exists. It is called after a POST without a usable response, before the next
        attempt and after the last one, so that the item is neither created twice nor reported as a failure.
        """
        attempt = 0
        while True:
            attempt += 1
            seconds: float | None = None
            try:
                response = self._json("POST", path, {}, fields, is_repeatable=False)
                if isinstance(response, dict) and "id" in response:
                    return response
                problem = f"POST {path}: the response has no item"
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
        """Yield all items of a paginated list."""
        for page in range(1, _PAGES + 1):
            items = self.get(path, **query, per_page=str(_PAGE), page=str(page))
            if not isinstance(items, list):
                raise CiError(f"{path}: the response is not a list")
            yield from items
            if len(items) < _PAGE:
                return

    def download(self, path: str, accept: str = "*/*", **query: str) -> bytes:
        """Return the bytes at a path. A redirect is followed without the token."""
        try:
            return self._send(Request(self._url(path, query), headers=self._headers | {"Accept": accept}))  # noqa: S310 - HTTP, see above
        except HTTPError as error:
            location = error.headers.get("Location")
            if error.code not in _REDIRECTS or not location:
                raise _failure("GET", path, error) from None
        if urlsplit(location).scheme not in {"http", "https"}:
            raise CiError(f"GET {path}: sends to something that is not HTTP")
        try:
            return self._send(Request(location, headers={"User-Agent": "senderid"}))  # noqa: S310 - as above
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
            raise (CiError if is_repeatable else NoUsableResponse)(
                f"{method} {path}: the response is not JSON"
            ) from None

    def _send(self, request: Request, *, is_repeatable: bool = True) -> bytes:
        """Send a request with retries, and return the body of the response.

        Raises:
            HTTPError: the response is an error that a retry would not change.
            NoUsableResponse: the request is not repeatable, and may have taken effect.
            CiError: the attempts are used up, or the wait would be too long.
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
                problem, is_certain = f"{name}: no response ({getattr(error, 'reason', error)})", False
            if not (is_certain or is_repeatable):
                raise NoUsableResponse(problem, seconds)
            self._wait(seconds, problem, attempt)

    def _wait(self, seconds: float | None, problem: str, attempt: int) -> None:
        """Wait before the next attempt: as long as the server requires, or twice as long as before the last attempt.

        Raises:
            CiError: the attempts are used up, or the wait would be too long.
        """
        if attempt >= _TRIES:
            raise _attempts_used_up(problem, attempt)
        seconds = 2.0 ** (attempt - 1) if seconds is None else seconds
        if seconds > self._budget:
            raise CiError(
                f"{problem}; the next attempt would have to wait {seconds:,.0f} s, longer than the {_BUDGET:g} s "
                "that a command waits in total: run the job again later"
            )
        self._budget -= seconds
        self._report(f"{problem}; waiting {seconds:,.0f} s before attempt {attempt + 1} of {_TRIES}")
        self._sleep(seconds)

    def _read(self, request: Request) -> bytes:
        with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
            data: bytes = response.read(_CAP + 1)
        if len(data) > _CAP:
            raise CiError(f"{urlsplit(request.full_url).path}: the response is larger than any plan")
        return data


def _beginning(error: HTTPError) -> bytes:
    try:
        return error.read(_ERROR_CAP)
    except (HTTPException, OSError):
        return b""


def _attempts_used_up(problem: str, attempt: int) -> CiError:
    return CiError(f"{problem}; gave up after {attempt} attempts: run the job again")


def _failure(method: str, path: str, error: HTTPError) -> CiError:
    hints = {
        401: "the token is invalid: check it",
        403: "the token lacks a permission: check the job's permissions",
        404: "not found, or not visible to the token: check the job's permissions",
    }
    kind = NotFound if error.code == 404 else CiError  # noqa: PLR2004 - the status
    return kind(f"{method} {path}: {error.code}, {hints.get(error.code, 'run the job again')}")


_LIMITED: Final = frozenset({403, 429})


_TIMED_OUT: Final = 408


_SERVER_ERROR: Final = 500
"""The lowest HTTP status of server errors. Proxies send non-standard ones, such as 520 to 524."""


_MINUTE: Final = 60.0
"""Seconds to wait if a rate limit does not say how long. GitHub requires at least a minute."""


class Backoff(NamedTuple):
    """The reason to wait and retry a request. `seconds` is None if the server does not say how long.

    `is_refusal` is True if the server refused the request, so that it had no effect.
    """

    reason: str
    seconds: float | None
    is_refusal: bool


def backoff(code: int, headers: Mapping[str, str], body: bytes, now: float) -> Backoff | None:
    """Return the backoff after an error response; None if a retry cannot succeed.

    A response 403 is a rate limit if its headers or its message say so; otherwise, a permission is missing. `now` is
    the Unix time in seconds.
    """
    seconds = retry_after(headers)
    seconds = None if seconds is None else max(0.0, seconds)
    if code in _LIMITED:
        is_exhausted = _first(headers, "x-ratelimit-remaining", "RateLimit-Remaining") == "0"
        if seconds is None and is_exhausted:
            seconds = _until(_first(headers, "x-ratelimit-reset", "RateLimit-Reset"), now)
        if seconds is not None or is_exhausted or code != 403 or b"rate limit" in body.lower():  # noqa: PLR2004 - the status
            return Backoff("rate limit", _MINUTE if seconds is None else seconds, is_refusal=True)
    if code == _TIMED_OUT or code >= _SERVER_ERROR:
        return Backoff("server error", seconds, is_refusal=False)
    return None


def _first(headers: Mapping[str, str], *names: str) -> str:
    return next((headers[name].strip() for name in names if name in headers), "")


def _until(reset: str, now: float) -> float | None:
    """Return the seconds until the Unix time `reset`, plus 1 as clocks differ; None if the text is not a time."""
    if not (reset.isascii() and reset.isdigit()):
        return None
    return max(0.0, ceil(float(reset[:12]) - now)) + 1
