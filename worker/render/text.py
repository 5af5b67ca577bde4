"""Plans and results as text for people."""

from worker.render.done import result
from worker.render.planned import plan

__all__ = ["plan", "result"]
