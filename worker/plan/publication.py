"""Comparison of two revisions of a fleet: which accounts change, and whether too many numbers or accounts do."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from worker.model.accounts import DesiredAccount, Status, Unmanaged
from worker.model.errors import Refusal
from worker.model.messages import Message
from worker.model.plans import Action
from worker.model.schedule import settle_schedules
from worker.plan.safety import ALLOW_ALL, FLEET_WIDE, fleet_limit, fleet_refusals

__all__ = ["guard_revision", "switches"]


def switches(before: DesiredAccount, after: DesiredAccount, now: datetime) -> Counter[Action]:
    """Return how many numbers of an account get another desired status at `now`, an aware time, by action.

    A number that is new in the file does not count, because its observed status is not known.
    """
    before, after = settle_schedules(before, now), settle_schedules(after, now)
    counts = Counter[Action]()
    for phone, number in after.numbers.items():
        earlier = before.numbers.get(phone)
        if earlier is not None and earlier.status is not number.status:
            counts[Action.ACTIVATE if number.status is Status.ACTIVE else Action.DEACTIVATE] += 1
    if after.unmanaged is Unmanaged.DEACTIVATE:
        listed = frozenset(after.listed)
        unlisted = (number for phone, number in before.numbers.items() if phone not in listed)
        counts[Action.DEACTIVATE] += sum(number.status is Status.ACTIVE for number in unlisted)
    return counts


def guard_revision(
    counts: Mapping[Action, int],
    *,
    numbers: int,
    removed: int,
    accounts_before: int,
    setting: int | str,
    allow: frozenset[str],
) -> tuple[Refusal, ...]:
    """Return the refusals of a new revision by the rule `fleet-wide`; none if it may be published.

    `counts` are the numbers that get another desired status, of `numbers` in total. `removed` is the count of accounts
    that the revision no longer has, of `accounts_before`. `setting` and `allow` are as for `guard_fleet`.

    Raises:
        ValueError: `setting` is neither a number nor a percentage.
    """
    if not allow.isdisjoint({FLEET_WIDE, ALLOW_ALL}):
        return ()
    refusals = tuple(fleet_refusals(counts, numbers, setting).values())
    limit = fleet_limit(setting, accounts_before)
    if removed <= limit:
        return refusals
    message = Message(
        "{count} of the {total} accounts would be removed from the fleet; the limit is {limit} (fleet_wide: "
        "{setting}). To allow it, add --allow fleet-wide",
        count=removed,
        total=accounts_before,
        limit=limit,
        setting=setting,
    )
    return (*refusals, Refusal(FLEET_WIDE, message))
