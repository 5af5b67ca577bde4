"""One account: observe, adopt, diff, guard, apply, verify.

Level-triggered and idempotent: what to write follows from what is wanted and what is there, never from what was done
before.
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from msgspec import structs

from worker.model.accounts import AccountMemory, DesiredAccount, ObservedAccount, PlanFile
from worker.model.errors import (
    PolicyRefusal,
    StalePlan,
    WorkerError,
)
from worker.model.plans import AccountPlan, Action, Verdict
from worker.model.ports import AccountLedger, Log, ProgressMeter, ReadableAccount, WritableAccount
from worker.model.results import AccountResult, NumberResult, Outcome, Requests
from worker.model.safety import Health
from worker.plan.build import Draft, Terms, as_plan, build, remaining, with_changes
from worker.plan.comparison import CurrentFiles, ending, unasked, uncompared
from worker.plan.diff import fingerprint
from worker.plan.holds import kept_back
from worker.plan.notices import notices
from worker.plan.planfile import SavedAccount
from worker.plan.safety import effective_safety, effective_use, least_active, replay, within
from worker.plan.swaps import result_notices, with_notice
from worker.reconcile.executor import Needs, Pace, Writes
from worker.reconcile.in_use import answers, inquire, spared
from worker.reconcile.results import (
    as_it_is,
    closed,
    conflict,
    lapsed,
    still_impossible,
    tell_notices,
    unknown,
    untouched,
    unwanted,
)

__all__ = [
    "apply",
    "apply_saved",
    "draft",
    "observe",
    "tell_planned",
    "unapplied",
]


async def draft(
    desired: DesiredAccount,
    api: ReadableAccount,
    terms: Terms,
    recall: Callable[[str | None], Awaitable[AccountMemory]],
    log: Log,
    *,
    now: datetime,
) -> Draft:
    """Read the account once and return its plan at `now`, an aware time.

    `recall` tells what is remembered of the account of an id. Where the in-use guard is on, numbers that the plan would
    deactivate are asked about; what only drifted is not.

    Raises:
        ApiError: the account cannot be read.
        ImplausibleNumber: an implausible number is listed that the account does not have.
        LedgerError: what is remembered of it cannot be.
    """
    observed, memory = await observe(api, recall, log)
    drawn = build(desired, observed, terms, memory, now)
    plan = drawn.plan
    if not terms.drift:
        plan = await inquire(plan, api, effective_use(terms.in_use, desired.in_use), terms.allow)
    return structs.replace(drawn, plan=with_notice(plan))


def tell_planned(draft: Draft, log: Log) -> None:
    """Write the line of each number of a plan, or why there is none, and which rules refuse it."""
    if draft.error is not None:
        told = draft.error.number_error
        log.warning("account.failed", http_status=told.http_status, error_code=told.code, error_message=told.message)
        return
    tell_notices(draft.plan.notices, log)
    for refusal in draft.plan.refusals:
        log.warning("account.refused", error_code=refusal.rule, error_message=refusal.message)
    for change in draft.plan.changes:
        log.info(
            "number.planned", phone=change.phone, action=change.action, desired=change.desired, before=change.observed
        )
    for phone, want in draft.unchanged():
        log.info("number.planned", phone=phone, action=Action.UNCHANGED, desired=want.status, before=want.status)


async def apply(
    desired: DesiredAccount,
    approved: AccountPlan,
    api: WritableAccount,
    terms: Terms,
    *,
    now: datetime,
    book: AccountLedger,
    pace: Pace,
    log: Log,
    meter: ProgressMeter,
    waited: bool = False,
) -> AccountResult:
    """Look again, and carry out the approved plan if it is still what the account needs. What it held stays held.

    `waited`: another run of ours had the account since the plan was approved, so that some of it may be done already.

    Raises:
        StalePlan: it is not; nothing was written.
        ApiError: the account cannot be read; nothing was written.
        ImplausibleNumber: an implausible number is listed that the account no longer has; nothing was written.
        LedgerError: what is going to be done cannot be noted, and nothing was written; or what was done cannot.
    """
    observed, memory = await _resume(api, book, log)
    current = build(desired, observed, terms, memory, now)
    plan = with_changes(current.plan, kept_back(current.plan.changes, approved.changes))
    print_ = fingerprint([plan])
    still = print_ == fingerprint([approved]) or (waited and within(plan, approved))
    if not still or plan.verdict is not Verdict.OK:
        raise StalePlan("the account has changed since it was planned; nothing was written: plan again")
    safety = effective_safety(terms.safety, desired.safety)
    await book.begin(plan, print_)
    needs = Needs(least_active(safety, terms.allow), desired.groups, memory.spent, safety.pair_swaps)
    writes = Writes(plan.writes, api, observed, needs, journal=book, meter=meter)
    await writes.carry_out(pace)
    others = (untouched(change) for change in plan.changes if not change.action.writes)
    results = (*writes.results(), *others, *(as_it_is(phone, want.status) for phone, want in current.unchanged()))
    return closed(
        desired.name,
        observed.account_id,
        results,
        requests=api.requests,
        log=log,
        stopped=writes.stopped,
        notices=(
            *notices(writes.seen, desired.groups, terms.health),
            *answers(approved),
            *result_notices(results, safety.pair_swaps),
        ),
    )


async def apply_saved(
    saved: SavedAccount,
    api: WritableAccount,
    allow: frozenset[str],
    *,
    book: AccountLedger,
    pace: Pace,
    log: Log,
    meter: ProgressMeter,
    moment: datetime,
    health: Health = Health(),  # noqa: B008 - a value
    plan: PlanFile | None = None,
    files: CurrentFiles | None = None,
) -> AccountResult:
    """Carry out a saved plan: exactly its writes, each only where the number still is as the plan saw it.

    `plan` is the file that the account is of: it is refused where an earlier run used it up; None where that does not
    matter. Writes that `files` no longer ask for are a conflict; None compares nothing.

    What the file wanted until before `moment`, an aware time, is a conflict and not written. The safety rules judge
    what is left of the plan by what the account is now. The in-use guard asks before the look, so that the look stays
    close to the writes.

    Raises:
        PolicyRefusal: they refuse it; nothing was written.
        ApiError: the account cannot be read; nothing was written.
        LedgerError: what is going to be done cannot be noted; nothing was written.
    """
    if plan is not None:
        earlier = await book.earlier_run(plan, [change.phone for change in saved.changes])
        if earlier is not None:
            raise PolicyRefusal([replay(earlier)])
    reasons = {} if files is None else unasked(saved, files, moment)
    dropped = tuple(change for change in saved.changes if change.phone in reasons)
    wanted = tuple(change for change in saved.changes if change.phone not in reasons)
    saved = structs.replace(saved, changes=wanted if files is None else ending(wanted, files, moment))
    asked, told = await spared(saved.changes, api, saved.in_use, allow)
    observed, memory = await _resume(api, book, log)
    left = remaining(saved, observed, memory, allow, now=moment, held=asked, dropped=dropped)
    if left.refusals:
        raise PolicyRefusal(left.refusals)
    planned = structs.replace(saved, changes=tuple(change for change in left.changes if change.action.writes))
    if planned.changes:
        await book.begin(as_plan(planned), fingerprint([planned]))
    needs = Needs(least_active(saved.safety, allow), saved.groups, memory.spent, saved.safety.pair_swaps)
    writes = Writes(planned.changes, api, observed, needs, journal=book, meter=meter)
    await writes.carry_out(pace)
    conflicts = (
        *(conflict(change, observed) for change in left.conflicts),
        *(lapsed(change, observed) for change in left.lapsed),
        *(unwanted(change, observed, reasons[change.phone]) for change in dropped),
    )
    impossible = (still_impossible(change, observed) for change in saved.impossible)
    held = (untouched(change) for change in left.changes if not change.action.writes)
    already = (as_it_is(change.phone, change.desired) for change in left.already)
    results = (*writes.results(), *held, *conflicts, *impossible, *already)
    return closed(
        saved.account,
        observed.account_id,
        results,
        requests=api.requests,
        log=log,
        stopped=writes.stopped,
        notices=(
            *notices(writes.seen, saved.groups, health),
            *told,
            *(() if files is None else uncompared(files)),
            *result_notices(results, saved.safety.pair_swaps),
        ),
    )


def unapplied(draft: Draft, requests: Requests, log: Log, error: WorkerError | None = None) -> AccountResult:
    """The result of an account whose plan was not carried out: nothing to do, refused, or stopped by `error`.

    Where a bug of ours struck after the first write, `requests` tells, and what was to be written is unverified.
    """
    plan, error = draft.plan, error or draft.error
    if error is None and plan.refusals:
        error = PolicyRefusal(plan.refusals)
    reason = None if error is None else error.number_error
    results: Iterable[NumberResult]
    if draft.error is not None:
        results = (
            NumberResult(phone, None, want.status, None, None, Outcome.NOT_ATTEMPTED, 0, reason)
            for phone, want in draft.desired.items()
        )
    else:
        planned = (untouched(change, reason) for change in plan.changes)
        others = map(unknown, planned) if requests.writes else planned
        results = (*others, *(as_it_is(phone, want.status) for phone, want in draft.unchanged()))
    return closed(
        plan.account, plan.account_id, results, requests=requests, log=log, stopped=error, notices=plan.notices
    )


async def observe(
    api: ReadableAccount, recall: Callable[[str | None], Awaitable[AccountMemory]], log: Log
) -> tuple[ObservedAccount, AccountMemory]:
    """Read the account, and once more if it lost many of the numbers that are remembered; return both.

    Raises:
        ApiError: the account cannot be read.
        LedgerError: what is remembered of it cannot be.
    """
    observed = await api.observe()
    memory = await recall(observed.account_id)
    return await _confirmed(api, observed, memory.registered, log), memory


async def _resume(api: ReadableAccount, book: AccountLedger, log: Log) -> tuple[ObservedAccount, AccountMemory]:
    """Read the account as `observe` does, before anything that earlier runs left open is closed by it."""
    observed = await _confirmed(api, await api.observe(), await book.registered(), log)
    return observed, await book.resume(observed)


async def _confirmed(
    api: ReadableAccount, observed: ObservedAccount, registered: int | None, log: Log
) -> ObservedAccount:
    observed = await api.confirm(observed, registered)
    log.info("account.observed", numbers=len(observed.numbers), active=observed.active)
    return observed
