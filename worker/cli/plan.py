"""`senderid plan`: what would it take? Nothing here can write to an account."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.cli import inputs, options

if TYPE_CHECKING:
    from worker.cli.session import Session
    from worker.model import DesiredAccount, Plan
    from worker.reconcile import Draft, Terms
    from worker.settings import Settings

__all__ = ["command", "document", "draw", "show"]


@click.command("plan", short_help="Show what would change. Writes nothing.")
@options.files
@options.settings
@options.accounts
@options.selection
@options.allow
@options.document
@options.logging
@click.option("--out", metavar="PLANFILE", help="Save the plan; `senderid apply PLANFILE` carries out exactly it.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when changes are pending, 3 when some cannot be.")
def command(
    *,
    paths: Sequence[str],
    settings_path: str | None,
    accounts: Sequence[str],
    only: Sequence[str],
    exclude: Sequence[str],
    allow: Sequence[str],
    form: str,
    output: str | None,
    no_color: bool,
    log_format: str | None,
    log_level: str | None,
    out: str | None,
    detailed_exitcode: bool,
) -> int:
    """Compare the desired state with the accounts and show what would change. Writes nothing.

    Exit status 0 when the plan could be made, 1 when an account could not be read, 4 when a safety rule refuses it.
    """
    settings = inputs.load_settings(settings_path, {"log.format": log_format, "log.level": log_level})
    desired = inputs.load_accounts(paths, accounts)
    selection = inputs.read_selection(only, exclude, desired)
    rules = inputs.read_rules(allow)

    from worker.cli import session
    from worker.cli.status import of_plans
    from worker.reconcile import Terms, tell_planned

    terms = Terms(settings.safety, selection, rules)

    async def verb(run: "Session") -> int:
        drafts = await draw(run, desired, terms)
        for draft in drafts:
            tell_planned(draft, run.log.bind(account=draft.plan.account))
        plan = document(drafts)
        if out is not None:
            _save(Path(out), settings, desired, drafts, terms)
        show(plan, form, output, no_color=no_color)
        status = of_plans(plan.accounts, detailed=detailed_exitcode)
        run.log.info("run.finished", counts=_counts(plan))
        return status

    return session.run(verb, settings, no_color=no_color)


async def draw(run: "Session", desired: "Sequence[DesiredAccount]", terms: "Terms") -> "list[Draft]":
    """The plans of all accounts."""
    run.log.info("run.started", accounts=len(desired), numbers=sum(len(account.numbers) for account in desired))
    return await run.fleet.plan(desired, terms)


def document(drafts: "Sequence[Draft]") -> "Plan":
    """The plans of all accounts as one document."""
    from worker.cli.session import now
    from worker.model import Plan
    from worker.plan import fingerprint

    plans = tuple(draft.plan for draft in drafts)
    return Plan(created_at=now(), fingerprint=fingerprint(plans), accounts=plans)


def show(plan: "Plan", form: str, output: str | None, *, no_color: bool) -> None:
    """Print a plan, or write it to a file."""
    from worker.cli.session import colors, emit
    from worker.render import documents, text

    if form == "json":
        emit(documents.encode(plan), output)
    else:
        emit(text.plan(plan, color=output is None and colors(no_color=no_color)), output)


def _save(
    path: Path, settings: "Settings", desired: "Sequence[DesiredAccount]", drafts: "Sequence[Draft]", terms: "Terms"
) -> None:
    from worker import __version__
    from worker.cli.session import now, replace
    from worker.model import Verdict
    from worker.plan import SavedAccount, SavedPlan, seal
    from worker.policy import effective_safety

    accounts = (
        SavedAccount.of(
            account,
            draft.plan,
            endpoint=account.endpoint or settings.endpoint,
            safety=effective_safety(terms.safety, account.safety),
        )
        for account, draft in zip(desired, drafts, strict=True)
        if draft.plan.verdict is Verdict.OK
    )
    plan = SavedPlan.of(accounts, created_at=now(), version=__version__, allow=terms.allow)
    replace(path, seal(plan), mode=0o600)


def _counts(plan: "Plan") -> dict[str, int]:
    total = Counter[str]()
    for account in plan.accounts:
        total.update(account.counts)
    return dict(total)
