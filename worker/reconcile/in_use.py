"""The in-use guard, which holds deactivations of numbers that are in use: they send messages or are scheduled to."""

from collections.abc import Iterable

from msgspec import structs

from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind, Verdict
from worker.model.ports import ReadableAccount
from worker.model.safety import InUse
from worker.plan.build import with_changes
from worker.plan.holds import hold_in_use
from worker.plan.safety import ALLOW_ALL, IN_USE

__all__ = ["guard_changes", "guard_notices", "guard_plan"]


def guard_notices(plan: AccountPlan) -> tuple[Notice, ...]:
    """Return the notices of the in-use guard in a plan."""
    return tuple(notice for notice in plan.notices if notice.kind is NoticeKind.IN_USE)


async def guard_changes(
    changes: Iterable[Change], api: ReadableAccount, guard: InUse, allow: frozenset[str]
) -> tuple[tuple[Change, ...], tuple[Notice, ...]]:
    """Return the changes, in which deactivations of numbers in use are held, and the notices of the guard.

    No request is sent if the guard is off, or if `allow` contains its rule. It is not an error if the use of a number
    cannot be determined.

    Raises:
        WorkerError: the run on the account was stopped.
    """
    changes_to_guard = tuple(changes)
    phones = [change.phone for change in changes_to_guard if change.action is Action.DEACTIVATE]
    if not phones or not guard.enabled or not allow.isdisjoint({IN_USE, ALLOW_ALL}):
        return changes_to_guard, ()
    usage = await api.usage(phones, guard.hours)
    return hold_in_use(changes_to_guard, usage, hold_unknown=guard.on_unknown == "hold")


async def guard_plan(plan: AccountPlan, api: ReadableAccount, guard: InUse, allow: frozenset[str]) -> AccountPlan:
    """Return the plan with the holds of the in-use guard. A refused plan is returned unchanged.

    The other rules are not checked again: a hold only removes a write, so it cannot violate them.
    """
    if plan.verdict is not Verdict.OK:
        return plan
    changes, notices = await guard_changes(plan.changes, api, guard, allow)
    plan = structs.replace(plan, notices=(*plan.notices, *notices))
    return plan if changes == plan.changes else with_changes(plan, changes)
