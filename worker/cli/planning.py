"""Planning, confirmation and reporting for the commands `plan`, `apply`, `drift` and `rollback`."""

import asyncio
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from worker.cli import load, options
from worker.cli.metrics import RunMetrics, run_metrics
from worker.config.files import STDOUT, check_writable
from worker.model.accounts import DesiredAccount
from worker.model.errors import Declined, DesiredStateError, WorkerError
from worker.model.messages import Message, system_text
from worker.model.plans import Plan
from worker.model.results import AccountResult, Result
from worker.render.i18n import gettext as _

if TYPE_CHECKING:
    from worker.cli.ledger import LedgerOptions
    from worker.cli.runner import Session
    from worker.config.settings import Settings
    from worker.daemon.notify.changes import Coverage
    from worker.model.plans import AccountPlan
    from worker.plan.build import Draft, Terms

__all__ = [
    "count_writes",
    "is_interactive",
    "notify",
    "notifying_of_files",
    "plan",
    "plan_accounts",
    "plan_document",
    "preview",
    "review",
    "run_and_report",
]

_YES: Final = "yes"
_HANG_UP_SECONDS: Final = 1.0
"""Maximum time in seconds to wait for SIGHUP after the terminal was closed. It may never arrive: it can be ignored."""


def plan(
    common: options.Common,
    *,
    out: str | None = None,
    is_detailed: bool = False,
    drift: bool = False,
    at: str | None = None,
) -> int:
    """Build and show a plan. Return the exit status.

    `out` is the file to which the plan is saved, if any. With `is_detailed`, pending changes have their own exit
    status. `at` is the time at which the desired state is evaluated, as the user typed it; None means now. `drift`
    limits the plan to drift.
    """
    common = options.route_text_output(common, out)
    settings = load.load_settings(common.settings_path, common.overrides)
    with run_metrics(settings, common.metrics_file) as metering:
        return _plan(common, settings, metering, out=out, is_detailed=is_detailed, drift=drift, at=at)


def _plan(
    common: options.Common,
    settings: "Settings",
    metering: RunMetrics,
    *,
    out: str | None,
    is_detailed: bool,
    drift: bool,
    at: str | None,
) -> int:
    with notifying_of_files(settings, is_wanted=drift):
        desired, others = load.load_with_others(settings, common.paths, common.accounts)
    selection = load.parse_selection(common, desired, others)
    rules = load.parse_rules(common.allow)
    moment = None if at is None else load.parse_time("--at", at, desired)

    from worker.cli import output, runner
    from worker.cli.exit_status import of_drift, of_plans
    from worker.config.revision import with_commits
    from worker.plan.build import Terms
    from worker.reconcile.log import log_plan

    desired = with_commits(desired)
    terms = Terms.of(settings, selection, rules, drift=drift)

    check_writable(None if out == STDOUT else out)
    check_writable(common.output)

    async def verb(run: "Session") -> int:
        drafts = await plan_accounts(run, desired, terms, others, now=moment)
        for draft in drafts:
            log_plan(draft, run.log.bind(account=draft.plan.account))
        document = plan_document(drafts, moment)
        if out is not None:
            _save(out, settings, desired, drafts, terms)
        if drift and not common.selects_numbers:
            await notify(run, document.accounts, [None] * len(document.accounts), "drift")
        output.plan(document, common, drift=drift)
        run.log.info("run.finished", counts=runner.total_counts(document.accounts))
        return of_drift(document.accounts) if drift else of_plans(document.accounts, is_detailed=is_detailed)

    return runner.run(verb, settings, no_color=common.no_color, reads_ledger=True, metering=metering)


def preview(
    plan_accounts: "Callable[[Session], Awaitable[list[Draft]]]",
    settings: "Settings",
    common: options.Common,
    *,
    metering: RunMetrics | None = None,
) -> int:
    """Show the plans that `plan_accounts` returns. Its client cannot write. Return the exit status of a plan."""
    from worker.cli import output, runner
    from worker.cli.exit_status import of_plans
    from worker.reconcile.log import log_plan

    check_writable(common.output)

    async def verb(run: "Session") -> int:
        drafts = await plan_accounts(run)
        run.metering.record_plans(drafts)
        for draft in drafts:
            log_plan(draft, run.log.bind(account=draft.plan.account))
        document = plan_document(drafts)
        output.plan(document, common)
        run.log.info("run.finished", counts=runner.total_counts(document.accounts))
        return of_plans(document.accounts, is_detailed=False)

    return runner.run(verb, settings, no_color=common.no_color, reads_ledger=True, metering=metering)


