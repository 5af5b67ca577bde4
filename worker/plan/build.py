"""The plan of one account, as a pure function of its inputs.

`build` compares the desired state with the observed state. Its other inputs are the terms of the run, the memory of the
ledger, and the time. `remaining_writes` does the same for the writes of a saved plan or of a rollback.
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
from worker.model.plans import AccountPlan, Action, Change, Notice, Verdict, tally
from worker.model.results import Requests
from worker.model.safety import Health, InUse, Safety
from worker.plan.diff import compare, preconditions
from worker.plan.holds import dropped_change, hold_as_approved, hold_back
from worker.plan.planfile import LeftOut, SavedAccount
from worker.plan.policy import Selection, is_drift, scope, select
from worker.plan.safety import effective_safety, guard

__all__ = [
    "Draft",
    "Remaining",
    "Terms",
    "as_plan",
    "build",
    "count_actions",
    "failed_draft",
    "left_out_plan",
    "remaining_plan",
    "remaining_writes",
    "with_changes",
]


class Terms(Struct, frozen=True):
    """The terms of a plan: safety rules, selected numbers, and thresholds of warnings.

    `allow` are the names of rules that do not apply. With `drift`, the plan leaves out numbers whose desired status
    changed.
    """

    safety: Safety = Safety()
    selection: Selection = Selection()
    allow: frozenset[str] = frozenset()
    drift: bool = False
    in_use: InUse = InUse()
    health: Health = Health()

    @classmethod
    def of(cls, settings: Settings, selection: Selection, allow: frozenset[str], *, drift: bool = False) -> Self:
        """Return the terms of a run, with the rules and thresholds of its settings."""
        return cls(settings.safety, selection, allow, drift, settings.in_use, settings.health)

    def without(self, phones: Iterable[str]) -> Self:
        """Return terms that exclude `phones` and compare all other selected numbers, drifted or not."""
        selection = structs.replace(self.selection, exclude=self.selection.exclude.union(phones))
        return structs.replace(self, selection=selection, drift=False)


class Draft(Struct, frozen=True):
    """A plan, together with the facts about the account that a run needs to apply and record it.

    `desired` is the desired state of every number in the scope of the plan, at the time of the plan. `error` is set if
    the account could not be planned. `requests` are the counts of requests that the reads took. `confirmed_statuses`
    is the result of the function of that name in `diff.py`. `has_open_attempts` is True if
    an earlier run crashed or left open attempts. `statuses` are the counts of all numbers of the account by status,
    planned or not. `registered_count` is their total; None if the ledger has that count already. `names` is as in
    `AccountMemory`. `numbers` are all numbers of the account for the ledger, as `encode_numbers` returns them;
    empty if the run does not record them.
    """

    plan: AccountPlan
    desired: Mapping[str, Desired]
    error: WorkerError | None = None
    requests: Requests = Requests()
    confirmed_statuses: Mapping[str, Status] = {}
    has_open_attempts: bool = False
    statuses: Mapping[Status, int] = {}
    registered_count: int | None = None
    names: Mapping[str, CredentialsRef | None] = {}
    numbers: bytes = b""

    def is_outdated(self, desired: DesiredAccount, now: datetime) -> bool:
        """Return True if the schedule of a planned number desires another status at `now`."""
        current = schedule.settle_schedules(desired, now)
        due_changes = (
            phone in self.desired and self.desired[phone].status is not number.status
            for phone, number in current.numbers.items()
            if number.because is not None
        )
        return any(due_changes) or any(phone in self.desired and self.desired[phone].managed for phone in current.idle)

    def unchanged(self) -> Iterator[tuple[str, Status]]:
        """Return the digits and status of each number in the scope of the plan that has no change."""
        changing_phones = {change.phone for change in self.plan.changes}
        return ((phone, number.status) for phone, number in self.desired.items() if phone not in changing_phones)


def build(
    desired: DesiredAccount, observed: ObservedAccount, terms: Terms, memory: AccountMemory, now: datetime
) -> Draft:
    """Return the plan that brings an account to its desired state at `now`, an aware time. It has no notices.

    Raises:
        ImplausibleNumber: the file lists an implausible number that the account does not have.
    """
    desired = schedule.settle_schedules(desired, now)
    safety = effective_safety(terms.safety, desired.safety)
    numbers = scope(desired, observed, terms.selection)
    differences, confirmed = compare(numbers, observed, memory)
    changes = hold_back(
        differences, observed, groups=desired.groups, possibly_inactive=memory.spent, pair_swaps=safety.pair_swaps
    )
    if terms.drift:
        expected_changes = (change.phone for change in changes if not is_drift(change))
        return build(desired, observed, terms.without(expected_changes), memory, now)
    statuses = observed.statuses
    active = statuses.get(Status.ACTIVE, 0)
    refusals = guard(
        changes, active, safety, terms.allow, already_deactivated=_crashed_deactivations(memory, numbers, observed)
    )
    registered_count = len(observed.numbers)
    plan = AccountPlan(
        account=desired.name,
        account_id=observed.account_id,
        timezone=desired.timezone,
        verdict=Verdict.REFUSED if refusals else Verdict.OK,
        refusals=refusals,
        counts=count_actions(changes, unchanged_count=len(numbers) - len(changes)),
        changes=changes,
        active=active,
    )
    return Draft(
        plan,
        numbers,
        confirmed_statuses=confirmed,
        has_open_attempts=memory.has_open_attempts or bool(memory.spent),
        statuses=statuses,
        registered_count=None if registered_count == memory.registered else registered_count,
        names=memory.names,
    )


def failed_draft(desired: DesiredAccount, terms: Terms, error: WorkerError, now: datetime) -> Draft:
    """Return the draft of an account that cannot be planned because of `error`. It has the selected listed numbers."""
    plan = AccountPlan(
        account=desired.name,
        account_id=desired.account_id,
        verdict=Verdict.ERROR,
        error=error.info,
        counts=tally(Action, {}),
    )
    return Draft(plan, select(schedule.settle_schedules(desired, now).numbers, terms.selection), error)


class Remaining(Struct, frozen=True):
    """The writes of a saved plan, grouped by the current state of the account, and the safety rules that refuse them.

    `changes` are the writes that remain to be sent, and the held deactivations. Numbers in `already_done` have their
    desired status. Numbers in `conflicts` have neither their desired status nor the one that the plan observed. The
    desired status of numbers in `expired` has ended by its schedule.
    """

    changes: tuple[Change, ...]
    conflicts: tuple[Change, ...]
    already_done: tuple[Change, ...]
    expired: tuple[Change, ...]
    refusals: tuple[Refusal, ...]


def remaining_writes(
    saved_account: SavedAccount,
    observed: ObservedAccount,
    memory: AccountMemory,
    allow: frozenset[str],
    *,
    now: datetime | None = None,
    held_changes: Iterable[Change] = (),
    removed_changes: Iterable[Change] = (),
) -> Remaining:
    """Return the remaining writes of a saved plan.

    `now` is an aware time; None ignores the end (`until`) of a desired status. `held_changes` are the changes of the
    approved plan after the in-use guard. `removed_changes` are the writes that the current files no longer desire.
    """
    sorted_writes = preconditions(saved_account.writes, observed.numbers, now)
    other_changes = (
        dropped_change(change, observed)
        for change in (*sorted_writes.conflicts, *sorted_writes.expired, *removed_changes, *saved_account.impossible)
    )
    changes = hold_back(
        hold_as_approved(sorted_writes.due_changes, held_changes),
        observed,
        groups=saved_account.groups,
        possibly_inactive=memory.spent,
        pair_swaps=saved_account.safety.pair_swaps,
        other_changes=other_changes,
    )
    reached_states = {change.phone: Desired(Status(change.desired)) for change in sorted_writes.already_done}
    refusals = guard(
        changes,
        observed.active,
        saved_account.safety,
        allow,
        already_deactivated=_crashed_deactivations(memory, reached_states, observed),
    )
    return Remaining(changes, sorted_writes.conflicts, sorted_writes.already_done, sorted_writes.expired, refusals)


def with_changes(plan: AccountPlan, changes: tuple[Change, ...]) -> AccountPlan:
    """Return the plan with `changes` instead of its own changes, for the same numbers. The counts are updated."""
    unchanged_count = plan.counts.get(Action.UNCHANGED, 0)
    return structs.replace(plan, changes=changes, counts=count_actions(changes, unchanged_count=unchanged_count))


def as_plan(saved_account: SavedAccount) -> AccountPlan:
    """Return a saved account as a plan. It lacks the parts that a plan file does not have, such as notices."""
    changes = (*saved_account.changes, *saved_account.impossible)
    return AccountPlan(
        account=saved_account.account,
        account_id=saved_account.account_id,
        counts=count_actions(changes, unchanged_count=0),
        changes=changes,
    )


def remaining_plan(
    saved_account: SavedAccount,
    observed: ObservedAccount,
    remaining: Remaining,
    changes: tuple[Change, ...],
    notices: tuple[Notice, ...],
) -> AccountPlan:
    """Return the plan that shows what remains of a saved plan. `changes` are all its changes, in order."""
    return AccountPlan(
        account=saved_account.account,
        account_id=observed.account_id,
        verdict=Verdict.REFUSED if remaining.refusals else Verdict.OK,
        refusals=remaining.refusals,
        counts=count_actions(changes, unchanged_count=len(remaining.already_done)),
        changes=changes,
        notices=notices,
        active=observed.active,
    )


def left_out_plan(account: LeftOut) -> AccountPlan:
    """Return an account that a plan file leaves out as a plan without changes."""
    return AccountPlan(
        account=account.account,
        account_id=account.account_id,
        verdict=account.verdict,
        error=account.error,
        counts=tally(Action, {}),
    )


def count_actions(changes: Iterable[Change], *, unchanged_count: int) -> dict[Action, int]:
    """Return the count of numbers by action. `unchanged_count` is the count of numbers without a change."""
    return tally(Action, Counter(change.action for change in changes) | Counter({Action.UNCHANGED: unchanged_count}))


def _crashed_deactivations(memory: AccountMemory, desired: Mapping[str, Desired], observed: ObservedAccount) -> int:
    """Return the count of numbers that crashed runs deactivated and that are, and should be, INACTIVE."""
    return sum(
        phone in desired
        and desired[phone].status is Status.INACTIVE
        and phone in observed.numbers
        and observed.numbers[phone].status is Status.INACTIVE
        for phone in memory.spent
    )
