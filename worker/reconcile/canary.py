"""The canary of a fleet: the few accounts that are written first. The others follow only if the canary succeeds."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from worker.config.settings import CanarySettings, resolve_limit
from worker.model.errors import CanaryFailed
from worker.model.messages import Message
from worker.model.plans import Change
from worker.model.ports import Log
from worker.model.results import AccountResult, Outcome, RunOutcome

__all__ = ["canary_first"]

Item = TypeVar("Item")


async def canary_first(
    accounts: Sequence[Item],
    settings: CanarySettings,
    *,
    writes: Sequence[Sequence[Change]],
    apply_batch: Callable[[Sequence[Item]], Awaitable[list[AccountResult]]],
    hold_back: Callable[[Sequence[Item], CanaryFailed], Awaitable[list[AccountResult]]],
    log: Log,
) -> list[AccountResult]:
    """Write the canary first, then the other accounts. Return the result of each account, in the order of `accounts`.

    `writes` are the planned writes of each account. The canary is the first `settings.accounts` accounts that have
    writes. `apply_batch` is called for the canary together with the accounts without writes, then for the others. If
    too many writes of the canary fail, `hold_back` is called for the others instead. An interruption is not a failure:
    `apply_batch` is still called for the others, and reports it.
    """
    writing_indexes = [index for index, changes in enumerate(writes) if changes]
    canary = writing_indexes[: settings.accounts]
    later_indices = writing_indexes[settings.accounts :]
    if not canary or not later_indices:
        return await apply_batch(accounts)
    later_set = frozenset(later_indices)
    first_indices = [index for index in range(len(accounts)) if index not in later_set]
    results = dict(zip(first_indices, await apply_batch([accounts[index] for index in first_indices]), strict=True))
    failure = _judge([(writes[index], results[index]) for index in canary], settings.max_failed, log)
    later_accounts = [accounts[index] for index in later_indices]
    later_results = await (apply_batch(later_accounts) if failure is None else hold_back(later_accounts, failure))
    results |= zip(later_indices, later_results, strict=True)
    return [results[index] for index in range(len(accounts))]


def _judge(
    canary: Sequence[tuple[Sequence[Change], AccountResult]], max_failed: int | str, log: Log
) -> CanaryFailed | None:
    """Return the error if too many writes of the canary failed; None if the others may start or the run was stopped."""
    if any(result.outcome is RunOutcome.INTERRUPTED for _, result in canary):
        return None
    counts = Counter(outcome for changes, result in canary for outcome in _outcomes(changes, result))
    total = counts.total()
    failed_count = total - counts[Outcome.CHANGED] - counts[Outcome.UNCHANGED]
    limit = resolve_limit("max_failed", max_failed, total)
    fields: dict[str, object] = {"accounts": len(canary), "numbers": total, "counts": dict(counts)}
    if failed_count <= limit:
        log.info("canary.passed", **fields)
        return None
    message = Message.plural(
        "{failed} of {total} numbers of the first account were not changed as planned; at most {limit} may fail "
        "(canary.max_failed: {setting}): check their results, then apply again",
        "{failed} of {total} numbers of the first {count} accounts were not changed as planned; at most {limit} may "
        "fail (canary.max_failed: {setting}): check their results, then apply again",
        len(canary),
        failed=failed_count,
        total=total,
        limit=limit,
        setting=max_failed,
    )
    error = CanaryFailed(message)
    log.warning("canary.failed", **fields, error_code=error.code, error_message=str(error))
    return error


def _outcomes(changes: Iterable[Change], result: AccountResult) -> Iterable[Outcome]:
    """Return the outcome of each planned write. Results do not list unchanged numbers."""
    outcomes = {number.phone: number.outcome for number in result.numbers}
    return (outcomes.get(change.phone, Outcome.UNCHANGED) for change in changes)
