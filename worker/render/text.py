"""A plan and a result as a person reads them: what changes or failed first, what is in order only as a count."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from worker.model import (
    AccountPlan,
    AccountResult,
    Action,
    Change,
    ErrorInfo,
    NumberError,
    NumberResult,
    Outcome,
    Plan,
    Refusal,
    Result,
    RunOutcome,
    Verdict,
)
from worker.render.layout import Group, Mark, Row, count, counts, in_full_or_brief, names, render_groups
from worker.render.terminal import Paint, safe, wrap

__all__ = ["plan", "result", "safe"]

_NOTE_COLUMNS: Final = 60
_NAME_COLUMNS: Final = 50

_PLANNED: Final = {
    Action.ACTIVATE: Mark("+", "activate", "green"),
    Action.DEACTIVATE: Mark("-", "deactivate", "red"),
    Action.BLOCKED: Mark("!", "blocked", "yellow"),
    Action.MISSING: Mark("?", "missing", "yellow"),
    Action.PROTECTED: Mark("=", "protected", "cyan"),
    Action.UNMANAGED: Mark("*", "unmanaged", "cyan"),
    Action.UNCHANGED: Mark(" ", "unchanged", "dim"),
}

_DONE: Final = {
    Outcome.FAILED: Mark("x", "failed", "red"),
    Outcome.CONFLICT: Mark("x", "conflict", "red"),
    Outcome.UNVERIFIED: Mark("?", "unverified", "yellow"),
    Outcome.NOT_ATTEMPTED: Mark(".", "not attempted", "yellow"),
    Outcome.BLOCKED: Mark("!", "blocked", "yellow"),
    Outcome.MISSING: Mark("?", "missing", "yellow"),
    Outcome.CHANGED: Mark("+", "changed", "green"),
    Outcome.PROTECTED: Mark("=", "protected", "cyan"),
    Outcome.UNMANAGED: Mark("*", "unmanaged", "cyan"),
    Outcome.UNCHANGED: Mark(" ", "unchanged", "dim"),
}
"""In the order in which they are shown: what needs a person first."""

_NEXT: Final = {
    Outcome.FAILED: "It has its old status; apply again once the cause is gone.",
    Outcome.CONFLICT: "Plan again to decide on it as it is now.",
    Outcome.UNVERIFIED: "Plan again to see what became of it.",
    Outcome.NOT_ATTEMPTED: "Nothing was sent for it; apply again once the cause is gone.",
}

_ENDED: Final = {
    RunOutcome.CONVERGED: ("Converged", "green"),
    RunOutcome.PARTIAL: ("Partial", "yellow"),
    RunOutcome.REFUSED: ("Refused", "red"),
    RunOutcome.FAILED: ("Failed", "red"),
    RunOutcome.LOCKED: ("Locked", "red"),
    RunOutcome.INTERRUPTED: ("Interrupted", "yellow"),
}

_GRAVEST_FIRST: Final = tuple(reversed(RunOutcome))


def plan(plan: Plan, *, color: bool, width: int = 80) -> str:
    """A plan in `width` columns, ended by a newline. Without `color` it holds no escape code."""
    paint = Paint(color=color)
    busy = [account for account in plan.accounts if account.error is None and (account.changes or account.refusals)]
    quiet = [account for account in plan.accounts if account.error is None and not (account.changes or account.refusals)]
    lines = [
        *in_full_or_brief(
            sorted(busy, key=lambda account: not account.refusals),
            lambda account: _planned(account, paint, width),
            lambda account: _summary(account.counts, quiet=False) + " (refused)" * bool(account.refusals),
            lambda account: account.account,
        ),
        *_errors([(account.account, account.error) for account in plan.accounts if account.error], paint, width),
    ]
    if quiet and len(plan.accounts) > 1:
        is_are = "is" if len(quiet) == 1 else "are"
        every = names([account.account for account in quiet])
        lines += [f"{count(len(quiet), 'account')} {is_are} as desired: {every}", ""]
    lines.append(_plan_closing(plan, paint))
    return "\n".join(lines) + "\n"


def _planned(account: AccountPlan, paint: Paint, columns: int) -> Iterator[str]:
    yield _header(account.account, account.account_id, paint)
    yield f"  {_summary(account.counts)}"
    groups: dict[tuple[Action, str], list[Change]] = {}
    for change in account.changes:
        groups.setdefault((change.action, "" if change.action.writes else change.reason), []).append(change)
    ordered = sorted(groups.items(), key=lambda item: tuple(_PLANNED).index(item[0][0]))
    if ordered:
        yield ""
    yield from render_groups(
        [Group.of(_PLANNED[action], changes, _change, advice) for (action, advice), changes in ordered], paint, columns
    )
    yield from _refusals(account.refusals, paint, columns)


def _change(change: Change) -> Row:
    remark = " · ".join(safe(text, _NOTE_COLUMNS) for text in (change.note, change.owner) if text)
    if change.action.writes:
        return Row(change.phone, f"{change.observed} → {change.desired}", remark or change.reason)
    return Row(change.phone, _apart(change.observed, change.desired), remark)


def _apart(observed: str | None, desired: str | None) -> str:
    if observed is None:
        return f"not registered, not {desired}"
    return observed if desired in {observed, None} else f"{observed}, not {desired}"


def _refusals(refusals: Iterable[Refusal], paint: Paint, columns: int) -> Iterator[str]:
    for refusal in refusals:
        option = f"--allow {refusal.rule}"
        hint = "" if option in refusal.message else f" To let it through: {option}"
        yield ""
        first, *more = wrap(f"Refused by {refusal.rule}: {refusal.message}{hint}", max(columns - 4, 20))
        yield "  " + paint("red", first)
        yield from ("    " + line for line in more)


def _errors(found: Sequence[tuple[str, ErrorInfo]], paint: Paint, columns: int) -> Iterator[str]:
    """Accounts that could not be read, those with the same error together."""
    alike: dict[ErrorInfo, list[str]] = {}
    for account, error in found:
        alike.setdefault(error, []).append(account)
    yield from in_full_or_brief(
        list(alike.items()),
        lambda item: _error(item[0], item[1], paint, columns),
        lambda item: safe(item[0].code, _NAME_COLUMNS),
        lambda item: names(item[1]),
    )


def _error(error: ErrorInfo, accounts: Sequence[str], paint: Paint, columns: int) -> Iterator[str]:
    several = f"{count(len(accounts), 'account')}: " if len(accounts) > 1 else ""
    yield paint("bold", several + names(accounts))
    first, *more = wrap(f"{error.code}: {error.message}", max(columns - 4, 20))
    yield "  " + paint("red", first)
    yield from ("    " + line for line in more)


def _header(account: str, account_id: str | None, paint: Paint) -> str:
    pinned = f" (account {safe(account_id, _NAME_COLUMNS)})" if account_id else ""
    return paint("bold", safe(account, _NAME_COLUMNS)) + pinned


def _summary(found: dict[Action, int], *, quiet: bool = True) -> str:
    told = counts(
        (found.get(action, 0), f"to {action}" if action.writes else action.value)
        for action in _PLANNED
        if quiet or action is not Action.UNCHANGED
    )
    return told or "no numbers"


def _plan_closing(plan: Plan, paint: Paint) -> str:
    total = Counter[Action]()
    for account in plan.accounts:
        total.update(account.counts)
    refused = sum(account.verdict is Verdict.REFUSED for account in plan.accounts)
    failed = sum(account.verdict is Verdict.ERROR for account in plan.accounts)
    apart = counts(
        (
            (total[Action.BLOCKED] + total[Action.MISSING], "cannot converge"),
            (total[Action.PROTECTED], "protected"),
            (total[Action.UNMANAGED], "not listed"),
        )
    )
    same = total[Action.UNCHANGED]
    if total[Action.ACTIVATE] or total[Action.DEACTIVATE]:
        told = f"Plan: {total[Action.ACTIVATE]:,} to activate, {total[Action.DEACTIVATE]:,} to deactivate"
        told += f", {apart}. {same:,} unchanged." if apart else f". {same:,} unchanged."
    elif failed and failed == len(plan.accounts):
        told = "No plan: " + ("the account could not" if failed == 1 else f"none of the {failed:,} accounts could") + " be read."
    else:
        is_are = "is" if same == 1 else "are"
        told = f"No changes{': ' + apart if apart else ''}. {count(same, 'number')} {is_are} as desired."
    told = paint("bold", told)
    if refused:
        what = "nothing will be written" if len(plan.accounts) == 1 else count(refused, "account")
        told += paint("red", f" Refused: {what}.")
    if failed and failed < len(plan.accounts):
        told += paint("red", f" Could not be read: {count(failed, 'account')}.")
    return told


def result(result: Result, *, color: bool, width: int = 80) -> str:
    """A result in `width` columns, ended by a newline. Without `color` it holds no escape code."""
    paint = Paint(color=color)
    busy = [account for account in result.accounts if account.numbers or account.outcome is not RunOutcome.CONVERGED]
    lines = list(
        in_full_or_brief(
            sorted(busy, key=lambda account: _GRAVEST_FIRST.index(account.outcome)),
            lambda account: _done(account, paint, width),
            lambda account: f"{account.outcome}, {_tally(account.counts, quiet=False)}",
            lambda account: account.account,
        )
    )
    quiet = len(result.accounts) - len(busy)
    if quiet and len(result.accounts) > 1:
        lines += [f"{count(quiet, 'account')} had nothing to do.", ""]
    lines.append(_result_closing(result, paint))
    return "\n".join(lines) + "\n"


def _done(account: AccountResult, paint: Paint, columns: int) -> Iterator[str]:
    word, style = _ENDED[account.outcome]
    yield f"{_header(account.account, account.account_id, paint)}: {paint(style, word.lower())}"
    took = account.requests
    requests = counts(((took.reads, "read"), (took.writes, "written"), (took.retries, "retried")))
    yield f"  {_tally(account.counts)}" + (f" (requests: {requests})" if requests else "")
    if account.error is not None and not account.refusals:
        yield from ("  " + paint("red", line) for line in wrap(_told(account.error), max(columns - 2, 20)))
    groups: dict[tuple[Outcome, NumberError | None], list[NumberResult]] = {}
    for number in account.numbers:
        groups.setdefault((number.outcome, number.error), []).append(number)
    ordered = sorted(groups.items(), key=lambda item: tuple(_DONE).index(item[0][0]))
    if ordered:
        yield ""
    yield from render_groups(
        [
            Group.of(_DONE[outcome], numbers, _number, _advice(outcome, error, account.error))
            for (outcome, error), numbers in ordered
        ],
        paint,
        columns,
    )
    yield from _refusals(account.refusals, paint, columns)


def _number(number: NumberResult) -> Row:
    if number.outcome is Outcome.CHANGED:
        return Row(number.phone, f"{number.before} → {number.after}")
    if number.action is None:
        return Row(number.phone, f"wanted {number.desired}")
    now = number.before if number.outcome is Outcome.UNVERIFIED else number.after
    return Row(number.phone, _apart(now, number.desired))


def _advice(outcome: Outcome, error: NumberError | None, above: ErrorInfo | None) -> str:
    """What happened and what to do; nothing where the account's own error says it above."""
    if error is None or (above is not None and (error.code, error.message) == (above.code, above.message)):
        return ""
    if outcome not in _NEXT:
        return error.message
    return f"{_told(error)}. {_NEXT[outcome]}"


