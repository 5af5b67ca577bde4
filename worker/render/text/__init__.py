"""Plans and results as text for people."""

from worker.render.text.plan import plan
from worker.render.text.result import result

__all__ = ["plan", "result"]
