"""The state of every account, from the latest read by any run. All pages count and filter by this one value."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from worker.model.accounts import DesiredAccount
from worker.model.history import Ending
from worker.model.reads import AccountRead, Attention, HealthStatus, SyncStatus, is_unread, platform
from worker.model.results import FAILURES, Outcome
from worker.model.status_page import AccountState, AccountStatus, DaemonState

__all__ = ["Identity", "account_statuses", "recorded_statuses"]

_STUCK: Final = tuple(outcome for outcome in Outcome if outcome.needs_attention)

Identity = tuple[str, str]
"""The platform and the name of an account."""


def recorded_statuses(reads: Iterable[AccountRead], entries: Iterable[AccountState]) -> dict[Identity, AccountStatus]:
    """Return the state of every account of the ledger, in the order of their names.

    `reads` are the latest reads in the ledger, and `entries` the accounts of its latest runs: the later of both counts.
    """
    latest: dict[Identity, AccountStatus] = {}
    _add_reads(latest, reads)
    for entry in entries:
        identity = (platform(entry.key), entry.account)
        last_state = latest.get(identity)
        if last_state is None:
            latest[identity] = _of_entry(entry)
        elif (
            _ended(entry) > (last_state.at or "") or entry.outcome is not Ending.CONVERGED or is_unread(last_state.key)
        ):
            latest[identity] = _joined(last_state, _of_entry(entry))
    return {identity: latest[identity] for identity in sorted(latest, key=_by_name)}


def account_statuses(
    recorded: Mapping[Identity, AccountStatus],
    files: Sequence[DesiredAccount] | None,
    live: DaemonState | None,
    now: datetime,
) -> list[AccountStatus]:
    """Return the state of every account, ordered by name. Every account is listed once.

    `recorded` are the states that `recorded_statuses` returns. `files` are the accounts of the files; without files
    (None), every account of the ledger is listed. `live` is the state of the daemon, whose reads may be later.
    """
    latest = dict(recorded)
    suspended: dict[str | None, str] = {}
    if live is not None and (live.reads or live.suspended):
        _add_reads(latest, live.reads)
        latest = {identity: latest[identity] for identity in sorted(latest, key=_by_name)}
        suspended |= dict(live.suspended)
    statuses = list(latest.values())
    if files is not None:
        by_name: dict[str, AccountStatus] = {}
        for status in statuses:
            by_name[status.name] = _joined(by_name.get(status.name, status), status)
        statuses = [
            by_name.get(account.name) or AccountStatus(name=account.name, source=account.source)
            for account in sorted(files, key=lambda account: account.name)
        ]
        for account in files:
            if account.suspend is not None and account.suspend.is_in_force(now):
                suspended.setdefault(account.name, account.suspend.reason or "")
    return [_with_suspension(status, suspended) for status in statuses] if suspended else statuses


def _by_name(identity: Identity) -> Identity:
    of_platform, name = identity
    return name, of_platform


def _add_reads(latest: dict[Identity, AccountStatus], reads: Iterable[AccountRead]) -> None:
    """Add the states after reads to the states by account: the later of two reads counts."""
    for status in map(_of_read, reads):
        identity = (status.platform, status.name)
        latest[identity] = status if identity not in latest else _joined(latest[identity], status)


def _joined(one: AccountStatus, other: AccountStatus) -> AccountStatus:
    """Return the later of two states, with what the earlier one knows: the account's id, and the last failure."""
    earlier, later = (one, other) if other.is_later_than(one) else (other, one)
    key = earlier.key if is_unread(later.key) else later.key
    return later.replaced(key=key, failed_at=later.failed_at or earlier.failed_at)


def _with_suspension(status: AccountStatus, suspended: Mapping[str | None, str]) -> AccountStatus:
    name = status.name if status.name in suspended else None
    if name not in suspended or status.health is HealthStatus.FAILED:
        return status
    return status.replaced(health=HealthStatus.SUSPENDED, suspension=suspended[name])


def _of_read(read: AccountRead) -> AccountStatus:
    return AccountStatus(
        name=read.account,
        key=read.key,
        at=read.at,
        command=read.command,
        run_id=read.run_id,
        sync=read.sync,
        health=read.health,
        counts=read.counts,
        differing=read.differing,
        numbers=read.numbers,
        active=read.active,
        needs=read.needs,
        failed_at=read.failed_at,
        source=read.source,
        commit=read.commit,
        credentials=read.credentials,
        timezone=read.timezone,
    )


def _of_entry(entry: AccountState) -> AccountStatus:
    """Return the state of an account from its latest run, as older versions and runs over some numbers recorded it."""
    is_declined = entry.error is not None and entry.error.is_declined
    needs = [
        Attention(outcome.value, "", count=entry.counts[outcome])
        for outcome in _STUCK
        if entry.counts.get(outcome) and not (is_declined and outcome is Outcome.NOT_ATTEMPTED)
    ]
    if entry.error is not None and not is_declined:
        kind = "refused" if entry.outcome is Ending.REFUSED else "error"
        needs.insert(0, Attention(kind, entry.error.message, entry.error.code))
    elif entry.outcome in {Ending.UNFINISHED, Ending.CRASHED} or not entry.settled:
        needs.insert(0, Attention(Ending.UNFINISHED.value, ""))
    has_failed = entry.outcome in {Ending.FAILED, Ending.CRASHED} or any(
        entry.counts.get(outcome) for outcome in FAILURES
    )
    health = HealthStatus.NEEDS_ATTENTION if needs else HealthStatus.HEALTHY
    differing = sum(entry.counts.get(outcome, 0) for outcome in _STUCK)
    is_settled = entry.outcome is Ending.CONVERGED and entry.settled
    if entry.is_unread:
        sync = SyncStatus.UNKNOWN
    else:
        sync = SyncStatus.IN_SYNC if is_settled and not differing else SyncStatus.OUT_OF_SYNC
    return AccountStatus(
        name=entry.account,
        key=entry.key,
        at=_ended(entry),
        command="",
        run_id=entry.run_id,
        sync=sync,
        health=HealthStatus.FAILED if has_failed else health,
        counts=dict(entry.counts),
        differing=differing,
        needs=tuple(needs),
        failed_at=_ended(entry) if has_failed else None,
    )


def _ended(entry: AccountState) -> str:
    """Return the end of an account in a run, or its start if it has not ended."""
    return entry.finished_at or entry.started_at