@contextmanager
def notifying_of_files(settings: "Settings", *, is_wanted: bool = True) -> Iterator[None]:
    """Send notifications of invalid desired-state files inside the `with` block, if the settings enable them."""
    try:
        yield
    except DesiredStateError as error:
        if settings.notify.one_shot and is_wanted:
            from worker.cli.notifications import notify_of_files

            notify_of_files(settings, error)
        raise


async def notify(
    run: "Session", plans: "Iterable[AccountPlan]", results: "Iterable[AccountResult | None]", coverage: "Coverage"
) -> None:
    """Send notifications of what a run shows, if the settings enable them."""
    if run.settings.notify.one_shot:
        from worker.cli.notifications import notify_of_accounts

        await notify_of_accounts(run, plans, results, coverage)


async def plan_accounts(
    run: "Session",
    desired: "Sequence[DesiredAccount]",
    terms: "Terms",
    others: "Sequence[DesiredAccount]",
    *,
    now: "datetime | None" = None,
) -> "list[Draft]":
    """Return the plan of each account, in order. `others` and `now` are as for `Fleet.plan`."""
    run.log.info("run.started", accounts=len(desired), numbers=sum(len(account.numbers) for account in desired))
    drafts = await run.fleet.plan(desired, terms, others, now=now)
    run.metering.record_plans(drafts)
    return drafts


def plan_document(drafts: "Sequence[Draft]", moment: "datetime | None" = None) -> "Plan":
    """Return the plans of all accounts as one document.

    `moment` is the aware time at which the desired state was evaluated; None means now.
    """
    from worker.cli.runner import now
    from worker.model.plans import Plan
    from worker.model.times import format_utc
    from worker.plan.planfile import fingerprint

    plans = tuple(draft.plan for draft in drafts)
    at = None if moment is None else format_utc(moment)
    return Plan(created_at=now(), at=at, fingerprint=fingerprint(plans), accounts=plans)


def _save(
    path: str, settings: "Settings", desired: "Sequence[DesiredAccount]", drafts: "Sequence[Draft]", terms: "Terms"
) -> None:
    from worker import __version__
    from worker.cli.output import emit
    from worker.cli.runner import now
    from worker.config.files import replace
    from worker.model.errors import PolicyRefusal
    from worker.model.plans import Verdict
    from worker.plan.planfile import LeftOut, SavedAccount, SavedPlan, seal
    from worker.plan.safety import effective_safety, effective_use

    accounts = []
    left_out = []
    for account, draft in zip(desired, drafts, strict=True):
        if draft.plan.verdict is Verdict.OK:
            endpoint = account.endpoint or settings.endpoint
            safety = effective_safety(terms.safety, account.safety)
            in_use = effective_use(terms.in_use, account.in_use)
            accounts.append(SavedAccount.of(account, draft.plan, endpoint=endpoint, safety=safety, in_use=in_use))
        else:
            error = (draft.error or PolicyRefusal(draft.plan.refusals)).info
            left_out.append(LeftOut(draft.plan.account, draft.plan.account_id, draft.plan.verdict, error))
    plan = SavedPlan.of(
        accounts, left_out, id=secrets.token_hex(16), created_at=now(), version=__version__, allow=terms.allow
    )
    if path == STDOUT:
        emit(seal(plan))
    else:
        replace(Path(path), seal(plan), mode=0o600)


