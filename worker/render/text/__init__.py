"""Renderer of plans, results, recorded runs and calendars as text for a terminal."""

from worker.render.text.document import plan, result

__all__ = ["plan", "result"]
