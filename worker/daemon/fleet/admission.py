"""Admission of writes: a check of some accounts against all others of the fleet, before they are written."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from worker.daemon.fleet.agenda import AgendaThread
from worker.daemon.passes import Admitted
from worker.ledger.batches import Batches
from worker.ledger.postgres.agenda import Agenda, Pause
from worker.model.accounts import DesiredAccount
from worker.model.plans import Action, Verdict, tally
from worker.model.ports import Log
from worker.plan.build import Draft
from worker.reconcile import identity

__all__ = ["Admission", "report_pause"]

_Writes = tuple[Mapping[str, Mapping[Action, int]], Mapping[str, str]]
"""The planned writes of accounts by action, and the key of each account in the ledger, by name."""
_Decision = tuple[frozenset[str], Mapping[str, tuple[str, ...]]]
"""The accounts that may not be written, and the names of those that have several."""


class Admission:
    """Decides which accounts may be written, see `Agenda.admit`. `endpoint` is that of accounts that set none.

    If the planned writes exceed the limit of the fleet, the fleet is paused, which `log` reports.
    """

    def __init__(self, agenda: AgendaThread, endpoint: str, log: Log) -> None:
        self._agenda = agenda
        self._endpoint = endpoint
        self._log = log
        self._decide = Batches(self._decide_together)

    async def __call__(
        self, accounts: Sequence[DesiredAccount], drafts: Sequence[Draft], read_only_accounts: frozenset[str]
    ) -> Admitted:
        """Return the drafts, with an error for each account that has several names, and the accounts not to write.

        Accounts in `read_only_accounts` are not written now, so they do not count towards the limit of the fleet.

        Raises:
            LedgerError: the database cannot be used.
        """
        writes_by_account = {
            draft.plan.account: {action: draft.plan.counts.get(action, 0) for action in Action if action.writes}
            for draft in drafts
            if draft.plan.verdict is Verdict.OK and draft.plan.writes and draft.plan.account not in read_only_accounts
        }
        if not writes_by_account:
            return list(drafts), frozenset()
        keys = {
            account.name: identity.key(account.endpoint or self._endpoint, draft.plan.account_id)
            for account, draft in zip(accounts, drafts, strict=True)
            if account.name in writes_by_account
        }
        denied, names = await self._decide((writes_by_account, keys))
        sources = {account.name: f"{account.source}:{account.line}" for account in accounts}
        admitted = [
            _refuse_duplicate(draft, {name: sources.get(name, "") for name in names[draft.plan.account]})
            if draft.plan.account in names
            else draft
            for draft in drafts
        ]
        return admitted, denied

    async def _decide_together(self, slices: Sequence[_Writes]) -> list[_Decision]:
        writes_by_account: dict[str, Mapping[Action, int]] = {}
        keys: dict[str, str] = {}
        for some_writes, some_keys in slices:
            writes_by_account |= some_writes
            keys |= some_keys
        denied, names, pause = await self._agenda(Agenda.admit, writes_by_account, keys)
        if pause is not None:
            report_pause(pause, self._log)
        return [(denied, names)] * len(slices)


def report_pause(pause: Pause, log: Log) -> None:
    """Log that a safety rule has paused the fleet."""
    log.warning("fleet.paused", revision=pause.revision, reason=pause.reason)


def _refuse_duplicate(draft: Draft, locations: dict[str, str]) -> Draft:
    error = identity.duplicate_error(locations)
    plan = replace(draft.plan, verdict=Verdict.ERROR, error=error.info, changes=(), counts=tally(Action, {}))
    return replace(draft, plan=plan, error=error)
