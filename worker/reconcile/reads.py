"""The state of accounts after a run, as the ledger records it for the status page."""

from collections.abc import Iterable, Sequence

import msgspec

from worker.ledger.reads import RecordedRead
from worker.model.accounts import DesiredAccount, Status
from worker.model.ports import revision
from worker.model.reads import decode_numbers, encode_numbers
from worker.model.results import AccountResult
from worker.plan.build import Draft
from worker.plan.reads import account_read, with_results
from worker.reconcile.identity import key

__all__ = ["recorded_reads"]


def recorded_reads(
    accounts: Sequence[DesiredAccount],
    drafts: Sequence[Draft],
    results: Iterable[AccountResult | None],
    *,
    endpoint: str,
    at: str,
    command: str,
    run_id: str,
    suspended_accounts: frozenset[str] = frozenset(),
) -> list[RecordedRead]:
    """Return the state of each account after a run at the time `at`.

    `results` has None for an account whose plan was neither applied nor recorded. `endpoint` is that of an account that
    sets none. `suspended_accounts` are names.
    """
    reads = []
    for account, draft, result in zip(accounts, drafts, results, strict=True):
        files = revision(account)
        read = account_read(
            draft.plan,
            result,
            key=key(account.endpoint or endpoint, draft.plan.account_id),
            at=at,
            command=command,
            run_id=None if result is None else run_id,
            is_suspended=account.name in suspended_accounts,
        )
        read = msgspec.structs.replace(
            read,
            numbers=sum(draft.statuses.values()) if draft.statuses else None,
            source=files.source,
            commit=files.commit,
            credentials=account.credentials,
            timezone=account.timezone,
        )
        reads.append(_after(RecordedRead(read, draft.numbers), result))
    return reads


def _after(recorded: RecordedRead, result: AccountResult | None) -> RecordedRead:
    """Return the state of an account after its plan was applied with a result."""
    if not recorded.numbers or result is None or not result.numbers:
        return recorded
    states = with_results(decode_numbers(recorded.numbers), result)
    active = sum(number.observed == Status.ACTIVE for number in states)
    return RecordedRead(msgspec.structs.replace(recorded.read, active=active), encode_numbers(states))
