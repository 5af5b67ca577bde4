"""View models: the content of a plan, a result or a run, shared by text, Markdown, HTML and the status page.

A view has its texts in the reader's language. Foreign text in a view is not escaped: each renderer escapes it.
"""

from worker.render.view.plan import plan_view
from worker.render.view.result import result_view
from worker.render.view.run import run_view

__all__ = ["plan_view", "result_view", "run_view"]
