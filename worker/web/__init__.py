"""What the daemon answers over HTTP: its metrics, whether it lives and is ready. Nothing here changes anything."""

from worker.web.server import Page, State, served

__all__ = ["Page", "State", "served"]
