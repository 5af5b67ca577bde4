"""What is answered over HTTP: metrics, health, and the status page. Nothing here changes anything."""

from worker.web.access import LEAST, Access, loopback
from worker.web.answers import Page
from worker.web.pages import Site
from worker.web.server import HOST, PORT, State, served

__all__ = ["HOST", "LEAST", "PORT", "Access", "Page", "Site", "State", "loopback", "served"]
