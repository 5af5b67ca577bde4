"""A result as a person reads it: what went wrong first, with what to do; what is in order only as a count."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Final, TypeVar

from worker.model.errors import CanaryFailed, ErrorInfo, NumberError
from worker.model.history import NumberRecord
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, Result, RunOutcome
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translated
from worker.render.terminal import Paint
from worker.render.terminal import width as cells
from worker.render.text.layout import (
    MANY,
    Group,
    Mark,
    Row,
    apart,
    count,
    counts,
    header,
    in_full_or_brief,
    indented,
    refusals,
    render_groups,
)
from worker.render.text.notices import worth_knowing

__all__ = [
    "ENDED",
    "GRAVEST_FIRST",
    "MARKS",
    "Told",
    "advice",
    "closing",
    "error_text",
    "grouped",
    "number_row",
    "requests_text",
    "result",
    "tally_text",
]

Told = TypeVar("Told", NumberResult, NumberRecord)
"""A number with its outcome, as a result or the ledger tells of it."""

MARKS: Final = {
    Outcome.FAILED: Mark("x", "failed", "red"),
    Outcome.CONFLICT: Mark("x", "conflict", "red"),
    Outcome.UNVERIFIED: Mark("?", "unverified", "yellow"),
    Outcome.NOT_ATTEMPTED: Mark(".", "not attempted", "yellow"),
    Outcome.HELD: Mark("~", "held", "yellow"),
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

ENDED: Final = {
    RunOutcome.CONVERGED: ("Converged", "green"),
    RunOutcome.PARTIAL: ("Partial", "yellow"),
    RunOutcome.REFUSED: ("Refused", "red"),
    RunOutcome.FAILED: ("Failed", "red"),
    RunOutcome.LOCKED: ("Locked", "red"),
    RunOutcome.INTERRUPTED: ("Interrupted", "yellow"),
}

GRAVEST_FIRST: Final = tuple(reversed(RunOutcome))

_ORDER: Final = tuple(MARKS)

_KINDS: Final[tuple[Callable[[NumberResult | NumberRecord], object], ...]] = (
    lambda number: number.error,
    lambda number: None if number.error is None else number.error.code,
    lambda _number: None,
)
"""What numbers of one outcome are told apart by, finest first."""


def result(result: Result, *, color: bool, width: int = 80) -> str:
    """A result in `width` columns, ended by a newline. Without `color` it holds no escape code."""
    paint = Paint(color=color)
    busy = [
        account
        for account in result.accounts
        if account.numbers or account.notices or account.outcome is not RunOutcome.CONVERGED
    ]
    lines = list(
        in_full_or_brief(
            sorted(busy, key=lambda account: GRAVEST_FIRST.index(account.outcome)),
            lambda account: _done(account, paint, width),
            lambda account: f"{translated(account.outcome)}, {tally_text(account.counts, quiet=False)}",
            lambda account: account.account,
            width,
        )
    )
    quiet = len(result.accounts) - len(busy)
    if quiet and len(result.accounts) > 1:
        told = ngettext("{count} account had nothing to do.", "{count} accounts had nothing to do.", quiet)
        lines += [told.format(count=f"{quiet:,}"), ""]
    lines += _result_closing(result, paint, width)
    return "\n".join(lines) + "\n"


def _done(account: AccountResult, paint: Paint, columns: int) -> Iterator[str]:
    _word, style = ENDED[account.outcome]
    word = translated(account.outcome)
    known = header(account.account, account.account_id, paint, columns - cells(f": {word}"))
    yield f"{known}: {paint(style, word)}"
    yield from indented(tally_text(account.counts) + requests_text(account.requests), columns, "  ", "  ")
    if account.error is not None and not account.refusals:
        yield from indented(error_text(account.error), columns, "  ", "    ", lambda line: paint("red", line))
    groups = grouped(account.numbers)
    if groups:
        yield ""
    yield from render_groups(
        [Group.of(MARKS[some[0].outcome], some, number_row, advice(some, account.error)) for some in groups],
        paint,
        columns,
    )
    told = {number.phone for number in account.numbers if number.outcome is Outcome.BLOCKED}
    yield from worth_knowing(account.notices, told, paint, columns)
    yield from refusals(account.refusals, paint, columns)


def grouped(numbers: Sequence[Told]) -> list[list[Told]]:
    """Numbers with the same outcome and error together; if errors are many and differ, by code, or by outcome alone."""
    groupings = (_by(kind, numbers) for kind in _KINDS)
    found = next(found for found in groupings if len(found) <= MANY)
    return sorted(found, key=lambda some: _ORDER.index(some[0].outcome))


def _by(kind: Callable[[NumberResult | NumberRecord], object], numbers: Sequence[Told]) -> Collection[list[Told]]:
    found: dict[tuple[Outcome | None, object], list[Told]] = {}
    for number in numbers:
        found.setdefault((number.outcome, kind(number)), []).append(number)
    return found.values()


def number_row(number: NumberResult | NumberRecord) -> Row:
    """A number with what became of it, or what it was to become."""
    if number.outcome is Outcome.CHANGED:
        return Row(number.phone, f"{number.before} → {number.after}")
    if number.action is None:
        return Row(number.phone, _("wanted {desired}").format(desired=number.desired))
    if number.outcome is Outcome.UNVERIFIED or _unseen(number):
        told = _("was {before}, wanted {desired}").format(before=number.before, desired=number.desired)
        return Row(number.phone, told)
    return Row(number.phone, apart(number.after, number.desired))


def _unseen(number: NumberResult | NumberRecord) -> bool:
    """Whether nobody knows what the number has now. Of a conflict without a status it is known: the number is gone."""
    return number.after is None and number.before is not None and number.outcome is not Outcome.CONFLICT


def advice(numbers: Sequence[Told], above: ErrorInfo | None) -> str:
    """What happened and what to do; nothing where the account's own error says it above."""
    outcome = numbers[0].outcome
    errors = list(dict.fromkeys(number.error for number in numbers if number.error is not None))
    if not errors or [above] == [ErrorInfo(error.code, error.message) for error in errors]:
        return ""
    error = errors[0]
    others = f" ({count(len(errors) - 1, 'other reason')}: --format json)" if len(errors) > 1 else ""
    if outcome not in _NEXT:
        return translated(error.message) + others
    told = f"{error_text(error)}{others}."
    if "plan again" in error.message:
        return told
    if outcome is Outcome.FAILED and any(map(_unseen, numbers)):
        outcome = Outcome.UNVERIFIED
    return f"{told} {translated(_NEXT[outcome])}"


