"""Notices: warnings about an account that are independent of its changes, and warnings about swaps."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import structs

from worker.model.accounts import Group, ObservedAccount, PairSwaps, Status
from worker.model.messages import Message
from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind
from worker.model.results import NumberResult, Outcome
from worker.model.safety import Health
from worker.model.times import parse_api_time
from worker.plan.holds import activation_obstacles, phone_list

__all__ = ["notices", "result_notices", "with_swap_notice"]

_DAY: Final = timedelta(days=1)
_PERCENT: Final = 100
"""The whole limit, in percent."""

_AWAITING_VENDOR: Final = {
    Status.PENDING: (
        NoticeKind.PENDING,
        Message(
            "PENDING: the vendor is still reviewing it; submit its documents or complete its ARS call in the console"
        ),
    ),
    Status.DUPLICATED: (
        NoticeKind.DUPLICATED,
        Message("DUPLICATED: it is registered on another account; report the duplicate registration in the console"),
    ),
    Status.BLOCKED: (NoticeKind.BLOCKED, Message("BLOCKED: the vendor has blocked it; contact the vendor")),
}
_ORDER: Final = {kind: index for index, kind in enumerate(NoticeKind)}


def notices(
    observed: ObservedAccount, groups: Iterable[Group], settings: Health, changes: Iterable[Change] = ()
) -> tuple[Notice, ...]:
    """Return the notices on an account after a read. There is at most one per number and kind.

    Notices on groups come first, then those on numbers, ordered by kind and number, then the one on the limit. Without
    the time of the read, no notice reports an expiry. Registrations that the vendor extends automatically do not
    expire. No notice reports a status that `changes`, those of the account's plan, show as acknowledged.
    """
    known_phones = {
        change.phone
        for change in changes
        if change.action is Action.ACKNOWLEDGED and change.observed == observed.status(change.phone)
    }
    awaiting = (notice for notice in _awaiting_vendor(observed) if notice.phone not in known_phones)
    per_number = [*_expiring(observed, settings), *awaiting]
    per_number.sort(key=lambda notice: (_ORDER[notice.kind], notice.phone or ""))
    return (*_short_of_active(observed, groups), *per_number, *_near_limit(observed, settings))


def _short_of_active(observed: ObservedAccount, groups: Iterable[Group]) -> Iterator[Notice]:
    for group in groups:
        active = sum(observed.is_active(member) for member in group.members)
        if active < group.min_active:
            message = Message(
                "group {name} has {active} of {members} numbers ACTIVE; the minimum is {min_active}: "
                "activate more members of the group",
                name=group.name,
                active=active,
                members=len(group.members),
                min_active=group.min_active,
            )
            yield Notice(NoticeKind.GROUP, message)


def _expiring(observed: ObservedAccount, settings: Health) -> Iterator[Notice]:
    if not observed.seen_at:
        return
    read_time = datetime.fromtimestamp(observed.seen_at, UTC)
    horizon = read_time + timedelta(days=settings.expires_within_days)
    # dates compare as text, to within a day because of time zones: most ends are far off and need no parsing
    latest = (horizon + _DAY).date().isoformat()
    ends: dict[str, datetime | None] = {}
    messages: dict[datetime, Message] = {}
    for number in observed.numbers.values():
        text = number.expires_at
        if not text or text[:10] > latest or not number.status.is_writable or number.phone in observed.extended:
            continue
        if text not in ends:
            ends[text] = parse_api_time(text)
        end = ends[text]
        # an INACTIVE number whose registration has ended needs no attention
        if end is None or end > horizon or (end < read_time and number.status is not Status.ACTIVE):
            continue
        if end not in messages:
            messages[end] = _ending(end, has_ended=end < read_time)
        yield Notice(NoticeKind.EXPIRING, messages[end], number.phone)


def _ending(end: datetime, *, has_ended: bool) -> Message:
    date = f"{end:%Y-%m-%d}"
    if has_ended:
        return Message(
            "its registration ended on {date}: verify it again in the console before the vendor deactivates it",
            date=date,
        )
    return Message(
        "its registration ends on {date}: verify it again in the console before then, or have it extended "
        "automatically",
        date=date,
    )


def _awaiting_vendor(observed: ObservedAccount) -> Iterator[Notice]:
    for number in observed.numbers.values():
        if number.status in _AWAITING_VENDOR:
            kind, message = _AWAITING_VENDOR[number.status]
            measures = observed.measures.get(number.phone)
            if measures:
                message = Message("{message} (the vendor asks for {measures})", message=message, measures=measures)
            yield Notice(kind, message, number.phone)


def _near_limit(observed: ObservedAccount, settings: Health) -> Iterator[Notice]:
    registered_count, limit = len(observed.numbers), observed.limit
    if limit and registered_count * _PERCENT >= limit * settings.limit_percent:
        message = Message(
            "{registered:,} of {limit:,} registration slots used: request a higher limit from the vendor, or remove "
            "numbers",
            registered=registered_count,
            limit=limit,
        )
        yield Notice(NoticeKind.LIMIT, message)


def with_swap_notice(plan: AccountPlan) -> AccountPlan:
    """Return the plan. Add a notice if it deactivates numbers although it cannot activate others of the account.

    A number whose difference is acknowledged is not reported.
    """
    obstacles = activation_obstacles(change for change in plan.changes if change.action is not Action.ACKNOWLEDGED)
    deactivated_phones = [change.phone for change in plan.changes if change.action is Action.DEACTIVATE]
    if not obstacles or not deactivated_phones:
        return plan
    message = Message(
        "the plan cannot activate {activations}, but would deactivate {deactivated}; "
        "fix the activation first, or set safety.pair_swaps to hold",
        activations=phone_list(obstacles, obstacles),
        deactivated=phone_list(deactivated_phones),
    )
    return structs.replace(plan, notices=(*plan.notices, Notice(NoticeKind.SWAP, message)))


def result_notices(numbers: Sequence[NumberResult], mode: PairSwaps) -> tuple[Notice, ...]:
    """Return a notice if a run deactivated numbers but did not confirm others as ACTIVE; none if `mode` is `hold`.

    A number whose difference is acknowledged is not reported.
    """
    deactivated_phones = [number.phone for number in numbers if _was_deactivated(number)] if mode == "warn" else []
    obstacles = (
        {number.phone: number.outcome for number in numbers if _is_not_active(number)} if deactivated_phones else {}
    )
    if not obstacles:
        return ()
    message = Message(
        "the run deactivated {deactivated}, but did not confirm {activations} as ACTIVE; "
        "fix the activation or roll the run back; set safety.pair_swaps to hold to prevent this",
        deactivated=phone_list(deactivated_phones),
        activations=phone_list(obstacles, obstacles),
    )
    return (Notice(NoticeKind.SWAP, message),)


def _was_deactivated(number: NumberResult) -> bool:
    return number.action is Action.DEACTIVATE and number.outcome in {Outcome.CHANGED, Outcome.UNVERIFIED}


def _is_not_active(number: NumberResult) -> bool:
    return number.desired == Status.ACTIVE != number.after and number.outcome is not Outcome.ACKNOWLEDGED
