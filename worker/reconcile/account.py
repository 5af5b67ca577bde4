"""Reconciliation of one account: read, plan, write, verify.

It is level-triggered and idempotent: the writes follow from the desired and the observed state, never from earlier
writes.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import datetime

from msgspec import structs

from worker.model.accounts import AccountMemory, DesiredAccount, ObservedAccount, PlanFile, PlanFileUse
from worker.model.errors import PolicyRefusal, StalePlan, WorkerError
from worker.model.messages import Message
from worker.model.plans import AccountPlan, Action, Change, Verdict
from worker.model.ports import AccountLedger, Log, ProgressMeter, ReadableAccount, WritableAccount
from worker.model.reads import encode_numbers
from worker.model.results import NumberResult, Outcome, Requests
from worker.model.safety import Health
from worker.plan.build import (
    Draft,
    Remaining,
    Terms,
    as_plan,
    build,
    remaining_plan,
    remaining_writes,
    with_changes,
)
from worker.plan.comparison import (
    CurrentFiles,
    acknowledged_changes,
    missing_file_notices,
    stale_writes,
    with_earliest_ends,
)
from worker.plan.holds import dropped_change, hold_as_approved, in_order
from worker.plan.notices import notices, result_notices, with_swap_notice
from worker.plan.planfile import SavedAccount, fingerprint
from worker.plan.reads import number_states
from worker.plan.safety import effective_min_active, effective_safety, effective_use, is_within, replay
from worker.reconcile.executor import ActiveMinimums, Executor, Pace
from worker.reconcile.in_use import guard_changes, guard_notices, guard_plan
from worker.reconcile.results import (
    Conclusion,
    as_unverified,
    conclude,
    conflict_result,
    expired_result,
    impossible_result,
    no_longer_desired_result,
    not_written_result,
)

__all__ = ["apply", "apply_saved", "conclude_unapplied", "make_draft", "observe", "preview_saved"]


async def make_draft(
    desired: DesiredAccount,
    api: ReadableAccount,
    terms: Terms,
    recall: Callable[[str | None], Awaitable[AccountMemory]],
    log: Log,
    *,
    now: datetime,
    records_numbers: bool = False,
) -> Draft:
    """Read the account once and return its plan. `now` is the aware time at which the desired state is evaluated.

    `recall` takes an account id and returns what the ledger recorded about that account. The in-use guard checks the
    numbers that the plan deactivates, unless the plan only shows drift. With `records_numbers`, the draft has all
    numbers for the ledger.

    Raises:
        ApiError: the account cannot be read.
        ImplausibleNumber: the file lists an implausible number that the account does not have.
        LedgerError: the ledger cannot be read.
    """
    observed, memory = await observe(api, recall, log)
    draft = build(desired, observed, terms, memory, now)
    own_notices = notices(observed, desired.groups, terms.health, draft.plan.changes)
    plan = structs.replace(draft.plan, notices=own_notices)
    if not terms.drift:
        plan = await guard_plan(plan, api, effective_use(terms.in_use, desired.in_use), terms.allow)
    plan = with_swap_notice(plan)
    numbers = b""
    if records_numbers:
        numbers = encode_numbers(number_states(desired, observed, draft.desired, plan))
    return structs.replace(draft, plan=plan, numbers=numbers)


async def apply(
    desired: DesiredAccount,
    approved: AccountPlan,
    api: WritableAccount,
    terms: Terms,
    *,
    now: datetime,
    ledger: AccountLedger,
    pace: Pace,
    log: Log,
    meter: ProgressMeter,
    has_waited: bool = False,
) -> Conclusion:
    """Read the account again, and apply the approved plan unless it is stale.

    The plan is stale if the plan at `now`, an aware time, differs from the approved one. Deactivations that the
    approved plan holds stay held. `has_waited` is True if another run had the lease after the plan was approved: that
    run may have made some of the changes.

    Raises:
        StalePlan: the plan has changed; nothing was written.
        ApiError: the account cannot be read; nothing was written.
        ImplausibleNumber: the file lists an implausible number that the account no longer has; nothing was written.
        LedgerError: an intent could not be recorded, and nothing was written; or the result could not be recorded.
    """
    observed, memory = await _resume(api, ledger, log)
    current = build(desired, observed, terms, memory, now)
    changes = hold_as_approved(current.plan.changes, approved.changes)
    plan = current.plan if changes == current.plan.changes else with_changes(current.plan, changes)
    print_ = fingerprint([plan])
    is_approved = print_ == fingerprint([approved]) or (has_waited and is_within(plan, approved))
    if not is_approved or plan.verdict is not Verdict.OK:
        raise StalePlan(Message("the account has changed since it was planned; nothing was written: plan again"))
    safety = effective_safety(terms.safety, desired.safety)
    await ledger.record_plan(plan, print_)
    minimums = ActiveMinimums(
        effective_min_active(safety, terms.allow), desired.groups, memory.spent, safety.pair_swaps
    )
    executor = Executor(plan.writes, api, observed, minimums, journal=ledger, meter=meter)
    await executor.run(pace)
    results = (
        *executor.results(),
        *(not_written_result(change) for change in plan.changes if not change.action.writes),
    )
    return conclude(
        desired.name,
        observed.account_id,
        results,
        requests=api.requests,
        stop_reason=executor.stop_reason,
        notices=(
            *notices(executor.last_read, desired.groups, terms.health, plan.changes),
            *guard_notices(approved),
            *result_notices(results, safety.pair_swaps),
        ),
        desired=current.unchanged(),
        count=plan.counts[Action.UNCHANGED],
    )


async def apply_saved(
    saved_account: SavedAccount,
    api: WritableAccount,
    allow: frozenset[str],
    *,
    ledger: AccountLedger,
    pace: Pace,
    log: Log,
    meter: ProgressMeter,
    now: datetime,
    health: Health = Health(),  # noqa: B008 - a value
    plan: PlanFile | None = None,
    files: CurrentFiles | None = None,
) -> Conclusion:
    """Apply a saved plan: exactly its writes, each only if the number still has its planned status.

    `plan` identifies the plan file. A plan file that an earlier run applied is refused; None skips this check. `files`
    are the current desired-state files; None skips the comparison with them. A write becomes a conflict if the files no
    longer desire its status, or if its schedule ended that status before `now`, an aware time.

    The safety rules check the remaining writes against the current state of the account. The in-use guard runs before
    the account is read, so that the writes follow the read closely.

    Raises:
        PolicyRefusal: a rule refuses the plan; nothing was written.
        ApiError: the account cannot be read; nothing was written.
        LedgerError: an intent could not be recorded; nothing was written.
    """
    if plan is not None:
        earlier = await ledger.earlier_run(plan, [change.phone for change in saved_account.changes])
        if earlier is not None:
            raise PolicyRefusal([replay(earlier)])
    saved_account, dropped_changes, reasons = _compare_with_files(saved_account, files, now)
    held_changes, use = await guard_changes(saved_account.changes, api, saved_account.in_use, allow)
    observed, memory = await _resume(api, ledger, log)
    remaining = remaining_writes(
        saved_account, observed, memory, allow, now=now, held_changes=held_changes, removed_changes=dropped_changes
    )
    if remaining.refusals:
        raise PolicyRefusal(remaining.refusals)
    writes = structs.replace(
        saved_account, changes=tuple(change for change in remaining.changes if change.action.writes)
    )
    if writes.changes:
        await ledger.record_plan(as_plan(writes), fingerprint([writes]))
    minimums = ActiveMinimums(
        effective_min_active(saved_account.safety, allow),
        saved_account.groups,
        memory.spent,
        saved_account.safety.pair_swaps,
    )
    executor = Executor(writes.changes, api, observed, minimums, journal=ledger, meter=meter)
    await executor.run(pace)
    results = (
        *executor.results(),
        *(not_written_result(change) for change in remaining.changes if not change.action.writes),
        *_conflict_results(remaining, dropped_changes, reasons, observed),
        *(impossible_result(change, observed, reasons.get(change.phone)) for change in saved_account.impossible),
    )
    return conclude(
        saved_account.account,
        observed.account_id,
        results,
        requests=api.requests,
        stop_reason=executor.stop_reason,
        notices=(
            *notices(
                executor.last_read,
                saved_account.groups,
                health,
                acknowledged_changes(saved_account, files, executor.last_read, now),
            ),
            *use,
            *(() if files is None else missing_file_notices(files)),
            *result_notices(results, saved_account.safety.pair_swaps),
        ),
        desired=((change.phone, change.desired) for change in remaining.already_done),
        count=len(remaining.already_done),
    )


def _compare_with_files(
    saved_account: SavedAccount, files: CurrentFiles | None, now: datetime
) -> tuple[SavedAccount, tuple[Change, ...], Mapping[str, Message]]:
    """Return the account with the writes that the files still desire, the other writes, and the reason for each."""
    if files is None:
        return saved_account, (), {}
    reasons = stale_writes(saved_account, files, now)
    dropped_changes = tuple(change for change in saved_account.changes if change.phone in reasons)
    still_desired = (change for change in saved_account.changes if change.phone not in reasons)
    changes = with_earliest_ends(still_desired, files, now)
    return structs.replace(saved_account, changes=changes), dropped_changes, reasons


def _conflict_results(
    remaining: Remaining, dropped_changes: Iterable[Change], reasons: Mapping[str, Message], observed: ObservedAccount
) -> Iterator[NumberResult]:
    """Yield the results of the saved writes that must not be sent.

    The number changed, the status ended by its schedule, or the files no longer desire it.
    """
    yield from (conflict_result(change, observed) for change in remaining.conflicts)
    yield from (expired_result(change, observed) for change in remaining.expired)
    yield from (no_longer_desired_result(change, observed, reasons[change.phone]) for change in dropped_changes)


async def preview_saved(
    saved_account: SavedAccount,
    api: ReadableAccount,
    allow: frozenset[str],
    recall: Callable[[str | None], Awaitable[AccountMemory]],
    log: Log,
    *,
    now: datetime,
    health: Health = Health(),  # noqa: B008 - a value
    earlier: PlanFileUse | None = None,
    files: CurrentFiles | None = None,
) -> Draft:
    """Read the account once, and return the plan of what `apply_saved` would write. It writes nothing.

    `earlier` is the run that used up the plan file; None allows the plan. A write that would be a conflict is
    `blocked`. The other arguments are as for `apply_saved`.

    Raises:
        ApiError: the account cannot be read.
        LedgerError: the ledger cannot be read.
    """
    if earlier is not None:
        plan = as_plan(saved_account)
        return Draft(structs.replace(plan, verdict=Verdict.REFUSED, refusals=(replay(earlier),)), {})
    saved_account, dropped_changes, reasons = _compare_with_files(saved_account, files, now)
    observed, memory = await observe(api, recall, log)
    remaining = remaining_writes(saved_account, observed, memory, allow, now=now, removed_changes=dropped_changes)
    conflicts = _conflict_results(remaining, dropped_changes, reasons, observed)
    messages = {result.phone: result.error.message for result in conflicts if result.error is not None}
    blocked_changes = (
        structs.replace(dropped_change(change, observed), reason=messages[change.phone])
        for change in (*remaining.conflicts, *remaining.expired, *dropped_changes)
    )
    impossible = (_preview_impossible(change, observed, reasons) for change in saved_account.impossible)
    changes = in_order((*remaining.changes, *blocked_changes, *impossible))
    own_notices = (
        *notices(observed, saved_account.groups, health, acknowledged_changes(saved_account, files, observed, now)),
        *(() if files is None else missing_file_notices(files)),
    )
    plan = remaining_plan(saved_account, observed, remaining, changes, own_notices)
    return Draft(with_swap_notice(await guard_plan(plan, api, saved_account.in_use, allow)), {})


def _preview_impossible(change: Change, observed: ObservedAccount, reasons: Mapping[str, Message]) -> Change:
    """Return a number that the plan does not write, `blocked` if the files no longer acknowledge its difference."""
    preview = dropped_change(change, observed)
    reason = reasons.get(change.phone)
    if reason is None or preview.observed == change.desired:
        return preview
    return structs.replace(preview, action=Action.BLOCKED, reason=reason)


def conclude_unapplied(draft: Draft, requests: Requests, error: WorkerError | None = None) -> Conclusion:
    """Return the result of an account whose plan was not applied: nothing to do, refused, or stopped by `error`.

    If `requests` counts writes, a bug stopped the account after it had sent some. Planned writes are then unverified.
    """
    is_planned = error is None
    plan, error = draft.plan, error or draft.error
    if error is None and plan.refusals:
        error = PolicyRefusal(plan.refusals)
    reason = None if error is None else error.number_error
    results: Iterable[NumberResult]
    if draft.error is not None:
        results = (
            NumberResult(
                phone,
                None,
                number.status,
                None,
                None,
                Outcome.NOT_ATTEMPTED,
                error=reason,
                note=number.note,
                owner=number.owner,
            )
            for phone, number in draft.desired.items()
        )
        conclusion = conclude(plan.account, plan.account_id, results, requests=requests, stop_reason=error)
        return conclusion._replace(is_planned=is_planned)
    results = (not_written_result(change, reason) for change in plan.changes)
    conclusion = conclude(
        plan.account,
        plan.account_id,
        map(as_unverified, results) if requests.writes else results,
        requests=requests,
        stop_reason=error,
        notices=plan.notices,
        desired=draft.unchanged(),
        count=plan.counts[Action.UNCHANGED],
    )
    return conclusion._replace(is_planned=is_planned)


async def observe(
    api: ReadableAccount, recall: Callable[[str | None], Awaitable[AccountMemory]], log: Log
) -> tuple[ObservedAccount, AccountMemory]:
    """Return the observed account, and what the ledger recorded about it.

    A second read confirms a response with far fewer numbers than in the last run.

    Raises:
        ApiError: the account cannot be read.
        LedgerError: the ledger cannot be read.
    """
    observed = await api.observe()
    memory = await recall(observed.account_id)
    return await _confirm(api, observed, memory.registered, log), memory


async def _resume(api: ReadableAccount, ledger: AccountLedger, log: Log) -> tuple[ObservedAccount, AccountMemory]:
    """Read the account as `observe` does, then close the ledger entries that earlier runs left open."""
    observed = await _confirm(api, await api.observe(), await ledger.registered(), log)
    return observed, await ledger.resume(observed)


async def _confirm(
    api: ReadableAccount, observed: ObservedAccount, registered: int | None, log: Log
) -> ObservedAccount:
    observed = await api.confirm(observed, registered)
    log.info("account.observed", numbers=len(observed.numbers), active=observed.active)
    return observed
