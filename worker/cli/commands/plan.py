"""`senderid plan`: what would it take? Nothing here can write to an account."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from worker.cli import load, options
from worker.cli.metrics import Metering, metered
from worker.model.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from worker.cli.runner import Session
    from worker.config.settings import Settings
    from worker.model.accounts import DesiredAccount
    from worker.model.plans import Plan
    from worker.reconcile.account import Draft, Terms

__all__ = ["command", "document", "draw", "plan"]


@click.command("plan", short_help="Show what would change. Writes nothing.")
@options.common
@options.out
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when changes are pending, 3 when some cannot be.")
@click.option(
    "--at",
    metavar="TIME",
    help="What will be wanted then: 2026-12-01, 2026-12-01T09:00 (by the files' time zone) or 2026-12-01T09:00+09:00.",
)
def command(*, out: str | None, detailed_exitcode: bool, at: str | None, **common: Any) -> int:
    """Compare the desired state with the accounts and show what would change. Writes nothing.

    Exit status 0 when the plan could be made, 1 when an account could not be read, 4 when a safety rule refuses it.
    """
    if at is not None and out is not None:
        raise UsageError("a plan of another time cannot be saved: --at and --out do not go together")
    return plan(options.Common(**common), out=out, detailed=detailed_exitcode, at=at)


def plan(
    given: options.Common,
    *,
    out: str | None = None,
    detailed: bool = False,
    drift: bool = False,
    at: str | None = None,
) -> int:
    """Plan and show; the exit status. `out` is where to save the plan, `detailed` tells pending changes from none.

    `at` is the moment whose desired state is compared, as it was typed; None for now. `drift` is about nothing but what
    is otherwise than the file says though the file was not changed.
    """
    given = options.one_on_stdout(given, out)
    settings = load.load_settings(given.settings_path, given.overrides)
    with metered(settings, given.metrics_file) as metering:
        return _plan(given, settings, metering, out=out, detailed=detailed, drift=drift, at=at)


def _plan(
    given: options.Common,
    settings: "Settings",
    metering: Metering,
    *,
    out: str | None,
    detailed: bool,
    drift: bool,
    at: str | None,
) -> int:
    desired, others = load.load_all(settings, given.paths, given.accounts)
    selection = load.read_selection(given.only, given.exclude, desired)
    rules = load.read_rules(given.allow)
    moment = None if at is None else load.read_moment("--at", at, desired)

    from worker.cli import ledger, output, runner
    from worker.cli.exit_status import of_drift, of_plans
    from worker.reconcile.account import Terms, tell_planned

    desired = load.settled(ledger.committed(desired), moment)
    terms = Terms.of(settings, selection, rules, drift=drift)

    runner.check(None if out == options.STDOUT else out)
    runner.check(given.output)

    async def verb(run: "Session") -> int:
        drafts = await draw(run, desired, terms, others)
        for draft in drafts:
            tell_planned(draft, run.log.bind(account=draft.plan.account))
        made = document(drafts, moment)
        if out is not None:
            _save(out, settings, desired, drafts, terms)
        output.plan(made, given, drift=drift)
        run.log.info("run.finished", counts=runner.total(made.accounts))
        return of_drift(made.accounts) if drift else of_plans(made.accounts, detailed=detailed)

    return runner.run(verb, settings, no_color=given.no_color, recall=True, metering=metering)


async def draw(
    run: "Session", desired: "Sequence[DesiredAccount]", terms: "Terms", others: "Sequence[DesiredAccount]"
) -> "list[Draft]":
    """The plans of all accounts; `others` are those of the same files that the run leaves out."""
    run.log.info("run.started", accounts=len(desired), numbers=sum(len(account.numbers) for account in desired))
    drafts = await run.fleet.plan(desired, terms, others)
    run.metering.drawn(drafts)
    return drafts


def document(drafts: "Sequence[Draft]", moment: "datetime | None" = None) -> "Plan":
    """The plans of all accounts as one document; `moment` is the one they are of, None for now."""
    from worker.cli.runner import now
    from worker.model.plans import Plan
    from worker.model.times import stamp
    from worker.plan.diff import fingerprint

    plans = tuple(draft.plan for draft in drafts)
    at = None if moment is None else stamp(moment)
    return Plan(created_at=now(), at=at, fingerprint=fingerprint(plans), accounts=plans)


def _save(
    path: str, settings: "Settings", desired: "Sequence[DesiredAccount]", drafts: "Sequence[Draft]", terms: "Terms"
) -> None:
    from worker import __version__
    from worker.cli.runner import emit, now, replace
    from worker.model.errors import PolicyRefusal
    from worker.model.plans import Verdict
    from worker.plan.diff import LeftOut, SavedAccount, SavedPlan, seal
    from worker.plan.policy import effective_safety, effective_use

    accounts = []
    left = []
    for account, draft in zip(desired, drafts, strict=True):
        made = draft.plan
        if made.verdict is Verdict.OK:
            where = account.endpoint or settings.endpoint
            safety = effective_safety(terms.safety, account.safety)
            in_use = effective_use(terms.in_use, account.in_use)
            accounts.append(SavedAccount.of(account, made, endpoint=where, safety=safety, in_use=in_use))
        else:
            why = (draft.error or PolicyRefusal(made.refusals)).info
            left.append(LeftOut(made.account, made.account_id, made.verdict, why))
    plan = SavedPlan.of(
        accounts, left, id=secrets.token_hex(16), created_at=now(), version=__version__, allow=terms.allow
    )
    if path == options.STDOUT:
        emit(seal(plan))
    else:
        replace(Path(path), seal(plan), mode=0o600)
