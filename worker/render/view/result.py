"""The view of a result, and the rows of numbers that results and recorded runs share."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias, TypeVar

from worker.model.errors import CanaryFailed, ErrorInfo
from worker.model.history import NumberRecord
from worker.model.messages import Message
from worker.model.plans import Notice
from worker.model.results import AccountResult, NumberResult, Outcome, Result, RunOutcome
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.marks import ENDINGS, MARKS, Mark, brief_counts, count, counts, ending_mark, mark_of, rank
from worker.render.view.attention import (
    AttentionGroup,
    error_items,
    error_text,
    group_by,
    notice_items,
    number_item,
    refusal_items,
    unshown_notices,
)
from worker.render.view.parts import MANY, AccountView, DocumentView, NumberGroup, NumberRow, count_views, status_text

__all__ = ["attention_items", "number_row", "result_view"]

AnyNumber: TypeAlias = NumberResult | NumberRecord
T = TypeVar("T")

_NEXT: Final = {
    Outcome.FAILED: Message("The status is unchanged. Fix the cause, then apply again."),
    Outcome.CONFLICT: Message("The number was changed elsewhere. Plan again."),
    Outcome.UNVERIFIED: Message("Plan again to read the current status."),
    Outcome.NOT_ATTEMPTED: Message("No request was sent. Fix the cause, then apply again."),
}

_GRAVEST_FIRST: Final = tuple(ENDINGS)

_DISTINCTIONS: Final[tuple[Callable[[AnyNumber], object], ...]] = (
    lambda number: number.error,
    lambda number: None if number.error is None else number.error.code,
    lambda _number: None,
)
"""Keys by which numbers with the same outcome can be grouped, the finest first: error, error code, none."""


def result_view(result: Result) -> DocumentView:
    """Return the view of a result."""
    accounts = sorted(
        result.accounts, key=lambda account: (_GRAVEST_FIRST.index(account.outcome), -_attention_count(account.counts))
    )
    busy_accounts = list(filter(_is_noteworthy, accounts))
    total = Counter[str]()
    for account in accounts:
        total.update(account.counts)
    ending = ending_mark(result.outcome, [account.error for account in accounts])
    verdict, *remarks = _sentences(result, ending, total)
    return DocumentView(
        title=_("Result"),
        tone=ending.tone,
        ending=ending,
        verdict=verdict,
        remarks=[("bad", remark) for remark in remarks],
        counts=count_views(total, (account.counts for account in accounts)),
        accounts=[_account(account) for account in busy_accounts],
        quiet=[account.account for account in accounts if not _is_noteworthy(account)],
        attention=[
            *refusal_items((account.account, account.refusals) for account in busy_accounts),
            *error_items(((account.account, _own_error(account)) for account in busy_accounts), _("Stopped")),
            *attention_items((account.account, account.error, account.numbers) for account in busy_accounts),
        ],
        notices=notice_items((account.account, notice) for account in busy_accounts for notice in _notices(account)),
    )


def _is_noteworthy(account: AccountResult) -> bool:
    return bool(account.numbers or account.notices or account.outcome is not RunOutcome.CONVERGED)


def _own_error(account: AccountResult) -> ErrorInfo | None:
    """Return the account's error; None if its refusals already report it."""
    return None if account.refusals else account.error


def _attention_count(counts: dict[Outcome, int]) -> int:
    return sum(number for outcome, number in counts.items() if outcome.needs_attention)


def _notices(account: AccountResult) -> list[Notice]:
    return unshown_notices(
        account.notices, {number.phone for number in account.numbers if number.outcome is Outcome.BLOCKED}
    )


def _account(account: AccountResult) -> AccountView:
    mark = ending_mark(account.outcome, [account.error])
    error = _own_error(account)
    return AccountView(
        name=account.account,
        id=account.account_id,
        mark=mark,
        brief=f"{translate(mark.word)}, {brief_counts(account.counts)}",
        counts=dict(account.counts.items()),
        attention_count=_attention_count(account.counts),
        size=len(account.numbers),
        content=(account.numbers, account.error),
        groups=partial(_groups, account),
        error="" if error is None else error_text(error),
        refusals=refusal_items([(account.account, account.refusals)]),
        notices=notice_items((account.account, notice) for notice in _notices(account)),
        requests=account.requests,
    )


def _groups(account: AccountResult) -> list[NumberGroup]:
    return [
        NumberGroup(
            mark_of(numbers_alike[0].outcome),
            _advice(numbers_alike, account.error),
            list(map(number_row, numbers_alike)),
        )
        for numbers_alike in _alike(account.numbers, lambda number: number)
    ]


