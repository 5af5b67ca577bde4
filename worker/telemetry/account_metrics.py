"""Counts per account for the metrics, with a fixed set of label values, and the limit on accounts shown by name."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct, structs

from worker.model.accounts import Status
from worker.model.errors import Interrupted
from worker.model.plans import AccountPlan, Action, Cause, Change, NoticeKind, Verdict
from worker.model.results import AccountResult, Outcome, RunOutcome

__all__ = [
    "ACTIONS",
    "CAUSES",
    "NOTICES",
    "REST",
    "STATUSES",
    "AccountCounts",
    "count_plan",
    "count_result",
    "limit_accounts",
]

REST: Final = "_other"
"""The `account` label of the sum over all accounts that are not shown by name."""

_OTHER_STATUS: Final = "other"
"""The `status` label of every status that the worker does not know: the API's texts are unbounded."""
_NOT_DRIFT: Final = frozenset({Action.UNMANAGED, Action.ACKNOWLEDGED})
"""Actions of numbers whose difference is left as it is known to be."""
_UNKNOWN_CAUSE: Final = "unknown"
"""The `cause` label of a difference if the ledger has no write of the number."""

STATUSES: Final = (*(status.value for status in Status), _OTHER_STATUS)
ACTIONS: Final = tuple(action.value for action in Action)
CAUSES: Final = (*(cause.value for cause in Cause), _UNKNOWN_CAUSE)
NOTICES: Final = tuple(kind.value for kind in NoticeKind)


class AccountCounts(Struct, frozen=True):
    """The counts of one account, or their sum over several accounts.

    `statuses`, `actions` and `causes` count numbers, and `notices` counts notices. Their keys are in the constants of
    the same names. `failing` is the count of accounts whose last read or run failed. `refused` is the count of accounts
    whose plan a safety rule refuses.
    """

    statuses: Mapping[str, int] = {}
    actions: Mapping[str, int] = {}
    causes: Mapping[str, int] = {}
    notices: Mapping[str, int] = {}
    failing: int = 0
    refused: int = 0

    def __add__(self, other: "AccountCounts") -> "AccountCounts":
        return AccountCounts(
            _sum(self.statuses, other.statuses),
            _sum(self.actions, other.actions),
            _sum(self.causes, other.causes),
            _sum(self.notices, other.notices),
            self.failing + other.failing,
            self.refused + other.refused,
        )

    @property
    def severity(self) -> int:
        """The severity of the state: 0 (in sync), 1 (differing numbers or notices), 2 (refused) or 3 (failing)."""
        if self.failing:
            return 3
        if self.refused:
            return 2
        return int(any(self.causes.values()) or any(self.notices.values()))


def count_plan(plan: AccountPlan, statuses: Mapping[Status, int], counts_before: AccountCounts) -> AccountCounts:
    """Return the counts of an account after a read. `counts_before` are its previous counts.

    If the read failed, the result is `counts_before`, marked as failing. If the read was interrupted, it is
    `counts_before` itself.
    """
    if plan.verdict is Verdict.ERROR:
        is_interrupted = plan.error is not None and plan.error.code == Interrupted.__name__
        return counts_before if is_interrupted else structs.replace(counts_before, failing=1)
    counts = Counter[str]()
    for status, count in statuses.items():
        counts[status.value if status.value in STATUSES else _OTHER_STATUS] += count
    return AccountCounts(
        statuses=counts,
        actions={action.value: count for action, count in plan.counts.items()},
        causes=_causes(plan.changes),
        notices=Counter(notice.kind.value for notice in plan.notices),
        refused=int(plan.verdict is Verdict.REFUSED),
    )


def count_result(plan: AccountPlan | None, result: AccountResult, counts_before: AccountCounts) -> AccountCounts:
    """Return the counts of an account after a run: `before`, updated for the changed numbers.

    `plan` is None and `before` is empty if no plan of the account was counted, as with a saved plan.
    """
    changed_numbers = {number.phone: number for number in result.numbers if number.outcome is Outcome.CHANGED}
    return AccountCounts(
        statuses=_move(counts_before.statuses, ((number.before, number.after) for number in changed_numbers.values())),
        actions=_move(
            counts_before.actions, ((number.action, Action.UNCHANGED) for number in changed_numbers.values())
        ),
        causes=_causes(change for change in (plan.changes if plan else ()) if change.phone not in changed_numbers),
        notices=counts_before.notices,
        failing=int(result.outcome is RunOutcome.FAILED),
        refused=int(bool(result.refusals)),
    )


def limit_accounts(accounts: Mapping[str, AccountCounts], limit: int) -> dict[str, AccountCounts]:
    """Return the counts by account, with at most `limit` accounts by name and the sum of the others under `REST`.

    If there are more than `limit` accounts, only accounts that need attention are shown by name: those of the highest
    `severity` first, and among equals in the order of their names.
    """
    names = set(accounts) - {REST}
    if len(names) > limit:
        notable = sorted(
            (name for name in names if accounts[name].severity), key=lambda name: (-accounts[name].severity, name)
        )
        names = set(notable[:limit])
    counts = {name: accounts[name] for name in sorted(names)}
    other_counts = [accounts[name] for name in accounts if name not in names]
    return counts | ({REST: sum(other_counts, AccountCounts())} if other_counts else {})


def _causes(changes: Iterable[Change]) -> Mapping[str, int]:
    """Return the count of changes by cause, except those of unmanaged and acknowledged numbers."""
    return Counter(
        _UNKNOWN_CAUSE if change.cause is None else change.cause.value
        for change in changes
        if change.action not in _NOT_DRIFT
    )


def _sum(first: Mapping[str, int], second: Mapping[str, int]) -> Mapping[str, int]:
    return {key: first.get(key, 0) + second.get(key, 0) for key in {**first, **second}}


def _move(counts: Mapping[str, int], moves: Iterable[tuple[str | None, str | None]]) -> Mapping[str, int]:
    """Return the counts with one number moved from the first to the second label for each of `moves`.

    Empty counts stay empty.
    """
    if not counts:
        return counts
    result = Counter(counts)
    for source, target in moves:
        result[str(source)] -= 1
        result[str(target)] += 1
    return result
