"""An HTTP server that receives notifications as a webhook does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self

__all__ = ["Webhook"]


class Webhook:
    """Server that receives JSON: status 200 under /ok, 500 under /bad, and no response before its end under /hang."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.arrived = threading.Event()
        self._over = threading.Event()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            codes: ClassVar = {"/ok": 200, "/bad": 500}

            def do_POST(self) -> None:
                webhook.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                webhook.headers.append(dict(self.headers))
                webhook.arrived.set()
                path = "/" + self.path.split("/")[1]
                if path == "/hang":
                    webhook._over.wait()
                self.send_response(self.codes.get(path, 200))
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, path: str) -> str:
        """Return the URL of a channel that sends to a path of this server."""
        return f"json://127.0.0.1:{self._server.server_address[1]}/{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
