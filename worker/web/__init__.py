"""What is answered over HTTP: metrics, health, and the status page. Nothing here changes anything."""

from worker.web.auth import LEAST, Access, loopback
from worker.web.server import HOST, PORT, Page, State, served
from worker.web.site import Site

__all__ = ["HOST", "LEAST", "PORT", "Access", "Page", "Site", "State", "loopback", "served"]