def error_text(error: ErrorInfo | NumberError) -> str:
    """What went wrong, without a full stop."""
    status = f" ({error.http_status})" if isinstance(error, NumberError) and error.http_status else ""
    return f"{error.code}{status}: {translated(error.message)}".rstrip(".")


def requests_text(requests: Requests) -> str:
    """How many requests it took, in parentheses behind a blank; nothing where there were none."""
    told = ", ".join(
        part
        for number, part in (
            (requests.reads, count(requests.reads, "read")),
            (requests.writes, count(requests.writes, "write")),
            (requests.retries, _("{count} retried").format(count=f"{requests.retries:,}")),
        )
        if number
    )
    return f" ({told})" if told else ""


def tally_text(found: dict[Outcome, int], *, quiet: bool = True) -> str:
    """The counts of a result, those of what is as desired only where `quiet`."""
    told = counts(
        (found.get(outcome, 0), mark.word)
        for outcome, mark in MARKS.items()
        if quiet or outcome is not Outcome.UNCHANGED
    )
    return told or _("no numbers")


def _result_closing(result: Result, paint: Paint, columns: int) -> Iterator[str]:
    word, style = ENDED[result.outcome]
    word = translated(word)
    told, *remarks = closing(result)
    first, *others = indented(told, columns, "", "  ")
    yield paint(style, f"{word}:") + paint("bold", first.removeprefix(f"{word}:"))
    yield from (paint("bold", line) for line in others)
    yield from (paint("red", remark) for remark in remarks)


def closing(result: Result) -> Iterator[str]:
    """What a result comes to, and then what stood in its way, in a sentence each."""
    total = Counter[Outcome]()
    sent = 0
    for account in result.accounts:
        total.update(account.counts)
        sent += account.requests.reads + account.requests.writes
    word, _style = ENDED[result.outcome]
    took = datetime.fromisoformat(result.finished_at) - datetime.fromisoformat(result.started_at)
    told = counts(
        (total[outcome], MARKS[outcome].word)
        for outcome in sorted(MARKS, key=lambda outcome: outcome is not Outcome.CHANGED)
    )
    word = translated(word)
    yield _("{outcome}: {what}. {requests} in {seconds} s.").format(
        outcome=word,
        what=told or _("no numbers"),
        requests=count(sent, "request"),
        seconds=f"{took.total_seconds():,.1f}",
    )
    held = sum(account.error is not None and account.error.code == CanaryFailed.__name__ for account in result.accounts)
    if held:
        yield _("The canary failed: {accounts} not begun with.").format(accounts=count(held, "account"))
