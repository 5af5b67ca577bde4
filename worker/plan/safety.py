"""Safety rules: how much a plan, or all plans of a run, may take away."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import structs

from worker.config.limits import resolve_limit
from worker.config.settings import threshold
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
    "effective_safety",
    "effective_use",
    "fleet_wide",
    "guard",
    "least_active",
    "replay",
    "within",
]


MAX_DEACTIVATIONS: Final = "max-deactivations"


MIN_ACTIVE: Final = "min-active"


FLEET_WIDE: Final = "fleet-wide"


IN_USE: Final = "in-use"


REPLAY: Final = "replay"


RULES: Final = (MAX_DEACTIVATIONS, MIN_ACTIVE, FLEET_WIDE, IN_USE, REPLAY)
"""The names of the safety rules, as `--allow` takes them. `in-use` holds numbers; the others refuse plans, and refusals
carry their names."""


ALLOW_ALL: Final = "all"
"""The name that allows what every rule refuses."""


_FLEET: Final = 2
"""Accounts from which on a run is over a fleet; of a single one its own rules say enough."""


_FEW: Final = 100
"""Numbers that may change on a fleet whatever their share.

They are few enough to be read one by one in a plan, and of a fleet that small half is no sign of a mistake.
"""


_CHANGED: Final = {Action.ACTIVATE: Message("activated"), Action.DEACTIVATE: Message("deactivated")}


def effective_safety(settings: Safety, override: SafetyOverride) -> Safety:
    """The thresholds in force for one account: its own file's, and the settings' where the file has none."""
    limit, least, pair = override.max_deactivations, override.min_active, override.pair_swaps
    return Safety(
        max_deactivations=settings.max_deactivations if limit is None else limit,
        min_active=settings.min_active if least is None else least,
        pair_swaps=settings.pair_swaps if pair is None else pair,
    )


def effective_use(settings: InUse, override: InUseOverride | None) -> InUse:
    """The in-use guard in force for one account: its own file's, and the settings' where the file has none."""
    if override is None:
        return settings
    return InUse(
        enabled=override.enabled,
        hours=settings.hours if override.hours is None else override.hours,
        on_unknown=settings.on_unknown if override.on_unknown is None else override.on_unknown,
    )


def least_active(safety: Safety, allow: frozenset[str]) -> int:
    """How many ACTIVE numbers must be left; `allow` as `guard` takes it."""
    return safety.min_active if allow.isdisjoint({MIN_ACTIVE, ALLOW_ALL}) else 0


def within(plan: AccountPlan, approved: AccountPlan) -> bool:
    """Whether a plan writes nothing that an approved one of the same account does not."""
    writes, leave = ({(each.phone, each.observed, each.desired) for each in some.writes} for some in (plan, approved))
    return plan.account_id == approved.account_id and writes <= leave


def guard(
    changes: Iterable[Change], active: int, safety: Safety, allow: frozenset[str], *, spent: int = 0
) -> tuple[Refusal, ...]:
    """The safety rules that the changes break and that `allow` does not let through; empty when they may be written.

    `active` is how many numbers are ACTIVE now. `allow` holds names of `RULES`, or `ALLOW_ALL`. `spent` is how many
    numbers of the same plan a run that died has switched off already: beside more deactivations they count as if they
    were still to be, so that a plan gains nothing by being cut in pieces.

    Raises:
        ValueError: when `safety.max_deactivations` is neither a number nor a percentage.
    """
    activations = deactivations = 0
    for change in changes:
        activations += change.action is Action.ACTIVATE
        deactivations += change.action is Action.DEACTIVATE
    if not deactivations:
        spent = 0  # what takes nothing away needs no leave, whatever a run that died took
    active += spent
    deactivations += spent
    broken = []
    limit = threshold(safety.max_deactivations, active)
    if deactivations > limit:
        told = Message(
            "{deactivations} of {active} ACTIVE numbers would be deactivated; at most {limit} may be "
            "(max_deactivations: {max_deactivations})",
            deactivations=deactivations,
            active=active,
            limit=limit,
            max_deactivations=safety.max_deactivations,
        )
        broken.append(
            Refusal(
                MAX_DEACTIVATIONS,
                Message(
                    "{problem}. If that is meant, add --allow {rule}",
                    problem=told,
                    rule=MAX_DEACTIVATIONS,
                ),
            )
        )
    left = active + activations - deactivations
    if left < safety.min_active <= active:
        told = Message(
            "{left} of {active} ACTIVE numbers would be left; at least {min_active} must be (min_active)",
            left=left,
            active=active,
            min_active=safety.min_active,
        )
        broken.append(
            Refusal(
                MIN_ACTIVE,
                Message("{problem}. If that is meant, add --allow {rule}", problem=told, rule=MIN_ACTIVE),
            )
        )
    return tuple(refusal for refusal in broken if allow.isdisjoint({refusal.rule, ALLOW_ALL}))


def fleet_wide(plans: Sequence[AccountPlan], most: int | str, allow: frozenset[str]) -> tuple[AccountPlan, ...]:
    """The plans of one run, those refused that belong to too large a change over all accounts.

    Activations and deactivations are judged apart. Each may be as many as `most`, a number or a percentage, lets
    through of the numbers that the plans are about and that are registered. Accounts without a plan have none. What
    another rule refuses counts as well: how much a file asks for shows a mistake, not how much of it is let through.
    `allow` is as `guard` takes it.

    Raises:
        ValueError: when `most` is neither a number nor a percentage.
    """
    if len(plans) < _FLEET or not allow.isdisjoint({FLEET_WIDE, ALLOW_ALL}):
        return tuple(plans)
    whole = sum(sum(plan.counts.values()) - plan.counts[Action.MISSING] for plan in plans)
    limit = resolve_limit("fleet_wide", most, whole, least=_FEW)
    broken: dict[Action, Refusal] = {}
    for action, word in _CHANGED.items():
        number = sum(plan.counts[action] for plan in plans)
        if number > limit:
            told = Message(
                "{number} of the {whole} numbers of all accounts would be {word}; at most {limit} may be "
                "(fleet_wide: {most})",
                number=number,
                whole=whole,
                word=word,
                limit=limit,
                most=most,
            )
            broken[action] = Refusal(
                FLEET_WIDE, Message("{problem}. If that is meant, add --allow {rule}", problem=told, rule=FLEET_WIDE)
            )
    return tuple(_refused(plan, broken) for plan in plans) if broken else tuple(plans)


def replay(earlier: PlanFileUse) -> Refusal:
    """Return the refusal of a plan file that an earlier run used up."""
    if earlier.carried_out:
        told = Message("run {run} carried out this plan already, at {at}", run=earlier.run, at=earlier.at)
    else:
        told = Message(
            "run {run} wrote to numbers of this plan at {at}, after the plan was made", run=earlier.run, at=earlier.at
        )
    return Refusal(
        REPLAY,
        Message("{problem}: plan again, or add --allow {rule} to carry it out anyway", problem=told, rule=REPLAY),
    )


def _refused(plan: AccountPlan, broken: Mapping[Action, Refusal]) -> AccountPlan:
    """The plan with the refusals of those actions of which it has any."""
    refusals = tuple(refusal for action, refusal in broken.items() if plan.counts[action])
    if not refusals:
        return plan
    return structs.replace(plan, verdict=Verdict.REFUSED, refusals=(*plan.refusals, *refusals))
