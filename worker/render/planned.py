"""A plan as a person reads it: changes first, what needs a person next, what is in order only as a count."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from worker.documents import AccountPlan, Action, Cause, Change, ErrorInfo, Plan, Verdict
from worker.moments import shown, zone
from worker.render.layout import (
    Group,
    Mark,
    Row,
    apart,
    count,
    counts,
    header,
    in_full_or_brief,
    indented,
    names,
    refusals,
    render_groups,
)
from worker.render.notices import worth_knowing
from worker.render.terminal import Paint, safe

__all__ = ["PLANNED", "cause", "closing", "moment", "noteworthy", "plan"]

_NOTE_COLUMNS: Final = 60
_CODE_COLUMNS: Final = 50

PLANNED: Final = {
    Action.ACTIVATE: Mark("+", "activate", "green"),
    Action.DEACTIVATE: Mark("-", "deactivate", "red"),
    Action.HELD: Mark("~", "held", "yellow"),
    Action.BLOCKED: Mark("!", "blocked", "yellow"),
    Action.MISSING: Mark("?", "missing", "yellow"),
    Action.PROTECTED: Mark("=", "protected", "cyan"),
    Action.UNMANAGED: Mark("*", "unmanaged", "cyan"),
    Action.UNCHANGED: Mark(" ", "unchanged", "dim"),
}


def plan(plan: Plan, *, color: bool, width: int = 80, drift: bool = False) -> str:
    """A plan in `width` columns, ended by a newline. Without `color` it holds no escape code.

    A plan of `drift` is one that leaves out what the file itself changed.
    """
    paint = Paint(color=color)
    readable = [account for account in plan.accounts if account.error is None]
    busy = list(filter(noteworthy, readable))
    quiet = [account.account for account in readable if not noteworthy(account)]
    lines = [
        *in_full_or_brief(
            sorted(busy, key=lambda account: not account.refusals),
            lambda account: _planned(account, paint, width),
            lambda account: _summary(account.counts, quiet=False) + " (refused)" * bool(account.refusals),
            lambda account: account.account,
            width,
        ),
        *_errors([(account.account, account.error) for account in plan.accounts if account.error], paint, width),
    ]
    if quiet and len(plan.accounts) > 1:
        is_are = "is" if len(quiet) == 1 else "are"
        told = f"{count(len(quiet), 'account')} {is_are} as desired: {names(quiet)}"
        lines += [*indented(told, width, "", "  "), ""]
    lines += _plan_closing(plan, paint, width, drift=drift)
    return "\n".join(lines) + "\n"


def noteworthy(account: AccountPlan) -> bool:
    """Whether there is anything to tell of an account besides that it is as desired."""
    return bool(account.changes or account.refusals or account.notices)


def _planned(account: AccountPlan, paint: Paint, columns: int) -> Iterator[str]:
    yield header(account.account, account.account_id, paint, columns)
    yield from indented(_summary(account.counts), columns, "  ", "  ")
    groups: dict[tuple[Action, str], list[Change]] = {}
    for change in account.changes:
        groups.setdefault((change.action, change.reason), []).append(change)
    ordered = sorted(groups.items(), key=lambda item: tuple(PLANNED).index(item[0][0]))
    if ordered:
        yield ""
    yield from render_groups(
        [
            Group.of(PLANNED[action], changes, lambda change: _change(change, account.timezone), advice)
            for (action, advice), changes in ordered
        ],
        paint,
        columns,
    )
    told = {change.phone for change in account.changes if change.action is Action.BLOCKED}
    yield from worth_knowing(account.notices, told, paint, columns)
    yield from refusals(account.refusals, paint, columns)


def _change(change: Change, timezone: str) -> Row:
    until = change.until and f"until {moment(change.until, timezone)}"
    words = (" ".join(text.split()) for text in (until, cause(change), change.note, change.owner) if text)
    remark = " · ".join(safe(text, _NOTE_COLUMNS) for text in words if text)
    what = f"{change.observed} → {change.desired}" if change.action.writes else apart(change.observed, change.desired)
    return Row(change.phone, what, remark)


def moment(stamp: str, timezone: str) -> str:
    """A stamp of a document by the clock of a zone."""
    return shown(datetime.fromisoformat(stamp), zone(timezone))


def cause(change: Change) -> str:
    """That someone else changed the number, where it is known; nothing of what the file changed."""
    if change.cause not in {Cause.EXTERNAL_DRIFT, Cause.BOTH}:
        return ""
    when = f" on {change.since[:10]} {change.since[11:16]} UTC" if change.since else ""
    return f"changed outside{when}" + (", and in the file" if change.cause is Cause.BOTH else "")


def _errors(found: Sequence[tuple[str, ErrorInfo]], paint: Paint, columns: int) -> Iterator[str]:
    """Accounts that could not be read, those with the same error together."""
    alike: dict[ErrorInfo, list[str]] = {}
    for account, error in found:
        alike.setdefault(error, []).append(account)
    yield from in_full_or_brief(
        list(alike.items()),
        lambda item: _error(item[0], item[1], paint, columns),
        lambda item: safe(item[0].code, _CODE_COLUMNS),
        lambda item: names(item[1]),
        columns,
    )


def _error(error: ErrorInfo, accounts: Sequence[str], paint: Paint, columns: int) -> Iterator[str]:
    several = f"{count(len(accounts), 'account')}: " if len(accounts) > 1 else ""
    yield from indented(several + names(accounts), columns, "", "  ", lambda line: paint("bold", line))
    yield from indented(f"{error.code}: {error.message}", columns, "  ", "    ", lambda line: paint("red", line))


def _summary(found: dict[Action, int], *, quiet: bool = True) -> str:
    told = counts(
        (found.get(action, 0), f"to {action}" if action.writes else action.value)
        for action in PLANNED
        if quiet or action is not Action.UNCHANGED
    )
    return told or "no numbers"


def _plan_closing(plan: Plan, paint: Paint, columns: int, *, drift: bool) -> Iterator[str]:
    """What it comes to, and what stands in its way, each on a line of its own."""
    for style, told in closing(plan, drift=drift):
        yield from indented(told, columns, "", "  ", partial(paint, style) if style else str)


def closing(plan: Plan, *, drift: bool) -> Iterator[tuple[str, str]]:
    """What a plan comes to, and then what stands in its way: sentences, each behind its style, "" for none."""
    total = Counter[Action]()
    for account in plan.accounts:
        total.update(account.counts)
    verdicts = Counter(account.verdict for account in plan.accounts)
    refused, failed = verdicts[Verdict.REFUSED], verdicts[Verdict.ERROR]
    if failed and failed == len(plan.accounts):
        which = "the account could not" if failed == 1 else f"none of the {failed:,} accounts could"
        yield "bold", f"No plan: {which} be read."
        return
    yield "bold", _total(total, drift=drift)
    if plan.at is not None:
        when = ", ".join(sorted({moment(plan.at, account.timezone) for account in plan.accounts}))
        yield "", f"That is what the files will want at {when}; apply follows what they want now."
    if refused:
        none = failed + refused == len(plan.accounts)
        yield "red", f"Refused: {'nothing will be written' if none else count(refused, 'account')}."
    if failed:
        yield "red", f"Could not be read: {count(failed, 'account')}."


def _total(total: Counter[Action], *, drift: bool) -> str:
    others = counts(
        (
            (total[Action.BLOCKED] + total[Action.MISSING], "cannot converge"),
            (total[Action.HELD], "held"),
            (total[Action.PROTECTED], "protected"),
            (total[Action.UNMANAGED], "not listed"),
        )
    )
    same = total[Action.UNCHANGED]
    if not total.total():
        return f"No {'drift' if drift else 'changes'}. There are no numbers."
    if total[Action.ACTIVATE] or total[Action.DEACTIVATE]:
        writes = f"{total[Action.ACTIVATE]:,} to activate, {total[Action.DEACTIVATE]:,} to deactivate"
        return f"{'Drift' if drift else 'Plan'}: {writes}{', ' + others if others else ''}. {same:,} unchanged."
    is_are = "is" if same == 1 else "are"
    as_desired = f"{count(same, 'number')} {is_are} as desired."
    if drift:
        return f"Drift: {others}. {as_desired}" if others else f"No drift. {as_desired}"
    return f"No changes{': ' + others if others else ''}. {as_desired}"
