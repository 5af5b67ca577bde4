"""What is going to need a person: registrations that end, numbers that wait for somebody, an account that is full."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.model.accounts import Group, ObservedAccount, Status
from worker.model.messages import Message
from worker.model.plans import Notice, NoticeKind
from worker.model.safety import Health

__all__ = ["notices"]

_DAY: Final = timedelta(days=1)
_WHOLE: Final = 100
"""Per cent."""

_WAITING: Final = {
    Status.PENDING: (
        NoticeKind.PENDING,
        Message("PENDING: the vendor is still reviewing it; finish its documents or its ARS call in the console"),
    ),
    Status.DUPLICATED: (
        NoticeKind.DUPLICATED,
        Message("DUPLICATED: another account holds it; file a duplicate request in the console"),
    ),
    Status.BLOCKED: (NoticeKind.BLOCKED, Message("BLOCKED: the vendor has stopped it; contact their support")),
}
_ORDER: Final = {kind: place for place, kind in enumerate(NoticeKind)}


def notices(observed: ObservedAccount, groups: Iterable[Group], settings: Health) -> tuple[Notice, ...]:
    """What a person should know of an account as a look found it, one notice a number and kind, by kind and number.

    Nothing is told of expiry where nobody noted when the look was. A number of which the vendor does not say that it
    extends the registration by itself counts as one that ends.
    """
    found = [*_expiring(observed, settings), *_waiting(observed)]
    found.sort(key=lambda notice: (_ORDER[notice.kind], notice.phone or ""))
    return (*_short(observed, groups), *found, *_full(observed, settings))


def _short(observed: ObservedAccount, groups: Iterable[Group]) -> Iterator[Notice]:
    for group in groups:
        active = sum(observed.active_phone(member) for member in group.members)
        if active < group.min_active:
            told = Message(
                "group {name} has {active} of {members} numbers ACTIVE, and at least {min_active} should be: "
                "activate more of its members",
                name=group.name,
                active=active,
                members=len(group.members),
                min_active=group.min_active,
            )
            yield Notice(NoticeKind.GROUP, told)


def _expiring(observed: ObservedAccount, settings: Health) -> Iterator[Notice]:
    if not observed.seen_at:
        return
    now = datetime.fromtimestamp(observed.seen_at, UTC)
    horizon = now + timedelta(days=settings.expires_within_days)
    # dates sort as their texts do, but for a day between zones: most ends are far off and need no more than that
    latest = f"{horizon + _DAY:%Y-%m-%d}"
    ends: dict[str, datetime | None] = {}
    told: dict[datetime, str] = {}
    for number in observed.numbers.values():
        text = number.expires_at
        if not text or text[:10] > latest or not number.status.writable or number.phone in observed.extended:
            continue
        if text not in ends:
            ends[text] = _moment(text)
        end = ends[text]
        # a number that is switched off and over already is nobody's surprise
        if end is None or end > horizon or (end < now and number.status is not Status.ACTIVE):
            continue
        if end not in told:
            told[end] = _ending(end, over=end < now)
        yield Notice(NoticeKind.EXPIRING, told[end], number.phone)


def _ending(end: datetime, *, over: bool) -> str:
    when = f"{end:%Y-%m-%d}"
    if over:
        return Message(
            "its registration ended on {when}: verify it again in the console before the vendor switches it off",
            when=when,
        )
    return Message(
        "its registration ends on {when}: verify it again in the console before then, or have it extended by itself",
        when=when,
    )


def _moment(text: str) -> datetime | None:
    """A moment in the API's own text; None where it cannot be understood."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _waiting(observed: ObservedAccount) -> Iterator[Notice]:
    for number in observed.numbers.values():
        if number.status in _WAITING:
            kind, told = _WAITING[number.status]
            measures = observed.measures.get(number.phone)
            yield Notice(
                kind,
                Message("{told} (it asks for {measures})", told=told, measures=", ".join(measures))
                if measures
                else told,
                number.phone,
            )


def _full(observed: ObservedAccount, settings: Health) -> Iterator[Notice]:
    registered, limit = len(observed.numbers), observed.limit
    if limit and registered * _WHOLE >= limit * settings.limit_percent:
        message = Message(
            "{registered:,} of {limit:,} registration slots are used: ask the vendor for a higher limit, or remove "
            "some numbers, before the next one is needed",
            registered=registered,
            limit=limit,
        )
        yield Notice(NoticeKind.LIMIT, message)