def _alike(items: Sequence[T], number: Callable[[T], AnyNumber]) -> list[list[T]]:
    """Return items grouped by outcome and error. If that gives too many groups, use the error code, or outcome only."""

    def grouped(key: Callable[[AnyNumber], object]) -> dict[tuple[Outcome | None, object], list[T]]:
        return group_by(((number(item).outcome, key(number(item))), item) for item in items)

    groups = next(groups for groups in map(grouped, _DISTINCTIONS) if len(groups) <= MANY)
    return sorted(groups.values(), key=lambda numbers: rank(number(numbers[0]).outcome))


def attention_items(accounts: Iterable[tuple[str, ErrorInfo | None, Sequence[AnyNumber]]]) -> Iterator[AttentionGroup]:
    """Yield the attention items of numbers. `accounts` yields account names, account errors and numbers.

    A number whose error is that of its account is left out, because the account has its own item.
    """
    affected_numbers = [
        (name, number)
        for name, account_error, numbers in accounts
        for number in numbers
        if number.outcome is not None
        and number.outcome.needs_attention
        and (number.error is None or ErrorInfo(number.error.code, number.error.message) != account_error)
    ]
    for pairs in _alike(affected_numbers, lambda pair: pair[1]):
        numbers = [number for _name, number in pairs]
        yield number_item(
            mark_of(numbers[0].outcome), _advice(numbers, None), [(name, number.phone) for name, number in pairs]
        )


def number_row(number: AnyNumber) -> NumberRow:
    """Return the row of a number. Only a result has its note and owner, and only a record has each attempt."""
    result, record = (number, None) if isinstance(number, NumberResult) else (None, number)
    return NumberRow(
        phone=number.phone,
        mark=mark_of(number.outcome),
        status=_status(number),
        needs_attention=number.outcome is not None and number.outcome.needs_attention,
        error="" if number.error is None else error_text(number.error),
        note=(result and result.note) or "",
        owner=(result and result.owner) or "",
        tries=result.attempts if result else 0,
        attempts=record.attempts if record else (),
        duration_ms=number.duration_ms,
    )


def _status(number: AnyNumber) -> str:
    if number.outcome is Outcome.CHANGED:
        return f"{number.before} → {number.after}"
    if number.action is None:
        return _("desired {desired}").format(desired=number.desired)
    if number.outcome is Outcome.UNVERIFIED or _is_unknown(number):
        return _("was {before}, desired {desired}").format(before=number.before, desired=number.desired)
    return status_text(number.after, number.desired)


def _is_unknown(number: AnyNumber) -> bool:
    """Return True if the number's status is unknown. In a conflict without a status, the number was removed."""
    return number.after is None and number.before is not None and number.outcome is not Outcome.CONFLICT


def _advice(numbers: Sequence[AnyNumber], account_error: ErrorInfo | None) -> str:
    """Return the error of numbers and the advice on it; empty if it is `account_error`, the error of their account."""
    outcome = numbers[0].outcome
    errors = list(dict.fromkeys(number.error for number in numbers if number.error is not None))
    if not errors or [account_error] == [ErrorInfo(error.code, error.message) for error in errors]:
        return ""
    error = errors[0]
    other_reasons = f" ({count(len(errors) - 1, 'other reason')}: --format json)" if len(errors) > 1 else ""
    if outcome not in _NEXT:
        return translate(error.message) + other_reasons
    text = f"{error_text(error)}{other_reasons}."
    if "plan again" in error.message:
        return text
    if outcome is Outcome.FAILED and any(map(_is_unknown, numbers)):
        outcome = Outcome.UNVERIFIED
    return f"{text} {translate(_NEXT[outcome])}"


def _sentences(result: Result, ending: Mark, total: Counter[str]) -> Iterator[str]:
    """Yield the sentence that sums up a result, then one for each obstacle."""
    requests = sum(account.requests.reads + account.requests.writes for account in result.accounts)
    total_time = datetime.fromisoformat(result.finished_at) - datetime.fromisoformat(result.started_at)
    duration = total_time - timedelta(milliseconds=result.prompt_ms)
    # changed numbers come first
    order = sorted(MARKS, key=lambda outcome: outcome != Outcome.CHANGED)
    yield _("{outcome}: {what}. {requests} in {seconds} s.").format(
        outcome=translate(ending.word).capitalize(),
        what=counts((total[outcome], mark_of(outcome).counted) for outcome in order) or _("no numbers"),
        requests=count(requests, "request"),
        seconds=f"{duration.total_seconds():,.1f}",
    )
    idle = sum(account.error is not None and account.error.code == CanaryFailed.__name__ for account in result.accounts)
    if idle:
        yield _("The canary failed: {accounts} not started.").format(accounts=count(idle, "account"))
