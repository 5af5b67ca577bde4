"""Before numbers are deactivated: are they in use? What is, is held, and so is what nobody knows if that is wanted."""

from collections.abc import Iterable

from msgspec import structs

from worker.model.plans import AccountPlan, Action, Change, Notice, NoticeKind, Verdict
from worker.model.ports import ReadableAccount
from worker.model.safety import InUse
from worker.plan.build import with_changes
from worker.plan.holds import used
from worker.plan.safety import ALLOW_ALL, IN_USE

__all__ = ["answers", "inquire", "spared"]


def answers(plan: AccountPlan) -> tuple[Notice, ...]:
    """What the in-use guard told when a plan was made."""
    return tuple(notice for notice in plan.notices if notice.kind is NoticeKind.IN_USE)


async def spared(
    changes: Iterable[Change], api: ReadableAccount, guard: InUse, allow: frozenset[str]
) -> tuple[tuple[Change, ...], tuple[Notice, ...]]:
    """The changes without the deactivations that the in-use guard holds, and what there is to tell of it.

    Nothing is asked where the guard is off, or `allow` lets its rule through.

    Raises:
        WorkerError: the account is to be left alone; what the API does not tell is no error.
    """
    kept = tuple(changes)
    phones = [change.phone for change in kept if change.action is Action.DEACTIVATE]
    if not phones or not guard.enabled or not allow.isdisjoint({IN_USE, ALLOW_ALL}):
        return kept, ()
    usage = await api.usage(phones, guard.hours)
    return used(kept, usage, hold_unknown=guard.on_unknown == "hold")


async def inquire(plan: AccountPlan, api: ReadableAccount, guard: InUse, allow: frozenset[str]) -> AccountPlan:
    """The plan as the in-use guard leaves it. One that is refused anyway is not asked about.

    To hold a deactivation breaks no other rule: more numbers stay as they are.
    """
    if plan.verdict is not Verdict.OK:
        return plan
    changes, notices = await spared(plan.changes, api, guard, allow)
    plan = structs.replace(plan, notices=(*plan.notices, *notices))
    return plan if changes == plan.changes else with_changes(plan, changes)
