"""A plan as a person reads it: changes first, what needs a person next, what is in order only as a count."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from worker.model.errors import ErrorInfo
from worker.model.plans import AccountPlan, Action, Cause, Change, Plan, Verdict
from worker.model.times import shown, zone
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translated
from worker.render.terminal import Paint, safe
from worker.render.text.layout import (
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
from worker.render.text.notices import worth_knowing

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
            _brief,
            lambda account: account.account,
            width,
        ),
        *_errors([(account.account, account.error) for account in plan.accounts if account.error], paint, width),
    ]
    if quiet and len(plan.accounts) > 1:
        number = len(quiet)
        told = ngettext("{count} account is as desired: {names}", "{count} accounts are as desired: {names}", number)
        lines += [*indented(told.format(count=f"{number:,}", names=names(quiet)), width, "", "  "), ""]
    lines += _plan_closing(plan, paint, width, drift=drift)
    return "\n".join(lines) + "\n"


def noteworthy(account: AccountPlan) -> bool:
    """Whether there is anything to tell of an account besides that it is as desired."""
    return bool(account.changes or account.refusals or account.notices)


def _brief(account: AccountPlan) -> str:
    told = _summary(account.counts, quiet=False)
    return _("{what} (refused)").format(what=told) if account.refusals else told


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
            Group.of(PLANNED[action], changes, lambda change: _change(change, account.timezone), translated(advice))
            for (action, advice), changes in ordered
        ],
        paint,
        columns,
    )
    told = {change.phone for change in account.changes if change.action is Action.BLOCKED}
    yield from worth_knowing(account.notices, told, paint, columns)
    yield from refusals(account.refusals, paint, columns)


def _change(change: Change, timezone: str) -> Row:
    until = change.until and _("until {moment}").format(moment=moment(change.until, timezone))
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
    both = change.cause is Cause.BOTH
    if not change.since:
        return _("changed outside, and in the file") if both else _("changed outside")
    told = _("changed outside on {when}, and in the file") if both else _("changed outside on {when}")
    return told.format(when=f"{change.since[:10]} {change.since[11:16]} UTC")


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
    several = count(len(accounts), "account") + ": " if len(accounts) > 1 else ""
    yield from indented(several + names(accounts), columns, "", "  ", lambda line: paint("bold", line))
    told = f"{error.code}: {translated(error.message)}"
    yield from indented(told, columns, "  ", "    ", lambda line: paint("red", line))


def _summary(found: dict[Action, int], *, quiet: bool = True) -> str:
    told = counts(
        (found.get(action, 0), f"to {action}" if action.writes else action.value)
        for action in PLANNED
        if quiet or action is not Action.UNCHANGED
    )
    return told or _("no numbers")


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
        told = ngettext(
            "No plan: the account could not be planned.",
            "No plan: none of the {count} accounts could be planned.",
            failed,
        ).format(count=f"{failed:,}")
        yield "bold", told
        return
    yield "bold", _total(total, drift=drift)
    if plan.at is not None:
        when = ", ".join(sorted({moment(plan.at, account.timezone) for account in plan.accounts}))
        told = _("That is what the files will want at {when}; apply follows what they want now.").format(when=when)
        yield "", told
    if refused:
        if failed + refused == len(plan.accounts):
            yield "red", _("Refused: nothing will be written.")
        else:
            yield "red", _("Refused: {accounts}.").format(accounts=count(refused, "account"))
    if failed:
        yield "red", _("Could not be planned: {accounts}.").format(accounts=count(failed, "account"))


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
        return _("No drift. There are no numbers.") if drift else _("No changes. There are no numbers.")
    if total[Action.ACTIVATE] or total[Action.DEACTIVATE]:
        told = _("{count} to activate, {other} to deactivate")
        writes = told.format(count=f"{total[Action.ACTIVATE]:,}", other=f"{total[Action.DEACTIVATE]:,}")
        whole = _("Drift: {what}. {count} unchanged.") if drift else _("Plan: {what}. {count} unchanged.")
        return whole.format(what=", ".join(filter(None, (writes, others))), count=f"{same:,}")
    as_desired = ngettext("{count} number is as desired.", "{count} numbers are as desired.", same)
    if others:
        whole = _("Drift: {what}.") if drift else _("No changes: {what}.")
    else:
        whole = _("No drift.") if drift else _("No changes.")
    return f"{whole.format(what=others)} {as_desired.format(count=f'{same:,}')}"
