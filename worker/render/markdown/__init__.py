"""Plans, results and stories in GitHub-flavoured Markdown, as comments on a pull or merge request."""

from worker.render.markdown.page import CAP
from worker.render.markdown.plans import plan
from worker.render.markdown.results import result
from worker.render.markdown.stories import run

__all__ = ["CAP", "plan", "result", "run"]