def run_and_report(
    action: "Callable[[Session], Awaitable[list[AccountResult]]]",
    settings: "Settings",
    common: options.Common,
    ledger: "LedgerOptions | None",
    remark: "Callable[[Result], str]" = lambda _: "",
    *,
    metering: RunMetrics | None = None,
    report: "Callable[[Session, list[AccountResult]], Awaitable[None]] | None" = None,
) -> int:
    """Run `action` in a session, show its result, and return the exit status.

    `remark` returns a text that is printed below the result, except in JSON. `report` sends notifications of the
    result.
    """
    from worker.cli import output, runner
    from worker.cli.exit_status import of_result

    check_writable(common.output)

    async def verb(run: "Session") -> int:
        accounts = await action(run)
        result = run.result(accounts)
        run.metering.record_result(result)
        ledger_error = await run.finish(result)
        if report is not None:
            await report(run, accounts)
        counts = runner.total_counts(result.accounts)
        run.log.info("run.finished", outcome=result.outcome, counts=counts, writes=run.fleet.writes)
        run.progress.finish()
        try:
            output.result(result, common, remark)
        except BrokenPipeError:
            raise
        except OSError as error:
            message = Message(
                "{strerror}; the run is finished: see its result with `senderid history {run_id}`",
                strerror=system_text(error.strerror),
                run_id=run.run_id,
            )
            raise OSError(error.errno, message, error.filename) from None
        if ledger_error is not None:
            raise ledger_error
        return of_result(result)

    return runner.run(
        verb, settings, no_color=common.no_color, show_progress=True, ledger_options=ledger, metering=metering
    )


def is_interactive() -> bool:
    """Return True if stdin is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


async def review(
    run: "Session", drafts: "Sequence[Draft]", common: options.Common, *, must_confirm: bool
) -> WorkerError | None:
    """Log and show the plans, ask the user to confirm their writes, and start the progress bar for these.

    Return None if they may be applied, otherwise the error. Without `must_confirm`, the user is not asked, and the
    plans are only shown beside a result that is text on stdout.
    """
    from worker.reconcile.log import log_obstacles

    for draft in drafts:
        log_obstacles(draft, run.log.bind(account=draft.plan.account))
    if must_confirm or (common.output_format == "text" and common.output is None):
        _show_plans(drafts, common)
    writes = count_writes(drafts)
    decline_error = await _confirm(run) if writes and must_confirm else None
    if decline_error is None:
        run.progress.start(writes)
    return decline_error


def _show_plans(drafts: "Sequence[Draft]", common: options.Common) -> None:
    """Show the plans on stdout, or on stderr if stdout is for the result document."""
    plan = plan_document(drafts)
    if common.output_format == "text" and common.output is None:
        from worker.cli import output

        output.plan(plan, common)
    else:
        from worker.render import text

        click.echo(text.plan(plan, color=False, show_all=common.show_all), err=True)


def count_writes(drafts: "Sequence[Draft]") -> int:
    """Return the count of writes in the plans that no rule refuses."""
    return sum(len(draft.plan.writes) for draft in drafts if not draft.plan.refusals)


async def _confirm(run: "Session") -> WorkerError | None:
    """Ask the user to confirm the plan. Return None if the user confirms, otherwise the error.

    Signals are handled while it waits. If the terminal is closed, SIGHUP may arrive only after the end of input.
    """
    loop = asyncio.get_running_loop()
    click.echo(_("Type {answer} to continue: ").format(answer=repr(_YES)), nl=False, err=True)
    answer: asyncio.Future[str] = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), _read_line, answer)
    start = loop.time()
    stop = asyncio.ensure_future(run.stop_event.wait())
    try:
        await asyncio.wait((answer, stop), return_when=asyncio.FIRST_COMPLETED)
        loop.remove_reader(sys.stdin.fileno())
        if answer.done() and not is_interactive():
            signal.raise_signal(signal.SIGHUP)
            await asyncio.wait((stop,), timeout=_HANG_UP_SECONDS)
    finally:
        loop.remove_reader(sys.stdin.fileno())
        stop.cancel()
        run.prompt_seconds = loop.time() - start
    line = answer.result() if answer.done() else "\n"
    if not line.endswith("\n"):
        # the input ended without a newline, so that the cursor is still on the line of the question
        with suppress(OSError):
            click.echo(err=True)
    if line.strip().lower() == _YES:
        return None
    return run.fleet.interrupted or Declined(Message("Cancelled. Nothing was written."))


def _read_line(answer: "asyncio.Future[str]") -> None:
    if not answer.done():
        try:
            answer.set_result(sys.stdin.readline())
        except OSError:  # the terminal is gone
            answer.set_result("")
