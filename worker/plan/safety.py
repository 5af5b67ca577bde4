"""Safety rules: limits on the changes of one plan, and limits on the changes of all plans of a run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import structs

from worker.config.settings import resolve_limit, threshold
from worker.model.accounts import InUseOverride, PlanFileUse, SafetyOverride
from worker.model.errors import Refusal
from worker.model.messages import Message
from worker.model.plans import AccountPlan, Action, Change, Verdict
from worker.model.safety import InUse, Safety

__all__ = [
    "ALLOW_ALL",
    "FLEET_WIDE",
    "IN_USE",
    "MAX_DEACTIVATIONS",
    "MIN_ACTIVE",
    "REPLAY",
    "RULES",
    "effective_min_active",
    "effective_safety",
    "effective_use",
    "fleet_limit",
    "fleet_refusals",
    "guard",
    "guard_fleet",
    "is_within",
    "replay",
]


MAX_DEACTIVATIONS: Final = "max-deactivations"
MIN_ACTIVE: Final = "min-active"
FLEET_WIDE: Final = "fleet-wide"
IN_USE: Final = "in-use"
REPLAY: Final = "replay"
RULES: Final = (MAX_DEACTIVATIONS, MIN_ACTIVE, FLEET_WIDE, IN_USE, REPLAY)
"""The names of the safety rules, as in `--allow`. `in-use` holds individual numbers; all others refuse plans."""
ALLOW_ALL: Final = "all"
"""The value of `--allow` that allows plans to break every rule."""
_FLEET: Final = 2
"""Minimum count of accounts in a fleet. A single account has its own rules."""
_FEW: Final = 100
"""Count of numbers that may always change in a fleet, because a plan of that size can be reviewed number by number."""
_SWITCHES: Final = (Action.ACTIVATE, Action.DEACTIVATE)


def effective_safety(settings: Safety, override: SafetyOverride) -> Safety:
    """Return the limits in force for an account: each from its file or, if the file has none, from the settings."""
    limit, min_active, pair = override.max_deactivations, override.min_active, override.pair_swaps
    return Safety(
        max_deactivations=settings.max_deactivations if limit is None else limit,
        min_active=settings.min_active if min_active is None else min_active,
        pair_swaps=settings.pair_swaps if pair is None else pair,
    )


def effective_use(settings: InUse, override: InUseOverride | None) -> InUse:
    """Return the in-use guard in force for an account: values of its file take precedence over the settings."""
    if override is None:
        return settings
    return InUse(
        enabled=override.enabled,
        hours=settings.hours if override.hours is None else override.hours,
        on_unknown=settings.on_unknown if override.on_unknown is None else override.on_unknown,
    )


def effective_min_active(safety: Safety, allow: frozenset[str]) -> int:
    """Return the count of numbers that must stay ACTIVE; 0 if `allow` names the rule, as in `guard`."""
    return safety.min_active if allow.isdisjoint({MIN_ACTIVE, ALLOW_ALL}) else 0


def is_within(plan: AccountPlan, approved: AccountPlan) -> bool:
    """Return True if every write of a plan is in an approved plan of the same account."""
    writes, approved_writes = (
        {(write.phone, write.observed, write.desired) for write in plan_of_pair.writes}
        for plan_of_pair in (plan, approved)
    )
    return plan.account_id == approved.account_id and writes <= approved_writes


def guard(
    changes: Iterable[Change], active: int, safety: Safety, allow: frozenset[str], *, already_deactivated: int = 0
) -> tuple[Refusal, ...]:
    """Return the refusals of the changes by safety rules; none if the changes may be written.

    `active` is the count of ACTIVE numbers of the account. `allow` are the names of rules to skip, from `RULES`, or
    `ALLOW_ALL`. `already_deactivated` is the count of numbers of the same plan that a crashed run has deactivated. They
    count as further deactivations, so that a plan cannot exceed the limits in several runs.

    Raises:
        ValueError: `safety.max_deactivations` is neither a number nor a percentage.
    """
    activations = deactivations = 0
    for change in changes:
        activations += change.action is Action.ACTIVATE
        deactivations += change.action is Action.DEACTIVATE
    if not deactivations:
        already_deactivated = 0  # activations alone need no limit
    active += already_deactivated
    deactivations += already_deactivated
    refusals = []
    limit = threshold(safety.max_deactivations, active)
    if deactivations > limit:
        message = Message(
            "{count} of {active} ACTIVE numbers would be deactivated; the limit is {limit} "
            "(max_deactivations: {setting}). To allow it, add --allow max-deactivations",
            count=deactivations,
            active=active,
            limit=limit,
            setting=safety.max_deactivations,
        )
        refusals.append(Refusal(MAX_DEACTIVATIONS, message))
    active_after = active + activations - deactivations
    if active_after < safety.min_active <= active:
        message = Message(
            "{remaining} of {active} ACTIVE numbers would stay ACTIVE; the minimum is {minimum} (min_active). "
            "To allow it, add --allow min-active",
            remaining=active_after,
            active=active,
            minimum=safety.min_active,
        )
        refusals.append(Refusal(MIN_ACTIVE, message))
    return tuple(refusal for refusal in refusals if allow.isdisjoint({refusal.rule, ALLOW_ALL}))


def guard_fleet(plans: Sequence[AccountPlan], setting: int | str, allow: frozenset[str]) -> tuple[AccountPlan, ...]:
    """Return the plans of one run. Refuse those that are part of too large a change over all accounts.

    `setting` limits activations and deactivations separately. It is a number, or a percentage of the registered numbers
    in the scope of the plans. Accounts without a plan do not count. Changes that another rule refuses do count, because
    they may be part of the same mistake. `allow` are the names of rules to skip, as in `guard`.

    Raises:
        ValueError: `setting` is neither a number nor a percentage.
    """
    if len(plans) < _FLEET or not allow.isdisjoint({FLEET_WIDE, ALLOW_ALL}):
        return tuple(plans)
    total = sum(sum(plan.counts.values()) - plan.counts[Action.MISSING] for plan in plans)
    counts = {action: sum(plan.counts[action] for plan in plans) for action in _SWITCHES}
    refusals = fleet_refusals(counts, total, setting)
    return tuple(_with_refusals(plan, refusals) for plan in plans)


def fleet_limit(setting: int | str, total: int) -> int:
    """Return how many of `total` numbers or accounts may change in one run under the setting `safety.fleet_wide`.

    Raises:
        ValueError: the setting is neither a number nor a percentage.
    """
    return resolve_limit("fleet_wide", setting, total, minimum=_FEW)


def fleet_refusals(counts: Mapping[Action, int], total: int, setting: int | str) -> dict[Action, Refusal]:
    """Return the refusals of too many activations or deactivations among `total` numbers, by action.

    Raises:
        ValueError: the setting is neither a number nor a percentage.
    """
    limit = fleet_limit(setting, total)
    return {
        action: Refusal(FLEET_WIDE, _fleet_wide(action, counts[action], total, limit, setting))
        for action in _SWITCHES
        if counts.get(action, 0) > limit
    }


def _fleet_wide(action: Action, count: int, total: int, limit: int, setting: int | str) -> Message:
    if action is Action.ACTIVATE:
        return Message(
            "{count} of the {total} numbers of all accounts would be activated; the limit is {limit} "
            "(fleet_wide: {setting}). To allow it, add --allow fleet-wide",
            count=count,
            total=total,
            limit=limit,
            setting=setting,
        )
    return Message(
        "{count} of the {total} numbers of all accounts would be deactivated; the limit is {limit} "
        "(fleet_wide: {setting}). To allow it, add --allow fleet-wide",
        count=count,
        total=total,
        limit=limit,
        setting=setting,
    )


def replay(earlier: PlanFileUse) -> Refusal:
    """Return the refusal of a plan file that an earlier run applied, or whose numbers it wrote later."""
    if earlier.was_applied:
        message = Message(
            "run {run} already applied this plan at {time}: plan again, or add --allow replay to apply it again",
            run=earlier.run,
            time=earlier.at,
        )
    else:
        message = Message(
            "run {run} wrote to numbers of this plan at {time}, after the plan was created: plan again, or add "
            "--allow replay to apply it anyway",
            run=earlier.run,
            time=earlier.at,
        )
    return Refusal(REPLAY, message)


def _with_refusals(plan: AccountPlan, refusals_by_action: Mapping[Action, Refusal]) -> AccountPlan:
    """Return the plan with the refusals that concern an action of the plan."""
    refusals = tuple(refusal for action, refusal in refusals_by_action.items() if plan.counts[action])
    if not refusals:
        return plan
    return structs.replace(plan, verdict=Verdict.REFUSED, refusals=(*plan.refusals, *refusals))
