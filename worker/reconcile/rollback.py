"""Rollback of a run: restores the former status of each number that still has the status that the run set."""

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import structs

from worker.model.accounts import AccountMemory, Desired, ObservedAccount, Status
from worker.model.errors import WorkerError
from worker.model.history import AccountRecord
from worker.model.messages import Message
from worker.model.plans import AccountPlan, Action, Change, Verdict, tally
from worker.model.ports import Log, ReadableAccount
from worker.model.safety import Health
from worker.plan.build import Draft, remaining_plan, remaining_writes
from worker.plan.diff import inverse
from worker.plan.holds import in_order
from worker.plan.notices import notices, with_swap_notice
from worker.plan.planfile import SavedAccount
from worker.reconcile.account import observe
from worker.reconcile.in_use import guard_plan

__all__ = ["failed_preview", "inverse_plan", "limit_to_preview", "preview"]

_SUPERSEDED: Final = Message(
    "changed since that run and therefore not rolled back; run `senderid plan` to see its state"
)


def inverse_plan(account: AccountRecord, run: str) -> SavedAccount:
    """Return a saved plan that reverts the writes of a run to an account.

    It has the credentials and the thresholds of that run.
    """
    return SavedAccount(
        account=account.account,
        account_id=account.account_id,
        source=account.source,
        endpoint=account.endpoint,
        credentials=account.credentials,
        safety=account.safety,
        changes=inverse(account.numbers or (), run),
        in_use=account.in_use,
        groups=account.groups,
        sha256=account.sha256,
        commit=account.commit,
    )


async def preview(
    saved_account: SavedAccount,
    api: ReadableAccount,
    allow: frozenset[str],
    recall: Callable[[str | None], Awaitable[AccountMemory]],
    log: Log,
    *,
    health: Health = Health(),  # noqa: B008 - a value
) -> Draft:
    """Read the account once, and return the plan of the writes that still apply.

    The in-use guard checks the numbers that the plan deactivates. A number that has changed since the run is `blocked`.

    Raises:
        ApiError: the account cannot be read.
        LedgerError: the ledger cannot be read.
    """
    observed, memory = await observe(api, recall, log)
    remaining = remaining_writes(saved_account, observed, memory, allow)
    changes = in_order((*remaining.changes, *(_superseded(change, observed) for change in remaining.conflicts)))
    own_notices = notices(observed, saved_account.groups, health)
    plan = remaining_plan(saved_account, observed, remaining, changes, own_notices)
    return Draft(with_swap_notice(await guard_plan(plan, api, saved_account.in_use, allow)), _desired(saved_account))


def failed_preview(saved_account: SavedAccount, error: WorkerError) -> Draft:
    """Return a draft with the error of an account that cannot be read."""
    plan = AccountPlan(
        account=saved_account.account,
        account_id=saved_account.account_id,
        verdict=Verdict.ERROR,
        error=error.info,
        counts=tally(Action, {}),
    )
    return Draft(plan, _desired(saved_account), error)


def limit_to_preview(saved_account: SavedAccount, plan: AccountPlan) -> SavedAccount:
    """Return the saved account, limited to the writes of the plan that the user saw and approved."""
    writes = {change.phone for change in plan.writes}
    held_changes = {change.phone: change for change in plan.changes if change.action is Action.HELD}
    other_changes = (change for change in saved_account.changes if change.phone not in writes)
    return structs.replace(
        saved_account,
        changes=tuple(change for change in saved_account.changes if change.phone in writes),
        impossible=tuple(
            held_changes.get(change.phone) or structs.replace(change, action=Action.BLOCKED, reason=_SUPERSEDED)
            for change in other_changes
        ),
    )


def _desired(saved_account: SavedAccount) -> dict[str, Desired]:
    return {change.phone: Desired(Status(change.desired)) for change in saved_account.changes}


def _superseded(change: Change, observed: ObservedAccount) -> Change:
    number = observed.numbers.get(change.phone)
    status = None if number is None else number.status
    return structs.replace(change, action=Action.BLOCKED, observed=status, reason=_SUPERSEDED)
