"""View models: the content of a plan, a result or a run, shared by text, Markdown, HTML and the status page.

The texts of a view are translated. Text from the API, files or users is not escaped in a view; each renderer escapes
it.
"""

from worker.render.view.plan import plan_view
from worker.render.view.result import result_view
from worker.render.view.run import run_view

__all__ = ["plan_view", "result_view", "run_view"]
