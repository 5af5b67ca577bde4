"""`senderid apply`: carry a plan out, after a yes, and prove it."""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from worker.cli import inputs, options
from worker.cli import plan as planning
from worker.errors import Declined, PlanFileError, UsageError

if TYPE_CHECKING:
    from worker.cli.session import Session
    from worker.model import AccountResult, DesiredAccount, Result
    from worker.plan import SavedPlan
    from worker.reconcile import Draft, Terms

__all__ = ["command"]

_YES: Final = "yes"

_PLAN_CAP: Final = 256 << 20
"""Bytes of a plan file: a million changes are about 200 MB."""


@click.command("apply", short_help="Plan, ask, write and verify.")
@click.argument("planfile", required=False)
@options.files
@options.settings
@options.accounts
@options.selection
@options.allow
@options.document
@options.logging
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Without a terminal it must be given.")
@click.option("--dry-run", is_flag=True, help="Plan and stop there, as `senderid plan` does.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    planfile: str | None,
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
    yes: bool,
    dry_run: bool,
) -> int:
    """Plan, ask, write and verify. With PLANFILE, carry out exactly that saved plan and ask nothing.

    Exit status 0 converged, 1 error, 3 some numbers did not converge, 4 refused, 5 another run holds the account.
    """
    if planfile is not None and (paths or accounts or only or exclude or dry_run):
        raise UsageError(
            "a saved plan is applied as it is: -f, --account, --only, --exclude and --dry-run do not go with it"
        )
    if dry_run:
        given = {name: value for name, value in ctx.params.items() if name not in {"planfile", "yes", "dry_run"}}
        status: int = ctx.invoke(planning.command, **given, out=None, detailed_exitcode=False)
        return status
    asks = planfile is None and not yes
    if asks and ("-" in paths or not sys.stdin.isatty()):
        raise UsageError("there is no terminal to ask on: look at the plan (senderid plan), then apply with --yes")
    settings = inputs.load_settings(settings_path, {"log.format": log_format, "log.level": log_level})
    rules = inputs.read_rules(allow)
    saved = None if planfile is None else _open(planfile)
    desired = () if saved is not None else inputs.load_accounts(paths, accounts)
    selection = inputs.read_selection(only, exclude, desired)

    from worker.cli import session
    from worker.cli.status import of_result
    from worker.reconcile import Terms

    terms = Terms(settings.safety, selection, rules)

    async def verb(run: "Session") -> int:
        if saved is not None:
            run.log.info("run.started", accounts=len(saved.accounts), fingerprint=saved.fingerprint)
            run.progress.expect(sum(len(account.changes) for account in saved.accounts))
            results = await run.fleet.apply_saved(saved.accounts, rules | set(saved.allow), run.leases(), run.progress)
        else:
            drafts = await planning.draw(run, desired, terms)
            shown = form == "text" and output is None
            if shown or asks:
                _show(drafts, to_stdout=shown, no_color=no_color)
            results = await _carry_out(run, desired, drafts, terms, asks=asks)
        result = _result(run, results)
        run.log.info("run.finished", outcome=result.outcome, counts=_counts(result))
        run.progress.finish()
        _print(result, form, output, no_color=no_color)
        return of_result(result)

    return session.run(verb, settings, no_color=no_color, progress=True)


def _open(path: str) -> "SavedPlan":
    from worker.plan import unseal

    try:
        with Path(path).open("rb") as file:
            data = file.read(_PLAN_CAP + 1)
    except OSError as error:
        raise PlanFileError(f"{path}: the plan file cannot be read: {error.strerror}") from None
    if len(data) > _PLAN_CAP:
        raise PlanFileError(f"{path}: this is no plan file: it is longer than any")
    try:
        return unseal(data, now=datetime.now(UTC))
    except PlanFileError as error:
        raise PlanFileError(f"{path}: {error}") from None


def _show(drafts: "Sequence[Draft]", *, to_stdout: bool, no_color: bool) -> None:
    plan = planning.document(drafts)
    if to_stdout:
        planning.show(plan, "text", None, no_color=no_color)
    else:
        # stdout is the result document's
        from worker.render import text

        click.echo(text.plan(plan, color=False), err=True)


async def _carry_out(
    run: "Session", desired: "Sequence[DesiredAccount]", drafts: "Sequence[Draft]", terms: "Terms", *, asks: bool
) -> "list[AccountResult]":
    from worker.reconcile import unapplied

    writes = sum(len(draft.plan.writes) for draft in drafts if not draft.plan.refusals)
    if writes and asks and not await _agreed(run):
        declined = run.fleet.interrupted or Declined("nobody said yes; nothing was written")
        return [
            unapplied(draft, draft.requests, run.log.bind(account=draft.plan.account), declined) for draft in drafts
        ]
    run.progress.expect(writes)
    return await run.fleet.apply(desired, drafts, terms, run.leases(), run.progress)


async def _agreed(run: "Session") -> bool:
    """Ask, without keeping the loop from hearing a signal."""
    loop = asyncio.get_running_loop()
    click.echo(f"Apply these changes? Only {_YES!r} goes on: ", nl=False, err=True)
    answer: asyncio.Future[str] = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), _read_line, answer)
    stopped = asyncio.ensure_future(run.stopped.wait())
    try:
        await asyncio.wait((answer, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(sys.stdin.fileno())
        stopped.cancel()
    return answer.done() and answer.result().strip().lower() == _YES


def _read_line(answer: "asyncio.Future[str]") -> None:
    if not answer.done():
        answer.set_result(sys.stdin.readline())


def _result(run: "Session", accounts: "Sequence[AccountResult]") -> "Result":
    from worker.cli.session import now
    from worker.cli.status import overall
    from worker.model import Result

    return Result(
        run_id=run.run_id,
        started_at=run.started_at,
        finished_at=now(),
        outcome=overall(account.outcome for account in accounts),
        accounts=tuple(accounts),
    )


def _print(result: "Result", form: str, output: str | None, *, no_color: bool) -> None:
    from worker.cli.session import colors, emit
    from worker.render import documents, text

    if form == "json":
        emit(documents.encode(result), output)
    else:
        emit(text.result(result, color=output is None and colors(no_color=no_color)), output)


def _counts(result: "Result") -> dict[str, int]:
    total = Counter[str]()
    for account in result.accounts:
        total.update(account.counts)
    return dict(total)
