"""View models: what a plan, a result or a run shows, decided once for text, Markdown, HTML and the status page.

A view has its texts in the reader's language. Foreign text in it is not yet harmless: each renderer escapes it.
"""

from worker.render.view.plan import plan_view
from worker.render.view.result import result_view
from worker.render.view.run import run_view

__all__ = ["plan_view", "result_view", "run_view"]
