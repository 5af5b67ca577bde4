"""What is answered over HTTP: metrics, health, and the status page. Nothing here changes anything."""

from worker.web.auth import MIN_TOKEN_LENGTH, Access, loopback
from worker.web.server import HOST, PORT, HealthSource, Response, serve
from worker.web.site import StatusPages

__all__ = ["HOST", "MIN_TOKEN_LENGTH", "PORT", "Access", "HealthSource", "Response", "StatusPages", "loopback", "serve"]
