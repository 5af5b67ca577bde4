"""Plans and results for people: what changes comes first, what stays is a number."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from worker.model import (
    AccountPlan,
    AccountResult,
    Action,
    Change,
    NumberResult,
    Outcome,
    Plan,
    Result,
    RunOutcome,
    Verdict,
)
from worker.render.numbers import hyphenated
from worker.render.terminal import Paint, clipped, padded, safe

__all__ = ["plan", "result"]

_MANY: Final = 20
"""Numbers of one kind in one account that are listed one by one; of more, a few are shown and the rest is counted."""
_SAMPLE: Final = 10
_NOTE_WIDTH: Final = 40
_REASON_WIDTH: Final = 100
_PHONE_WIDTH: Final = 14
_ID_WIDTH: Final = 40

_SIGNS: Final = {
    Action.ACTIVATE: ("+", "green"),
    Action.DEACTIVATE: ("-", "red"),
    Action.BLOCKED: ("!", "yellow"),
    Action.MISSING: ("?", "yellow"),
    Action.PROTECTED: ("=", "cyan"),
    Action.UNMANAGED: ("~", "dim"),
}
_VERBS: Final = {Action.ACTIVATE: "to activate", Action.DEACTIVATE: "to deactivate"}

_OUTCOMES: Final = {
    Outcome.FAILED: ("x", "red"),
    Outcome.CONFLICT: ("x", "red"),
    Outcome.UNVERIFIED: ("?", "yellow"),
    Outcome.NOT_ATTEMPTED: (".", "yellow"),
    Outcome.BLOCKED: ("!", "yellow"),
    Outcome.MISSING: ("?", "yellow"),
    Outcome.CHANGED: ("✓", "green"),
    Outcome.PROTECTED: ("=", "cyan"),
    Outcome.UNMANAGED: ("~", "dim"),
}
"""In the order of their weight: what went wrong comes first."""

_ENDINGS: Final = {
    RunOutcome.CONVERGED: ("Converged", "green"),
    RunOutcome.PARTIAL: ("Partly converged", "yellow"),
    RunOutcome.REFUSED: ("Refused", "red"),
    RunOutcome.FAILED: ("Failed", "red"),
    RunOutcome.LOCKED: ("Held by another run", "red"),
    RunOutcome.INTERRUPTED: ("Interrupted", "yellow"),
}


def plan(plan: Plan, *, color: bool) -> str:
    """A plan as text, ended by a line that sums it up."""
    paint = Paint(on=color)
    lines: list[str] = []
    idle = 0
    for account in plan.accounts:
        if account.changes or account.error or account.refusals:
            lines += [*_planned(account, paint), ""]
        else:
            idle += 1
    if idle and lines:
        lines += [f"{_count(idle, 'more account')} with nothing to do.", ""]
    return "\n".join([*lines, _sum_of_plan(plan, paint)]) + "\n"


def _planned(account: AccountPlan, paint: Paint) -> Iterator[str]:
    yield _header(account.account, account.account_id, paint)
    if account.error is not None:
        yield f"  {paint('red', 'error')} {safe(account.error.code)}: {safe(account.error.message)}"
        return
    for action, (sign, shade) in _SIGNS.items():
        changes = [change for change in account.changes if change.action is action]
        shown = changes if len(changes) <= _MANY else changes[:_SAMPLE]
        for change in shown:
            yield f"  {paint(shade, sign)} {_change(change)}"
        if len(shown) < len(changes):
            yield f"  {paint(shade, sign)} … and {len(changes) - len(shown):,} more {_VERBS.get(action, action)}"
        yield from _advice(changes)
    if account.counts[Action.UNCHANGED]:
        yield paint("dim", f"  {account.counts[Action.UNCHANGED]:,} unchanged")
    if account.verdict is Verdict.REFUSED:
        for refusal in account.refusals:
            yield f"  {paint('red', 'refused')} {refusal.rule}: {safe(refusal.message)}"


def _change(change: Change) -> str:
    phone = padded(hyphenated(change.phone), _PHONE_WIDTH)
    if change.action.writes:
        step = f"{change.observed} → {change.desired}"
    elif change.observed is None:
        step = f"missing, wanted {change.desired}"
    elif change.action is Action.UNMANAGED:
        step = f"{safe(change.observed)}, not listed"
    else:
        step = f"{change.action}, {safe(change.observed)}, wanted {change.desired}"
    remarks = [clipped(text, _NOTE_WIDTH) for text in (change.note, change.owner) if text]
    return f"{phone} {padded(step, 18)}  {' · '.join(remarks)}".rstrip()


def _advice(changes: Sequence[Change]) -> Iterator[str]:
    """What a person must do, once for each reason."""
    for reason in dict.fromkeys(change.reason for change in changes if not change.action.writes):
        yield f"      {clipped(reason, _REASON_WIDTH)}"


def _sum_of_plan(plan: Plan, paint: Paint) -> str:
    counts: Counter[Action] = Counter()
    for account in plan.accounts:
        counts.update(account.counts)
    on, off = counts[Action.ACTIVATE], counts[Action.DEACTIVATE]
    stuck = counts[Action.BLOCKED] + counts[Action.MISSING]
    errors = sum(account.verdict is Verdict.ERROR for account in plan.accounts)
    refused = sum(account.verdict is Verdict.REFUSED for account in plan.accounts)
    parts = []
    if on or off:
        parts.append(paint("bold", f"Plan: {on:,} to activate, {off:,} to deactivate."))
    elif not (errors or stuck):
        parts.append(paint("green", "No changes."))
    else:
        parts.append("No changes that can be made.")
    if stuck:
        parts.append(paint("yellow", f"{stuck:,} cannot converge."))
    parts.append(f"{_count(counts[Action.UNCHANGED], 'number')} unchanged.")
    if refused:
        parts.append(paint("red", f"{_count(refused, 'account')} refused by a safety rule."))
    if errors:
        parts.append(paint("red", f"{_count(errors, 'account')} could not be planned."))
    return " ".join(parts)


def result(result: Result, *, color: bool) -> str:
    """A result as text, ended by a line that sums it up."""
    paint = Paint(on=color)
    lines: list[str] = []
    idle = 0
    for account in result.accounts:
        if account.numbers or account.error:
            lines += [*_closed(account, paint), ""]
        else:
            idle += 1
    if idle and lines:
        lines += [f"{_count(idle, 'more account')} had nothing to do.", ""]
    return "\n".join([*lines, _sum_of_result(result, paint)]) + "\n"


def _closed(account: AccountResult, paint: Paint) -> Iterator[str]:
    word, shade = _ENDINGS[account.outcome]
    yield f"{_header(account.account, account.account_id, paint)}  {paint(shade, word.lower())}"
    if account.error is not None:
        yield f"  {paint('red', safe(account.error.code))}: {safe(account.error.message)}"
    for outcome, (sign, color) in _OUTCOMES.items():
        numbers = [number for number in account.numbers if number.outcome is outcome]
        shown = numbers if len(numbers) <= _MANY else numbers[:_SAMPLE]
        for number in shown:
            yield f"  {paint(color, sign)} {_number(number)}"
        if len(shown) < len(numbers):
            yield f"  {paint(color, sign)} … and {len(numbers) - len(shown):,} more {outcome.replace('_', ' ')}"
        yield from _errors(numbers, account)
    if account.counts[Outcome.UNCHANGED]:
        yield paint("dim", f"  {account.counts[Outcome.UNCHANGED]:,} unchanged")
    requests = account.requests
    yield paint("dim", f"  {requests.reads:,} reads, {requests.writes:,} writes, of these {requests.retries:,} retries")


def _number(number: NumberResult) -> str:
    phone = padded(hyphenated(number.phone), _PHONE_WIDTH)
    if number.outcome is Outcome.CHANGED:
        step = f"{number.before} → {number.after}"
    else:
        now = "" if number.after is None else f", is {safe(number.after)}"
        step = f"{number.outcome.replace('_', ' ')}{now}, wanted {number.desired}"
    tries = f"  ({number.attempts} attempts)" if number.attempts > 1 else ""
    return f"{phone} {step}{tries}"


def _errors(numbers: Iterable[NumberResult], account: AccountResult) -> Iterator[str]:
    """Each error of these numbers once; the account's own stands above."""
    errors = dict.fromkeys((number.error.code, number.error.message) for number in numbers if number.error is not None)
    for code, message in list(errors)[:_SAMPLE]:
        if account.error is None or account.error.message != message:
            yield f"      {safe(code)}: {clipped(message, _REASON_WIDTH)}"


def _sum_of_result(result: Result, paint: Paint) -> str:
    counts: Counter[Outcome] = Counter()
    for account in result.accounts:
        counts.update(account.counts)
    word, shade = _ENDINGS[result.outcome]
    told = [
        f"{counts[outcome]:,} {outcome.replace('_', ' ')}"
        for outcome in (*_OUTCOMES, Outcome.UNCHANGED)
        if counts[outcome]
    ]
    began, ended = datetime.fromisoformat(result.started_at), datetime.fromisoformat(result.finished_at)
    seconds = (ended - began).total_seconds()
    numbers = ", ".join(told) if told else "no numbers"
    return f"{paint(shade, word + ':')} {numbers}. {seconds:.1f} s, run {result.run_id}"


def _header(name: str, account_id: str | None, paint: Paint) -> str:
    shown = f" ({clipped(account_id, _ID_WIDTH)})" if account_id else ""
    return f"{paint('bold', clipped(name, _ID_WIDTH * 2))}{shown}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
