"""Small HTTP server on the daemon's event loop. Clients cannot block it.

A connection serves one request and is closed after some seconds. The number of connections is limited.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, TypeAlias

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

__all__ = ["HOST", "PORT", "HealthSource", "HttpResponse", "PageHandler", "serve"]

HOST: Final = "127.0.0.1"
PORT: Final = 9464
"""Default port. It is the one of OpenTelemetry's Prometheus exporters."""

_CONNECTIONS: Final = 64
"""Maximum count of open connections. A scraper, two probes and a browser need a handful."""
_SECONDS: Final = 10.0
"""Lifetime of a connection in seconds. Scrapers have the same timeout."""
_REJECT_SECONDS: Final = 0.01
"""Lifetime in seconds of a connection beyond the limit. It is not 0, as aiohttp must register the connection first."""
_LINE: Final = 2048
"""Maximum size in bytes of one line of a request. Browsers send some hundreds."""
_HEADERS: Final = 64
"""Maximum count of headers of a request."""

_COMMON_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "senderid",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every response. They forbid scripts, frames, caching and use by other sites."""


_TEXT: Final = "text/plain; charset=utf-8"


class HttpResponse(NamedTuple):
    """An HTTP response. `headers` are sent in addition to the headers of every response."""

    status: int
    body: bytes
    content_type: str = _TEXT
    headers: Mapping[str, str] = MappingProxyType({})


METHOD_NOT_ALLOWED: Final = HttpResponse(
    405, b"method not allowed; use GET or HEAD\n", headers=MappingProxyType({"Allow": "GET, HEAD"})
)


class HealthSource(Protocol):
    """Source of the daemon's metrics and health. No method blocks."""

    def render_metrics(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in a format that the Accept header allows, and their content type."""
        ...

    def why_not_alive(self) -> str | None:
        """Return why the daemon should be restarted, or None if it is alive."""
        ...

    def why_not_ready(self) -> str | None:
        """Return why the daemon is not ready, or None if it is ready."""
        ...


PageHandler: TypeAlias = Callable[
    [web.BaseRequest, dict[str, str], Callable[[float], None]], Awaitable[HttpResponse | web.StreamResponse]
]
"""Returns the response to a request, such as `StatusPages.respond`.

The second argument is the headers of every response, which it may change. The third argument is called with seconds to
let the connection live that long from now.
"""


@asynccontextmanager
async def serve(
    state: HealthSource | None, host: str = HOST, port: int = PORT, pages: PageHandler | None = None
) -> AsyncIterator[str]:
    """Serve inside the `async with` block, and yield the URL. Port 0 selects a free port.

    `/metrics`, `/healthz` and `/readyz` report the `state` of the daemon. If `state` is None, there is no `/metrics`,
    and the health checks succeed. `pages` responds to all other paths; without it, they do not exist.

    Raises:
        OSError: the port cannot be used. Its `filename` is the address and the port.
    """
    runner = web.ServerRunner(_Bounded(state, pages), shutdown_timeout=0.1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=_CONNECTIONS).start()
        except OSError as error:
            text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise OSError(error.errno, text, f"{host}:{port}") from None
        name, at = runner.addresses[0][:2]
        yield f"http://[{name}]:{at}" if ":" in name else f"http://{name}:{at}"
    finally:
        await runner.cleanup()


def _reports(state: HealthSource | None) -> Mapping[str, Callable[[str], HttpResponse]]:
    if state is None:
        return dict.fromkeys(("/healthz", "/readyz"), lambda _: _reason(None))

    def metrics(accept: str) -> HttpResponse:
        body, content_type = state.render_metrics(accept)
        return HttpResponse(200, body, content_type)

    return {
        "/metrics": metrics,
        "/healthz": lambda _: _reason(state.why_not_alive()),
        "/readyz": lambda _: _reason(state.why_not_ready()),
    }


def _reason(reason: str | None) -> HttpResponse:
    return HttpResponse(200, b"ok\n") if reason is None else HttpResponse(503, f"{reason}\n".encode())


class _Bounded(web.Server):
    """HTTP server that closes each connection at the end of its lifetime, and excess connections immediately."""

    def __init__(self, state: HealthSource | None, pages: PageHandler | None) -> None:
        # anyone can send invalid requests: they must not fill the log
        silent = logging.getLogger(__name__)
        silent.disabled = True
        super().__init__(
            self._respond,
            access_log=silent,
            logger=silent,
            lingering_time=0,
            # if a client disconnects, its event stream ends and frees its slot
            handler_cancellation=True,
            max_line_size=_LINE,
            max_field_size=_LINE,
            max_headers=_HEADERS,
        )
        self._reports = _reports(state)
        self._pages = pages
        self._ends: dict[RequestHandler, asyncio.TimerHandle] = {}

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = dict(_COMMON_HEADERS)
        try:
            page = await self._page(request, headers)
        except Exception as error:  # noqa: BLE001 - a bug in a handler must not stop the daemon
            page = HttpResponse(500, f"a bug, please report it: {type(error).__name__}\n".encode())
        if isinstance(page, web.StreamResponse):
            return page
        more = {"Content-Type": page.content_type, **page.headers}
        response = web.Response(status=page.status, body=page.body, headers={**headers, **more})
        response.force_close()
        return response

    async def _page(self, request: web.BaseRequest, headers: dict[str, str]) -> HttpResponse | web.StreamResponse:
        report = self._reports.get(request.path)
        if report is None:
            if self._pages is None:
                return HttpResponse(404, f"not found; the paths are {', '.join(self._reports)}\n".encode())
            return await self._pages(request, headers, lambda seconds: self._last(request, seconds))
        if request.method not in {"GET", "HEAD"}:
            return METHOD_NOT_ALLOWED
        return report(request.headers.get("Accept", ""))

    def _last(self, request: web.BaseRequest, seconds: float) -> None:
        """Set the end of a request's connection to `seconds` from now."""
        handler, transport = request.protocol, request.transport
        if handler in self._ends and transport is not None:
            self._ends[handler].cancel()
            self._ends[handler] = asyncio.get_running_loop().call_later(seconds, transport.abort)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Start the timer that closes a new connection."""
        super().connection_made(handler, transport)
        lives = _SECONDS if len(self._ends) < _CONNECTIONS else _REJECT_SECONDS
        self._ends[handler] = asyncio.get_running_loop().call_later(lives, transport.abort)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Cancel the timer of a closed connection."""
        self._ends.pop(handler).cancel()
        super().connection_lost(handler, exc)
