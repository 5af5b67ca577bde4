"""Read-only HTTP server for metrics, health checks and the status page."""

from worker.web.auth import MIN_TOKEN_LENGTH, Access, is_loopback
from worker.web.server import HOST, PORT, HealthSource, HttpResponse, serve
from worker.web.site import StatusPages

__all__ = [
    "HOST",
    "MIN_TOKEN_LENGTH",
    "PORT",
    "Access",
    "HealthSource",
    "HttpResponse",
    "StatusPages",
    "is_loopback",
    "serve",
]
