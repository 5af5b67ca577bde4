"""Plans, results and runs as one HTML file each, to be opened, searched, printed and handed on."""

from worker.render.report.plan import plan
from worker.render.report.result import result
from worker.render.report.run import number, run, runs

__all__ = ["number", "plan", "result", "run", "runs"]
