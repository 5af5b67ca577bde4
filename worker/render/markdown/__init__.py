"""Plans, results and stories in GitHub-flavoured Markdown, as comments on a pull or merge request."""

from worker.render.markdown.fit import CAP
from worker.render.markdown.plan import plan
from worker.render.markdown.result import result
from worker.render.markdown.run import run

__all__ = ["CAP", "plan", "result", "run"]
