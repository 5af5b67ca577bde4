"""One account: observe, adopt, diff, guard, apply, verify.

Level-triggered and idempotent: what to write follows from what is wanted and what is there, never from what was done
before.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Self

from msgspec import Struct, structs

from worker.config.settings import Settings
from worker.model.accounts import AccountMemory, Desired, DesiredAccount, Group, ObservedAccount, PlanFile, Status
from worker.model.credentials import CredentialsRef
from worker.model.errors import (
    PolicyRefusal,
    StalePlan,
    WorkerError,
)
from worker.model.plans import AccountPlan, Action, Notice, Verdict, tally
from worker.model.ports import AccountLedger, Log, ProgressMeter, ReadableAccount, WritableAccount
from worker.model.results import AccountResult, NumberResult, Outcome, Requests
from worker.model.safety import Health, InUse, Safety
from worker.plan.comparison import CurrentFiles, ending, unasked, uncompared
from worker.plan.diff import attribute, confirmed, diff, fingerprint, preconditions
from worker.plan.holds import counted, kept_back, shortages, spare
from worker.plan.notices import notices
from worker.plan.planfile import SavedAccount
from worker.plan.policy import Selection, adopt, check_registered, drifted, select, spent
from worker.plan.safety import effective_safety, effective_use, guard, least_active, replay, within
from worker.plan.swaps import as_found, hold_swaps, result_notices, with_notice
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
    "Draft",
    "Terms",
    "apply",
    "apply_saved",
    "as_plan",
    "draft",
    "failed_draft",
    "observe",
    "tell_planned",
    "unapplied",
]


class Terms(Struct, frozen=True):
    """What a plan is made and judged by, besides the desired state; `drift` leaves out what the file itself changed."""

    safety: Safety = Safety()
    selection: Selection = Selection()
    allow: frozenset[str] = frozenset()
    drift: bool = False
    in_use: InUse = InUse()
    health: Health = Health()

    @classmethod
    def of(cls, settings: Settings, selection: Selection, allow: frozenset[str], *, drift: bool = False) -> Self:
        """The terms of a run by its settings."""
        return cls(settings.safety, selection, allow, drift, settings.in_use, settings.health)


class Draft(Struct, frozen=True):
    """A plan with what it was made from: `wanted` holds every number that it is about; `error` is why there is none.

    `confirmed` are numbers that are as desired while we last wrote another status. `requests` is what looking took.
    `unsettled` tells whether earlier runs left anything open, or died within a plan. `statuses` counts the account's
    numbers, planned or not. `registered` is how many there are, None where the ledger has that count already. `names`
    are those under which earlier runs noted the account.
    """

    plan: AccountPlan
    wanted: Mapping[str, Desired]
    error: WorkerError | None = None
    requests: Requests = Requests()
    confirmed: Mapping[str, Status] = {}
    unsettled: bool = False
    statuses: Mapping[Status, int] = {}
    registered: int | None = None
    names: Mapping[str, CredentialsRef | None] = {}

    def outdated(self, desired: DesiredAccount) -> bool:
        """Whether something has come due since by the schedules of the file."""
        due = (
            phone in self.wanted and self.wanted[phone].status is not want.status
            for phone, want in desired.numbers.items()
            if want.because is not None
        )
        return any(due) or any(phone in self.wanted and self.wanted[phone].managed for phone in desired.idle)

    def unchanged(self) -> Iterable[tuple[str, Desired]]:
        """The numbers that the plan only counts."""
        changing = {change.phone for change in self.plan.changes}
        return ((phone, want) for phone, want in self.wanted.items() if phone not in changing)


async def draft(
    desired: DesiredAccount,
    api: ReadableAccount,
    terms: Terms,
    recall: Callable[[str | None], Awaitable[AccountMemory]],
    log: Log,
) -> Draft:
    """Look at the account once and tell what it would take to make it as desired.

    `recall` tells what is remembered of the account of an id. Where the in-use guard is on, numbers that the plan would
    deactivate are asked about; what only drifted is not.

    Raises:
        ApiError: the account cannot be read.
        ImplausibleNumber: an implausible number is listed that the account does not have.
        LedgerError: what is remembered of it cannot be.
    """
    observed, memory = await observe(api, recall, log)
    drawn = _draw(desired, observed, terms, memory)
    plan = drawn.plan
    if not terms.drift:
        plan = await inquire(plan, api, effective_use(terms.in_use, desired.in_use), terms.allow)
    return structs.replace(drawn, plan=with_notice(plan))


def failed_draft(desired: DesiredAccount, terms: Terms, error: WorkerError) -> Draft:
    """The plan of an account that cannot be planned."""
    plan = AccountPlan(
        account=desired.name,
        account_id=desired.account_id,
        verdict=Verdict.ERROR,
        error=error.info,
        counts=tally(Action, {}),
    )
    return Draft(plan, select(desired.numbers, terms.selection), error)


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
    current = _draw(desired, observed, terms, memory)
    changes = kept_back(current.plan.changes, approved.changes)
    plan = structs.replace(current.plan, changes=changes, counts=counted(current.plan.counts, changes))
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
            *_worth_knowing(writes.seen, desired.groups, terms.health),
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
    now = preconditions(saved, observed.numbers, moment)
    done = {change.phone: Desired(Status(change.desired)) for change in now.already}
    due = spare(kept_back(now.due, asked), observed, saved.groups, memory.spent)
    others = (as_found(change, observed) for change in (*now.conflicts, *now.lapsed, *dropped, *saved.impossible))
    due = hold_swaps(due, saved.safety.pair_swaps, others)
    left = structs.replace(saved, changes=tuple(change for change in due if change.action.writes))
    refusals = guard(left.changes, observed, saved.safety, allow, spent=spent(memory, done, observed))
    if refusals:
        raise PolicyRefusal(refusals)
    if left.changes:
        await book.begin(as_plan(left), fingerprint([left]))
    needs = Needs(least_active(saved.safety, allow), saved.groups, memory.spent, saved.safety.pair_swaps)
    writes = Writes(left.changes, api, observed, needs, journal=book, meter=meter)
    await writes.carry_out(pace)
    conflicts = (
        *(conflict(change, observed) for change in now.conflicts),
        *(lapsed(change, observed) for change in now.lapsed),
        *(unwanted(change, observed, reasons[change.phone]) for change in dropped),
    )
    impossible = (still_impossible(change, observed) for change in saved.impossible)
    held = (untouched(change) for change in due if not change.action.writes)
    already = (as_it_is(change.phone, change.desired) for change in now.already)
    results = (*writes.results(), *held, *conflicts, *impossible, *already)
    return closed(
        saved.account,
        observed.account_id,
        results,
        requests=api.requests,
        log=log,
        stopped=writes.stopped,
        notices=(
            *_worth_knowing(writes.seen, saved.groups, health),
            *told,
            *(() if files is None else uncompared(files)),
            *result_notices(results, saved.safety.pair_swaps),
        ),
    )


def as_plan(saved: SavedAccount) -> AccountPlan:
    """A saved account as the plan that it was made from, as far as it was kept."""
    changes = (*saved.changes, *saved.impossible)
    counts = Counter(change.action for change in changes)
    return AccountPlan(
        account=saved.account, account_id=saved.account_id, counts=tally(Action, counts), changes=changes
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
            for phone, want in draft.wanted.items()
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


def _worth_knowing(observed: ObservedAccount, groups: Iterable[Group], health: Health) -> tuple[Notice, ...]:
    return (*shortages(observed, groups), *notices(observed, health))


def _draw(desired: DesiredAccount, observed: ObservedAccount, terms: Terms, memory: AccountMemory) -> Draft:
    check_registered(desired, observed)
    wanted = select(adopt(desired, observed), terms.selection)
    found, counts = diff(wanted, observed.numbers)
    changes = spare(attribute(found, observed, memory), observed, desired.groups, memory.spent)
    safety = effective_safety(terms.safety, desired.safety)
    changes = hold_swaps(changes, safety.pair_swaps)
    if terms.drift:
        expected = frozenset(change.phone for change in changes if not drifted(change))
        selection = Selection(terms.selection.only, terms.selection.exclude | expected)
        return _draw(desired, observed, structs.replace(terms, selection=selection, drift=False), memory)
    refusals = guard(changes, observed, safety, terms.allow, spent=spent(memory, wanted, observed))
    plan = AccountPlan(
        account=desired.name,
        account_id=observed.account_id,
        timezone=desired.timezone,
        verdict=Verdict.REFUSED if refusals else Verdict.OK,
        refusals=refusals,
        counts=counted(counts, changes),
        changes=changes,
        notices=_worth_knowing(observed, desired.groups, terms.health),
        active=observed.active,
    )
    others = confirmed(wanted, observed.numbers, memory)
    unsettled = memory.unsettled or bool(memory.spent)
    registered = len(observed.numbers)
    return Draft(
        plan,
        wanted,
        confirmed=others,
        unsettled=unsettled,
        statuses=observed.statuses,
        registered=None if registered == memory.registered else registered,
        names=memory.names,
    )
