"""Bugs that are planted one at a time into the real worker, and the oracle that must detect each."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from tests.simulation import planted_io_bugs, planted_verdict_bugs
from worker.ledger import writes
from worker.ledger.ledger import LeasedAccountLedger
from worker.model.accounts import AccountMemory, ObservedAccount
from worker.model.plans import Action, Change
from worker.model.results import Outcome
from worker.plan import build, diff
from worker.reconcile import account
from worker.reconcile.attempt import WriteAttempt
from worker.reconcile.executor import Executor
from worker.reconcile.identity import Identities

__all__ = ["PLANTED_BUGS", "PlantedBug"]

Patch = pytest.MonkeyPatch

compared = diff.diff


class PlantedBug(NamedTuple):
    """A planted bug: the number of the oracle that must detect it, a function that plants it, and a seed to try first.

    The seed detected the bug when it was written down. A change of the generator only makes the search longer.
    """

    oracle: str
    plant: Callable[[Patch], None]
    first_seed: int = 0

    @property
    def name(self) -> str:
        """Return the name of the function, in words."""
        return self.plant.__name__.strip("_").replace("_", " ")

    def seeds(self, count: int) -> Iterator[int]:
        """Yield the seed to try first, then the first `count` seeds."""
        return chain((self.first_seed,), range(count))


def _trust_the_response_of_a_write(patch: Patch) -> None:
    """The response of a write is accepted instead of the verification read."""
    firsts: dict[Executor, ObservedAccount] = {}

    async def verify(self: Executor) -> None:
        values_seen = dict(firsts[self].numbers)
        for attempt in self._attempts:
            if attempt.is_accepted:
                values_seen[attempt.phone] = msgspec.structs.replace(values_seen[attempt.phone], status=attempt.status)
        self._final = msgspec.structs.replace(firsts[self], numbers=values_seen)

    real = Executor.__init__

    def remember(self: Any, changes: Any, api: Any, observed: Any, needs: Any, **more: Any) -> None:
        real(self, changes, api, observed, needs, **more)
        firsts[self] = observed

    patch.setattr(Executor, "__init__", remember)
    patch.setattr(Executor, "_verify", verify)


def _report_ambiguous_as_changed(patch: Patch) -> None:
    """An ambiguous write is not resolved, and is reported as changed."""
    judge = WriteAttempt._judge

    async def resolve(self: Executor, attempt: WriteAttempt) -> bool:
        del self
        attempt.is_ambiguous = True
        return False

    def believe(attempt: WriteAttempt, *given: Any, **more: Any) -> Any:
        return (Outcome.CHANGED, None) if attempt.is_ambiguous else judge(attempt, *given, **more)

    patch.setattr(Executor, "_resolve", resolve)
    patch.setattr(WriteAttempt, "_judge", believe)


def _retry_ambiguous_write_without_a_read(patch: Patch) -> None:
    async def resolve(self: Executor, attempt: WriteAttempt) -> bool:
        del self
        attempt.is_ambiguous = True
        return True

    patch.setattr(Executor, "_resolve", resolve)


def _report_accepted_as_changed(patch: Patch) -> None:
    judge = WriteAttempt._judge

    def believe(attempt: WriteAttempt, *given: Any, **more: Any) -> Any:
        return (Outcome.CHANGED, None) if attempt.is_accepted else judge(attempt, *given, **more)

    patch.setattr(WriteAttempt, "_judge", believe)


def _write_protected_numbers(patch: Patch) -> None:
    def unprotected(desired: Any, observed: Any) -> Any:
        free = {phone: msgspec.structs.replace(expected, protected=False) for phone, expected in desired.items()}
        return compared(free, observed)

    patch.setattr(diff, "diff", unprotected)


def _ignore_a_stale_plan(patch: Patch) -> None:
    patch.setattr(account, "fingerprint", lambda _: "the same")


def _deactivate_first(patch: Patch) -> None:
    real = Executor.__init__

    def swapped(self: Any, changes: Any, *given: Any, **more: Any) -> None:
        real(self, changes, *given, **more)
        self._min_active = 0
        for attempt in self._attempts:
            other = Action.DEACTIVATE if attempt.change.action is Action.ACTIVATE else Action.ACTIVATE
            attempt.change = msgspec.structs.replace(attempt.change, action=other)

    patch.setattr(Executor, "__init__", swapped)


def _do_not_wait_for_activations(patch: Patch) -> None:
    async def may(self: Executor, activations: Any, deactivations: int) -> bool:
        del self, activations, deactivations
        return True

    patch.setattr(Executor, "_may_deactivate", may)


def _replay_open_intents(patch: Patch) -> None:
    """A run writes the open intents of a killed run before it compares anything."""
    real, made_before = LeasedAccountLedger.resume, build.build

    async def resume(self: LeasedAccountLedger, observed: ObservedAccount) -> AccountMemory:
        left = await self._commits.run(
            lambda connection: connection.execute(
                "SELECT phone, asked FROM attempts JOIN entries ON entries.id = entry "
                "WHERE key = ? AND state IN ('intent', 'ok', 'ambiguous')",
                (self._subject.key,),
            ).fetchall()
        )
        memory = await real(self, observed)
        open_intents[id(memory)] = [(phone, requested) for phone, requested in left if phone in observed.numbers]
        return memory

    open_intents: dict[int, list[tuple[str, str]]] = {}

    def replayed(desired: Any, observed: ObservedAccount, terms: Any, memory: AccountMemory, now: Any) -> Any:
        instance = made_before(desired, observed, terms, memory, now)
        second = tuple(
            Change(
                phone,
                Action.ACTIVATE if requested == "ACTIVE" else Action.DEACTIVATE,
                observed.numbers[phone].status,
                requested,
                "replayed",
            )
            for phone, requested in open_intents.pop(id(memory), ())
        )
        if not second:
            return instance
        stored = tuple(change for change in instance.plan.changes if change.phone not in {one.phone for one in second})
        return msgspec.structs.replace(
            instance, plan=msgspec.structs.replace(instance.plan, changes=(*stored, *second))
        )

    patch.setattr(LeasedAccountLedger, "resume", resume)
    patch.setattr(account, "build", replayed)
    patch.setattr(account, "fingerprint", lambda _: "the same")


def _overwrite_external_changes(patch: Patch) -> None:
    async def resolve(self: Executor, attempt: WriteAttempt) -> bool:
        attempt.is_ambiguous = True
        await self._reads.read()
        return True

    patch.setattr(Executor, "_resolve", resolve)
    patch.setattr(WriteAttempt, "_compare", lambda *_: False)


def _ignore_the_reads_of_others(patch: Patch) -> None:
    patch.setattr(WriteAttempt, "_compare", lambda *_: False)


def _report_a_number_twice(patch: Patch) -> None:
    real = Executor.results
    patch.setattr(Executor, "results", lambda self: (result for one in real(self) for result in (one, one)))


def _ignore_the_quota(patch: Patch) -> None:
    patch.setattr(build, "guard", lambda *_, **__: ())


def _write_converged_numbers(patch: Patch) -> None:
    def eager(desired: Any, observed: Any) -> Any:
        changes = compared(desired, observed)
        known = {change.phone for change in changes}
        more = (
            Change(phone, Action.ACTIVATE, "ACTIVE", "ACTIVE", "to be sure")
            for phone, expected in desired.items()
            if phone not in known and phone in observed and expected.status == "ACTIVE"
        )
        return (*changes, *more)

    patch.setattr(diff, "diff", eager)


def _forget_the_last_number(patch: Patch) -> None:
    def short(desired: Any, observed: Any) -> Any:
        return compared(desired, observed)[:-1]

    patch.setattr(diff, "diff", short)


def _write_for_two_documents(patch: Patch) -> None:
    patch.setattr(Identities, "duplicate", lambda *_: None)


def _apply_a_plan_again(patch: Patch) -> None:
    patch.setattr(writes, "earlier_run", lambda *_, **__: None)


def _do_not_compare_a_plan_with_its_file(patch: Patch) -> None:
    patch.setattr(account, "stale_writes", lambda *_: {})


PLANTED_BUGS: Final = (
    PlantedBug("2", planted_io_bugs.skip_the_intent),
    PlantedBug("2", planted_io_bugs.send_before_the_intent_is_durable),
    PlantedBug("5", planted_io_bugs.reuse_a_signature),
    PlantedBug("4", planted_io_bugs.free_a_slot_at_send, 30),
    PlantedBug("4", planted_io_bugs.free_a_slot_at_the_response),
    PlantedBug("4", planted_io_bugs.free_the_slot_of_a_timed_out_request, 263),
    PlantedBug("4", planted_io_bugs.ignore_a_429),
    PlantedBug("4", planted_io_bugs.pause_writes_only, 14),
    PlantedBug("6", _trust_the_response_of_a_write),
    PlantedBug("7", planted_io_bugs.retry_a_refused_write, 13),
    PlantedBug("6", _report_ambiguous_as_changed, 8),
    PlantedBug("1", _retry_ambiguous_write_without_a_read, 3),
    PlantedBug("6", _report_accepted_as_changed, 8),
    PlantedBug("1", _write_protected_numbers, 20),
    PlantedBug("1", _ignore_a_stale_plan, 18),
    PlantedBug("3", _deactivate_first, 2),
    PlantedBug("3", _do_not_wait_for_activations, 91),
    PlantedBug("3", _ignore_the_quota, 7),
    PlantedBug("3", planted_io_bugs.ignore_killed_runs_in_limits, 67),
    PlantedBug("1", _replay_open_intents, 15),
    PlantedBug("7", _overwrite_external_changes, 8),
    PlantedBug("1", _ignore_the_reads_of_others, 8),
    PlantedBug("12", planted_io_bugs.write_twice_at_once),
    PlantedBug("12", planted_io_bugs.lock_nothing, 116),
    PlantedBug("9", _write_converged_numbers),
    PlantedBug("10", _forget_the_last_number),
    PlantedBug("8", planted_io_bugs.write_in_a_dry_run, 7),
    PlantedBug("11", planted_io_bugs.drop_an_outcome),
    PlantedBug("11", _report_a_number_twice),
    PlantedBug("11", planted_io_bugs.settle_nothing, 13),
    PlantedBug("13", planted_io_bugs.drop_the_responses),
    PlantedBug("14", planted_io_bugs.accept_any_response, 20),
    PlantedBug("14", planted_io_bugs.accept_a_shrunken_response, 20),
    PlantedBug("15", _write_for_two_documents, 15),
    PlantedBug("16", _apply_a_plan_again, 75),
    PlantedBug("17", _do_not_compare_a_plan_with_its_file, 192),
    PlantedBug("7", planted_verdict_bugs.compare_with_the_first_read, 106),
    PlantedBug("7", planted_verdict_bugs.forget_external_changes_during_a_wait, 163),
    PlantedBug("18", planted_verdict_bugs.forget_a_timeout_after_a_refused_connection, 10),
    PlantedBug("18", planted_verdict_bugs.forget_a_timeout_without_verification, 259),
    PlantedBug("18", planted_verdict_bugs.trust_a_rejection_of_a_second_request, 32),
    PlantedBug("19", planted_verdict_bugs.report_drift_of_excluded_numbers, 4),
    PlantedBug("19", planted_verdict_bugs.report_unselected_numbers, 15),
)
