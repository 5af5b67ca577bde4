"""Plans, results and runs as one HTML file each, to be opened, searched, printed and handed on."""

from worker.render.report.plans import plan
from worker.render.report.results import result
from worker.render.report.stories import number, run, runs

__all__ = ["number", "plan", "result", "run", "runs"]
