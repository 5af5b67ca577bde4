"""The latest read of an account, as the status page shows it: from its plan and, if it was applied, its result."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from worker.model.accounts import Desired, DesiredAccount, ObservedAccount
from worker.model.messages import to_parts
from worker.model.plans import NOT_WRITTEN, AccountPlan, Action, Change, NoticeKind, Verdict
from worker.model.reads import AccountRead, Attention, HealthStatus, NumberState, SyncStatus
from worker.model.results import FAILURES, AccountResult, Outcome, RunOutcome

__all__ = ["account_read", "number_states", "with_results"]

_PHONES: Final = 20
"""Maximum count of numbers that an attention item lists. The others are counted."""
_OF_STATUS: Final = frozenset({NoticeKind.PENDING, NoticeKind.DUPLICATED, NoticeKind.BLOCKED})
"""Kinds of notices that repeat why a number is blocked."""


def number_states(
    account: DesiredAccount, observed: ObservedAccount, desired: Mapping[str, Desired], plan: AccountPlan
) -> list[NumberState]:
    """Return the numbers of an account as a read found them: the listed ones in file order, then the others.

    `desired` is the desired state of all numbers at the time of the plan.
    """
    changes = {change.phone: change for change in plan.changes}
    locations = account.locations(desired.keys())
    return [
        _number_state(phone, number, observed, changes.get(phone), locations.get(phone, (None, 0)))
        for phone, number in desired.items()
    ]


def _number_state(
    phone: str, desired: Desired, observed: ObservedAccount, change: Change | None, location: tuple[str | None, int]
) -> NumberState:
    number = observed.numbers.get(phone)
    action = None if change is None or change.action is Action.UNCHANGED else change.action.value
    return NumberState(
        phone,
        desired.status.value if desired.managed else None,
        None if number is None else number.status.value,
        action,
        None if number is None else number.expires_at,
        desired.note,
        desired.owner,
        desired.until,
        *location,
    )


def with_results(numbers: Iterable[NumberState], result: AccountResult) -> list[NumberState]:
    """Return the numbers of an account after its plan was applied with a result."""
    results = {number.phone: number for number in result.numbers}
    after = []
    for number in numbers:
        number_result = results.get(number.phone)
        if number_result is None:
            after.append(number)
            continue
        in_sync = number_result.outcome in {Outcome.CHANGED, Outcome.UNCHANGED}
        observed = number.observed if number_result.after is None else number_result.after
        action = None if in_sync else number_result.outcome.value
        after.append(msgspec.structs.replace(number, observed=observed, action=action))
    return after


def account_read(
    plan: AccountPlan,
    result: AccountResult | None,
    *,
    key: str,
    at: str,
    command: str,
    run_id: str | None = None,
    is_suspended: bool = False,
) -> AccountRead:
    """Return the state of an account after its plan, and after the `result` of that plan unless it is None.

    `is_suspended` is True if the account is suspended, so that its plan must not be applied.
    """
    needs = tuple(_needs(plan, result))
    counts = plan.counts if result is None else result.counts
    differing = _differing(plan, result)
    has_failed = plan.verdict is Verdict.ERROR or (
        result is not None
        and (result.outcome is RunOutcome.FAILED or any(result.counts.get(outcome) for outcome in FAILURES))
    )
    if has_failed:
        health = HealthStatus.FAILED
    elif is_suspended:
        health = HealthStatus.SUSPENDED
    else:
        health = HealthStatus.NEEDS_ATTENTION if needs else HealthStatus.HEALTHY
    if plan.verdict is Verdict.ERROR:
        sync = SyncStatus.UNKNOWN
    else:
        sync = SyncStatus.OUT_OF_SYNC if differing else SyncStatus.IN_SYNC
    return AccountRead(
        account=plan.account,
        key=key,
        at=at,
        command=command,
        run_id=run_id,
        sync=sync,
        health=health,
        counts={str(name): number for name, number in counts.items() if number},
        differing=differing,
        active=plan.active,
        needs=needs,
        timezone=plan.timezone,
        failed_at=at if has_failed else None,
    )


def _differing(plan: AccountPlan, result: AccountResult | None) -> int:
    if plan.verdict is Verdict.ERROR:
        return 0
    if result is None:
        return sum(change.action not in NOT_WRITTEN for change in plan.changes)
    return sum(number for outcome, number in result.counts.items() if outcome.needs_attention)


def _needs(plan: AccountPlan, result: AccountResult | None) -> Iterator[Attention]:
    """Yield what needs attention: errors and refusals of the account, then its numbers, then notices."""
    error = plan.error if result is None else result.error
    refusals = plan.refusals if result is None else result.refusals
    if error is not None and not error.is_declined and not refusals:
        yield Attention("error", str(error.message), error.code, parts=to_parts(error.message))
    for refusal in refusals:
        yield Attention("refused", str(refusal.message), refusal.rule, parts=to_parts(refusal.message))
    own_error = None if error is None else error.message
    attention_items = _needs_attention(plan, result)
    yield from _grouped((kind, message, phone) for kind, message, phone in attention_items if message != own_error)
    phones = {phone for _kind, _message, phone in attention_items}
    notices = plan.notices if result is None else result.notices
    visible_notices = [notice for notice in notices if not (notice.kind in _OF_STATUS and notice.phone in phones)]
    yield from _grouped((notice.kind, notice.message, notice.phone) for notice in visible_notices)


def _needs_attention(plan: AccountPlan, result: AccountResult | None) -> list[tuple[str, str, str]]:
    """Return the kind, the reason and the digits of each number that cannot proceed without an operator."""
    if result is None:
        return [
            (change.action, change.reason, change.phone) for change in plan.changes if change.action.needs_attention
        ]
    reasons = {change.phone: change.reason for change in plan.changes}
    return [
        (
            number.outcome,
            reasons.get(number.phone, "") if number.error is None else number.error.message,
            number.phone,
        )
        for number in result.numbers
        if number.outcome.needs_attention
    ]


def _grouped(items: Iterable[tuple[str, str, str | None]]) -> Iterator[Attention]:
    groups: dict[tuple[str, str], list[str | None]] = {}
    for kind, message, phone in items:
        groups.setdefault((kind, message), []).append(phone)
    for (kind, message), group in groups.items():
        phones = [phone for phone in group if phone is not None]
        yield Attention(str(kind), message, count=len(phones), phones=tuple(phones[:_PHONES]), parts=to_parts(message))
