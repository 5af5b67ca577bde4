"""`senderid rollback`: restore the status that numbers had before a run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from worker.cli import complete, load, options
from worker.cli.exit_status import ExitStatus
from worker.cli.planning import is_interactive, preview, review, run_and_report
from worker.model.errors import UsageError
from worker.model.messages import Message
from worker.render.i18n import gettext as _

if TYPE_CHECKING:
    from worker.cli.runner import Session
    from worker.model.history import RunRecord
    from worker.model.results import AccountResult, Result
    from worker.plan.build import Draft
    from worker.plan.planfile import SavedAccount

__all__ = ["command"]


@click.command("rollback")
@click.argument("run", shell_complete=complete.runs)
@click.option("-y", "--yes", is_flag=True, help="Skip the prompt. Required without a terminal.")
@click.option("--dry-run", is_flag=True, help="Show the plan only.")
@options.settings
@options.allow
@options.lock_timeout
@options.reviewable
@options.logging
def command(*, run: str, yes: bool, dry_run: bool, lock_timeout: float, **common: Any) -> int:
    """Restore the status that numbers had before RUN changed them. RUN is `last`, a run id or the start of one.

    Only numbers that still have the status set by the run are written; the others are conflicts. A rollback is a run
    and can be rolled back. The desired-state file is not changed: the next apply follows it.

    Exit status 0: rolled back, or nothing to do. Otherwise as for apply.
    """
    common_options = options.Common(**common)
    if not (yes or dry_run or is_interactive()):
        raise UsageError(
            Message("there is no terminal for the prompt: review with --dry-run, then roll back with --yes")
        )
    settings = load.load_settings(common_options.settings_path, common_options.overrides)
    rules = load.parse_rules(common_options.allow)

    from worker.cli.ledger import LAST, LedgerOptions, find_run, last_change
    from worker.reconcile.rollback import inverse_plan

    record = find_run(settings, run)
    _check_ended(record)
    accounts = [inverse for account in record.accounts if (inverse := inverse_plan(account, record.run_id)).changes]
    if not accounts and common_options.output_format == "text":
        return _nothing(record, common_options, last_change(settings) if run == LAST else None)
    if dry_run:
        return preview(lambda session: _read(session, accounts, rules), settings, common_options)

    async def roll_back(session: "Session") -> "list[AccountResult]":
        drafts = await _read(session, accounts, rules)
        decline_error = await review(session, drafts, common_options, must_confirm=not yes)
        return await session.fleet.roll_back(accounts, drafts, rules, session.progress, decline_error)

    ledger = LedgerOptions(f"rollback {record.run_id}", lock_timeout) if accounts else None
    return run_and_report(roll_back, settings, common_options, ledger, lambda result: _remark(result, accounts))


def _check_ended(record: "RunRecord") -> None:
    unfinished_accounts = [account.account for account in record.accounts if account.finished_at is None]
    if unfinished_accounts:
        from worker.render.text.layout import names

        raise UsageError(
            Message(
                "run {run_id} is not finished on {names}: wait for it; if it crashed, close it with `senderid "
                "apply`, then roll it back",
                run_id=record.run_id,
                names=names(unfinished_accounts),
            )
        )


def _nothing(record: "RunRecord", common: options.Common, last_change: str | None) -> int:
    from worker.cli.output import emit

    text = _("Run {run} changed nothing: there is nothing to roll back.").format(run=record.run_id)
    if last_change is not None:
        hint = _("The last run that changed numbers: senderid rollback {run}")
        text += "\n" + hint.format(run=last_change)
    emit(text + "\n", common.output)
    return ExitStatus.OK


async def _read(run: "Session", accounts: "Sequence[SavedAccount]", rules: frozenset[str]) -> "list[Draft]":
    run.log.info(
        "run.started", accounts=len(accounts), numbers=sum(len(saved_account.changes) for saved_account in accounts)
    )
    return await run.fleet.preview(accounts, rules)


def _remark(result: "Result", accounts: "Sequence[SavedAccount]") -> str:
    """Return a reminder to change the desired-state files, too; empty if no number was rolled back."""
    from worker.model.results import Outcome
    from worker.render.text.layout import names

    if not any(account.counts[Outcome.CHANGED] for account in result.accounts):
        return ""
    files = names(list(dict.fromkeys(saved.source for saved in accounts)))
    text = _(
        "The desired state ({files}) still has the other status:\nchange it there, too, or the next apply undoes "
        "this rollback."
    )
    return f"\n{text.format(files=files)}\n"
