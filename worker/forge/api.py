"""Requests to the REST API of a forge. A token goes to that host and to no other."""

import json
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

__all__ = ["Api", "Failed"]

_PATIENCE: Final = 30.0
"""Seconds without an answer."""
_PAGE: Final = 100
_PAGES: Final = 100
"""Pages that are read at most: nobody has written ten thousand comments on one request."""
_CAP: Final = 300 << 20
"""Bytes of an answer."""


class Failed(Exception):
    """The forge did not do what it was asked to. The message says what, and what to look at."""


class _Staying(HTTPRedirectHandler):
    """Follows nothing: a token must not be carried on."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """No request: the redirect is an error."""


class Api:
    """A forge's API below `base`, an HTTP URL, with `headers` that carry the token."""

    def __init__(self, base: str, headers: Mapping[str, str]) -> None:
        if urlsplit(base).scheme not in {"http", "https"}:
            raise Failed("the API's URL is not one of HTTP: check the environment of this job")
        self._base = base.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "senderid", **headers}
        self._opener: OpenerDirector = build_opener(_Staying)

    def get(self, path: str, **query: str) -> Any:
        """The JSON at a path."""
        return self._json("GET", path, query)

    def send(self, method: str, path: str, **fields: Any) -> Any:
        """Send JSON, and give the JSON that comes back."""
        return self._json(method, path, {}, json.dumps(fields).encode())

    def pages(self, path: str, **query: str) -> Iterator[Any]:
        """Every item of a list, page after page."""
        for page in range(1, _PAGES + 1):
            items = self.get(path, **query, per_page=str(_PAGE), page=str(page))
            if not isinstance(items, list):
                raise Failed(f"{path}: the answer is no list")
            yield from items
            if len(items) < _PAGE:
                return

    def download(self, path: str) -> bytes:
        """The bytes at a path, or where it sends to, who is not shown the token."""
        try:
            return self._read(Request(self._base + path, headers=self._headers))  # noqa: S310 - HTTP, see above
        except HTTPError as error:
            elsewhere = error.headers.get("Location")
            if error.code not in {301, 302, 303, 307, 308} or not elsewhere:
                raise Failed(_told("GET", path, error)) from None
        if urlsplit(elsewhere).scheme not in {"http", "https"}:
            raise Failed(f"GET {path}: sends to something that is not HTTP")
        try:
            return self._read(Request(elsewhere, headers={"User-Agent": "senderid"}))  # noqa: S310 - as above
        except HTTPError as error:
            raise Failed(_told("GET", path, error)) from None

    def _json(self, method: str, path: str, query: Mapping[str, str], body: bytes | None = None) -> Any:
        url = f"{self._base}{path}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        try:
            answer = self._read(Request(url, data=body, headers=headers, method=method))  # noqa: S310 - HTTP, see above
            return json.loads(answer) if answer else None
        except HTTPError as error:
            raise Failed(_told(method, path, error)) from None
        except ValueError:
            raise Failed(f"{method} {path}: the answer is not JSON") from None

    def _read(self, request: Request) -> bytes:
        try:
            with self._opener.open(request, timeout=_PATIENCE) as answer:
                data: bytes = answer.read(_CAP + 1)
        except HTTPError:
            raise
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise Failed(f"{request.get_method()} {urlsplit(request.full_url).path}: no answer ({reason})") from None
        if len(data) > _CAP:
            raise Failed(f"{urlsplit(request.full_url).path}: the answer is longer than any plan")
        return data


def _told(method: str, path: str, error: HTTPError) -> str:
    hints = {
        401: "the token is not known: check it",
        403: "the token may not do that: check the job's permissions",
        404: "it is not there, or the token may not see it: check the job's permissions",
    }
    return f"{method} {path}: {error.code}, {hints.get(error.code, 'try again')}"