def _told(error: ErrorInfo | NumberError) -> str:
    status = f" ({error.http_status})" if isinstance(error, NumberError) and error.http_status else ""
    return f"{error.code}{status}: {error.message}".rstrip(".")


def _tally(found: dict[Outcome, int], *, quiet: bool = True) -> str:
    told = counts(
        (found.get(outcome, 0), mark.word) for outcome, mark in _DONE.items() if quiet or outcome is not Outcome.UNCHANGED
    )
    return told or "no numbers"


def _result_closing(result: Result, paint: Paint) -> str:
    total = Counter[Outcome]()
    sent = 0
    for account in result.accounts:
        total.update(account.counts)
        sent += account.requests.reads + account.requests.writes
    word, style = _ENDED[result.outcome]
    took = datetime.fromisoformat(result.finished_at) - datetime.fromisoformat(result.started_at)
    told = counts((total[outcome], _DONE[outcome].word) for outcome in (Outcome.CHANGED, *_DONE_BUT_CHANGED))
    closing = f"{told or 'no numbers'}. {count(sent, 'request')} in {took.total_seconds():,.1f} s."
    return paint(style, f"{word}:") + " " + paint("bold", closing)


_DONE_BUT_CHANGED: Final = tuple(outcome for outcome in _DONE if outcome is not Outcome.CHANGED)
