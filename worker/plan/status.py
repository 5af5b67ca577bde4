"""The current state of every number of an account, and the filters of `senderid status`."""

from datetime import datetime

from msgspec import Struct

from worker.model.accounts import MISSING, Desired, DesiredAccount, IdleNumber, ObservedAccount, Schedule, Status
from worker.model.number_status import AccountStatus, KnownDifference, NextStatus, NumberStatus
from worker.model.schedule import settle_schedules, status_changes
from worker.model.times import format_utc, parse_api_time
from worker.plan.policy import Selection, adopt, select

__all__ = ["StatusFilter", "account_status"]


class StatusFilter(Struct, frozen=True):
    """A filter of numbers by their state. A number must match every field that is set.

    `observed` are statuses; `MISSING` stands for numbers that are not registered. `expires_before` is an aware
    time: the registration ends before it, and is not extended automatically.
    """

    differs: bool = False
    observed: frozenset[str] = frozenset()
    expires_before: datetime | None = None

    def matches(self, number: NumberStatus) -> bool:
        """Return True if the filter selects a number."""
        return (
            (number.differs or not self.differs)
            and (not self.observed or (number.observed or MISSING) in self.observed)
            and (self.expires_before is None or self._is_expiring(number, self.expires_before))
        )

    @staticmethod
    def _is_expiring(number: NumberStatus, moment: datetime) -> bool:
        if number.expires_at is None or number.extended:
            return False
        return datetime.fromisoformat(number.expires_at) < moment


def account_status(
    desired: DesiredAccount, observed: ObservedAccount, selection: Selection, states: StatusFilter, now: datetime
) -> AccountStatus:
    """Return the state of the numbers of an account that both filters select. `now` is an aware time.

    Numbers that no file lists are left out if the policy for them is `ignore`.
    """
    settled = settle_schedules(desired, now)
    listed: dict[str, Desired | IdleNumber] = {
        phone: settled.numbers.get(phone) or settled.idle[phone] for phone in desired.numbers
    }
    selected = select({**listed, **adopt(settled, observed), **listed}, selection)
    next_changes = {schedule: _next_status(schedule, now) for schedule in set(desired.schedules.values())}
    numbers = [
        _number(
            phone,
            number,
            observed,
            listed=phone in listed,
            next_change=next_changes[desired.schedules[phone]] if phone in desired.schedules else None,
        )
        for phone, number in selected.items()
    ]
    return AccountStatus(
        account=desired.name,
        account_id=observed.account_id,
        timezone=desired.timezone,
        total=len(numbers),
        numbers=tuple(filter(states.matches, numbers)),
    )


def _next_status(schedule: Schedule, now: datetime) -> NextStatus | None:
    change = next(status_changes(schedule, now), None)
    return None if change is None else NextStatus(format_utc(change[0]), change[1].status)


def _acknowledged(number: Desired | IdleNumber, status: Status | None) -> KnownDifference | None:
    acknowledgement = number.acknowledgement if isinstance(number, Desired) and number.acknowledges(status) else None
    if acknowledgement is None:
        return None
    return KnownDifference(
        reason=acknowledgement.reason, until=format_utc(acknowledgement.until), by=acknowledgement.by
    )


def _number(
    phone: str,
    number: Desired | IdleNumber,
    observed: ObservedAccount,
    *,
    listed: bool,
    next_change: NextStatus | None,
) -> NumberStatus:
    registered = observed.numbers.get(phone)
    status = None if registered is None else registered.status
    desired = None if isinstance(number, IdleNumber) else number.status
    if not listed and desired == status and not (isinstance(number, Desired) and number.managed):
        desired = None  # `adopt` gives an unlisted number its observed status
    expires_at = None if registered is None or registered.expires_at is None else parse_api_time(registered.expires_at)
    return NumberStatus(
        phone=phone,
        observed=status,
        desired=desired,
        differs=desired is not None and desired != status,
        listed=listed,
        protected=isinstance(number, Desired) and number.protected,
        note=number.note,
        owner=number.owner,
        next=next_change,
        expires_at=None if expires_at is None else format_utc(expires_at),
        extended=phone in observed.extended,
        acknowledged=_acknowledged(number, status),
    )
