"""What the daemon answers over HTTP: its metrics, whether it lives and is ready. Nothing here changes anything."""

from worker.web.server import HOST, Page, State, served

__all__ = ["HOST", "Page", "State", "served"]
