"""Renderer of plans, results and runs as GitHub-flavoured Markdown, for comments on a pull or merge request."""

from worker.model.history import RunRecord
from worker.model.plans import Plan
from worker.model.results import Result
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.markdown.comment import CAP, comment
from worker.render.markdown.escape import code, prose
from worker.render.marks import ending_mark
from worker.render.view import plan_view, result_view, run_view
from worker.render.view.plan import merge_verdict
from worker.render.view.run import user_and_host

__all__ = ["CAP", "plan", "result", "run"]


def plan(plan: Plan, *, drift: bool = False) -> str:
    """Return a plan as Markdown that fits a comment. With `drift`, the plan contains drift only."""
    view = plan_view(plan, drift=drift)
    return comment(view, prose(view.verdict), verdict="" if drift else merge_verdict(view))


def result(result: Result, remark: str = "") -> str:
    """Return a result as Markdown that fits a comment, followed by `remark`."""
    view = result_view(result)
    return comment(view, prose(view.verdict), [" ".join(remark.split())] if remark else [])


def run(run: RunRecord) -> str:
    """Return a run of the ledger as Markdown that fits a comment."""
    title = _("Run {run}: {outcome}").format(
        run=code(run.run_id),
        outcome=translate(ending_mark(run.outcome, [account.error for account in run.accounts]).word),
    )
    about = _("{command} by {user}, {start}, senderid {version}").format(
        command=run.command,
        user=user_and_host(run),
        start=f"{run.started_at[:10]} {run.started_at[11:19]} UTC",
        version=run.version,
    )
    plan_file = [] if run.plan is None else [_("plan file {plan}").format(plan=run.plan)]
    return comment(run_view(run), title, [about, *plan_file])
