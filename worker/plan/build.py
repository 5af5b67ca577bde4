"""The plan of one account: the one pure function in the middle of the worker.

`build` compares what the files ask for with what the API reports, under the terms of a run, with what the ledger
remembers and at a given time. `remaining` does so for the writes of a saved plan or of a rollback.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Self

from msgspec import Struct, structs

from worker.config.settings import Settings
from worker.model import schedule
from worker.model.accounts import AccountMemory, Desired, DesiredAccount, ObservedAccount, Status
from worker.model.credentials import CredentialsRef
from worker.model.errors import Refusal, WorkerError
from worker.model.plans import AccountPlan, Action, Change, Verdict, tally
from worker.model.results import Requests
from worker.model.safety import Health, InUse, Safety
from worker.plan.diff import compare, preconditions
from worker.plan.holds import dropped_change, hold_as_approved, hold_back
from worker.plan.notices import notices
from worker.plan.planfile import SavedAccount
from worker.plan.policy import Selection, drifted, scope, select
from worker.plan.safety import effective_safety, guard

__all__ = [
    "Draft",
    "Remaining",
    "Terms",
    "as_plan",
    "build",
    "count_actions",
    "failed_draft",
    "remaining",
    "with_changes",
]


class Terms(Struct, frozen=True):
    """The terms by which a plan is made. With `drift` it leaves out what only the file itself has changed."""

    safety: Safety = Safety()
    selection: Selection = Selection()
    allow: frozenset[str] = frozenset()
    drift: bool = False
    in_use: InUse = InUse()
    health: Health = Health()

    @classmethod
    def of(cls, settings: Settings, selection: Selection, allow: frozenset[str], *, drift: bool = False) -> Self:
        """Return the terms of a run by its settings."""
        return cls(settings.safety, selection, allow, drift, settings.in_use, settings.health)

    def without(self, phones: Iterable[str]) -> Self:
        """Return the terms of a plan that leaves some numbers out and compares everything else."""
        selection = Selection(self.selection.only, self.selection.exclude.union(phones))
        return structs.replace(self, selection=selection, drift=False)


class Draft(Struct, frozen=True):
    """A plan and what it was made from.

    `desired` has every number that the plan is about, at the time of the plan. `error` is why there is no plan.
    `requests` are those that reading took. `confirmed` are numbers that have their desired status while a run last
    wrote another one. `unsettled`: earlier runs left something open, or died within a plan. `statuses` counts the
    account's numbers, planned or not. `registered` is how many there are, None if the ledger has that count already.
    `names` are those under which earlier runs noted the account.
    """

    plan: AccountPlan
    desired: Mapping[str, Desired]
    error: WorkerError | None = None
    requests: Requests = Requests()
    confirmed: Mapping[str, Status] = {}
    unsettled: bool = False
    statuses: Mapping[Status, int] = {}
    registered: int | None = None
    names: Mapping[str, CredentialsRef | None] = {}

    def is_outdated(self, desired: DesiredAccount, now: datetime) -> bool:
        """Return True if the schedules of the file ask for something else at `now` than the plan was made for."""
        current = schedule.settle_schedules(desired, now)
        due = (
            phone in self.desired and self.desired[phone].status is not number.status
            for phone, number in current.numbers.items()
            if number.because is not None
        )
        return any(due) or any(phone in self.desired and self.desired[phone].managed for phone in current.idle)

    def unchanged(self) -> Iterator[tuple[str, Status]]:
        """Yield the numbers that the plan only counts, with their status."""
        changing = {change.phone for change in self.plan.changes}
        return ((phone, number.status) for phone, number in self.desired.items() if phone not in changing)


def build(
    desired: DesiredAccount, observed: ObservedAccount, terms: Terms, memory: AccountMemory, now: datetime
) -> Draft:
    """Return what it takes to bring an account to its desired state at `now`, an aware time.

    Raises:
        ImplausibleNumber: the file lists an implausible number that the account does not have.
    """
    desired = schedule.settle_schedules(desired, now)
    safety = effective_safety(terms.safety, desired.safety)
    numbers = scope(desired, observed, terms.selection)
    differing, confirmed = compare(numbers, observed, memory)
    changes = hold_back(differing, observed, groups=desired.groups, gone=memory.spent, pair_swaps=safety.pair_swaps)
    if terms.drift:
        expected = (change.phone for change in changes if not drifted(change))
        return build(desired, observed, terms.without(expected), memory, now)
    statuses = observed.statuses
    active = statuses.get(Status.ACTIVE, 0)
    refusals = guard(changes, active, safety, terms.allow, spent=_spent(memory, numbers, observed))
    registered = len(observed.numbers)
    plan = AccountPlan(
        account=desired.name,
        account_id=observed.account_id,
        timezone=desired.timezone,
        verdict=Verdict.REFUSED if refusals else Verdict.OK,
        refusals=refusals,
        counts=count_actions(changes, unchanged=len(numbers) - len(changes)),
        changes=changes,
        notices=notices(observed, desired.groups, terms.health),
        active=active,
    )
    return Draft(
        plan,
        numbers,
        confirmed=confirmed,
        unsettled=memory.unsettled or bool(memory.spent),
        statuses=statuses,
        registered=None if registered == memory.registered else registered,
        names=memory.names,
    )


def failed_draft(desired: DesiredAccount, terms: Terms, error: WorkerError, now: datetime) -> Draft:
    """Return the draft of an account that cannot be planned, with the numbers that its plan would be about."""
    plan = AccountPlan(
        account=desired.name,
        account_id=desired.account_id,
        verdict=Verdict.ERROR,
        error=error.info,
        counts=tally(Action, {}),
    )
    return Draft(plan, select(schedule.settle_schedules(desired, now).numbers, terms.selection), error)


class Remaining(Struct, frozen=True):
    """The writes of a saved plan, sorted by what the account shows now, and the safety rules that refuse them.

    `changes` are the writes still to be made and the deactivations that are held instead. `already` have their desired
    status, and `conflicts` another one than the plan saw. `lapsed` were asked for until a time that has passed.
    """

    changes: tuple[Change, ...]
    conflicts: tuple[Change, ...]
    already: tuple[Change, ...]
    lapsed: tuple[Change, ...]
    refusals: tuple[Refusal, ...]


def remaining(
    saved: SavedAccount,
    observed: ObservedAccount,
    memory: AccountMemory,
    allow: frozenset[str],
    *,
    now: datetime | None = None,
    held: Iterable[Change] = (),
    dropped: Iterable[Change] = (),
) -> Remaining:
    """Return what is left of the writes of a saved plan.

    `now` is an aware time, None if no write's `until` counts. `held` are the changes as the in-use guard left them,
    `dropped` writes of the plan that are not to be made any more.
    """
    found = preconditions(saved, observed.numbers, now)
    others = (
        dropped_change(change, observed) for change in (*found.conflicts, *found.lapsed, *dropped, *saved.impossible)
    )
    changes = hold_back(
        hold_as_approved(found.due, held),
        observed,
        groups=saved.groups,
        gone=memory.spent,
        pair_swaps=saved.safety.pair_swaps,
        others=others,
    )
    done = {change.phone: Desired(Status(change.desired)) for change in found.already}
    refusals = guard(changes, observed.active, saved.safety, allow, spent=_spent(memory, done, observed))
    return Remaining(changes, found.conflicts, found.already, found.lapsed, refusals)


def with_changes(plan: AccountPlan, changes: tuple[Change, ...]) -> AccountPlan:
    """Return a plan with other changes of the same numbers."""
    unchanged = plan.counts.get(Action.UNCHANGED, 0)
    return structs.replace(plan, changes=changes, counts=count_actions(changes, unchanged=unchanged))


def as_plan(saved: SavedAccount) -> AccountPlan:
    """Return the plan that a saved account was made from, as far as it was kept."""
    changes = (*saved.changes, *saved.impossible)
    return AccountPlan(
        account=saved.account, account_id=saved.account_id, counts=count_actions(changes, unchanged=0), changes=changes
    )


def count_actions(changes: Iterable[Change], *, unchanged: int) -> dict[Action, int]:
    """Return how many numbers have each action."""
    return tally(Action, Counter(change.action for change in changes) | Counter({Action.UNCHANGED: unchanged}))


def _spent(memory: AccountMemory, desired: Mapping[str, Desired], observed: ObservedAccount) -> int:
    """Return how many numbers runs that died have deactivated that should still be INACTIVE and are."""
    return sum(
        phone in desired
        and desired[phone].status is Status.INACTIVE
        and phone in observed.numbers
        and observed.numbers[phone].status is Status.INACTIVE
        for phone in memory.spent
    )
