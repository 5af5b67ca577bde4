"""The in-use guard: the API is asked whether numbers send messages before they are deactivated."""

from collections.abc import Iterable

from msgspec import structs

from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind, Verdict
from worker.model.ports import ReadableAccount
from worker.model.safety import InUse
from worker.plan.build import with_changes
from worker.plan.holds import hold_in_use
from worker.plan.safety import ALLOW_ALL, IN_USE

__all__ = ["answers", "inquire", "spared"]


def answers(plan: AccountPlan) -> tuple[Notice, ...]:
    """Return the notices of the in-use guard in a plan."""
    return tuple(notice for notice in plan.notices if notice.kind is NoticeKind.IN_USE)


async def spared(
    changes: Iterable[Change], api: ReadableAccount, guard: InUse, allow: frozenset[str]
) -> tuple[tuple[Change, ...], tuple[Notice, ...]]:
    """Return the changes with the deactivations held that the in-use guard holds, and its notices.

    Nothing is asked if the guard is off, or `allow` has its rule. Missing answers of the API are not an error.

    Raises:
        WorkerError: the run on the account was stopped.
    """
    kept = tuple(changes)
    phones = [change.phone for change in kept if change.action is Action.DEACTIVATE]
    if not phones or not guard.enabled or not allow.isdisjoint({IN_USE, ALLOW_ALL}):
        return kept, ()
    usage = await api.usage(phones, guard.hours)
    return hold_in_use(kept, usage, hold_unknown=guard.on_unknown == "hold")


async def inquire(plan: AccountPlan, api: ReadableAccount, guard: InUse, allow: frozenset[str]) -> AccountPlan:
    """Return the plan with the holds of the in-use guard. Nothing is asked about a plan that is refused anyway.

    A hold cannot break another rule: it keeps numbers as they are.
    """
    if plan.verdict is not Verdict.OK:
        return plan
    changes, notices = await spared(plan.changes, api, guard, allow)
    plan = structs.replace(plan, notices=(*plan.notices, *notices))
    return plan if changes == plan.changes else with_changes(plan, changes)
