"""Bugs planted into the daemon: its loop, scheduler, passes, files and notifications."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import pytest
from msgspec import structs

from tests.simulation.planted_bugs import PlantedBug
from worker.daemon.files import WatchedFiles
from worker.daemon.loop import WatchLoop
from worker.daemon.notify import changes, dispatcher, tracker
from worker.daemon.notify.tracker import Tracker
from worker.daemon.passes import Passes
from worker.daemon.scheduler import Scheduler
from worker.model.accounts import DesiredAccount
from worker.plan.policy import Selection

__all__ = ["PLANTED_WATCH_BUGS"]

Patch = pytest.MonkeyPatch


def _skip_an_edge_during_a_pass(patch: Patch) -> None:
    """After a pass, the next edge is searched from the end of the pass, not from its start."""
    real = WatchLoop._expect

    def expect(self: WatchLoop, accounts: Sequence[DesiredAccount], after: datetime) -> None:
        del after
        real(self, accounts, self._now())

    patch.setattr(WatchLoop, "_expect", expect)


def _skip_an_edge_of_a_changed_file(patch: Patch) -> None:
    """The next edge of a changed file is searched from now, not from the start of the last pass."""
    real = WatchLoop._refresh_files

    def refresh(self: WatchLoop, since: datetime, *, read_all: bool = False) -> None:
        del since
        real(self, self._now(), read_all=read_all)

    patch.setattr(WatchLoop, "_refresh_files", refresh)


def _let_an_edge_wait_for_a_backoff(patch: Patch) -> None:
    real = Scheduler._is_due
    patch.setattr(
        Scheduler, "_is_due", lambda self, account, now: not self._backs_off(account, now) and real(self, account, now)
    )


def _write_while_suspended(patch: Patch) -> None:
    """Suspensions are reported, but accounts are written anyway."""
    real = Passes.run

    async def run(self: Passes, run_id: str, accounts: Any, held: Any, *given: Any) -> Any:
        del held
        return await real(self, run_id, accounts, frozenset(), *given)

    patch.setattr(Passes, "run", run)


def _lose_the_selection_at_a_reload(patch: Patch) -> None:
    real = Passes.use

    def use(self: Passes, settings: Any, terms: Any) -> None:
        real(self, settings, structs.replace(terms, selection=Selection()))

    patch.setattr(Passes, "use", use)


def _drop_the_account_of_an_invalid_file(patch: Patch) -> None:
    def accounts(self: WatchedFiles) -> tuple[DesiredAccount, ...]:
        return tuple(account for account in self._accounts.values() if account.source not in self.broken)

    patch.setattr(WatchedFiles, "accounts", property(accounts))


def _plan_by_the_end_of_the_last_pass(patch: Patch) -> None:
    """A pass writes what was desired when the previous pass ended."""
    real = Passes.run
    lasts: dict[Passes, datetime] = {}

    async def run(self: Passes, run_id: str, accounts: Any, held: Any, now: datetime, *given: Any) -> Any:
        result = await real(self, run_id, accounts, held, lasts.get(self, now), *given)
        lasts[self] = result.ended_at
        return result

    patch.setattr(Passes, "run", run)


def _start_each_pass_with_a_full_quota(patch: Patch) -> None:
    real = Passes._new_fleet

    def new_fleet(self: Passes, *given: Any) -> Any:
        self._quotas.clear()
        return real(self, *given)

    patch.setattr(Passes, "_new_fleet", new_fleet)


def _lose_what_arrives_during_a_delivery(patch: Patch) -> None:
    real = dispatcher._ChannelQueue._deliver

    async def deliver(self: Any) -> bool:
        result = await real(self)
        if result:
            self._queue.clear()
        return result

    patch.setattr(dispatcher._ChannelQueue, "_deliver", deliver)


def _send_the_last_notification_again(patch: Patch) -> None:
    """A notification during a delivery makes the queue send the delivered part again."""
    real = dispatcher._ChannelQueue._deliver

    async def deliver(self: Any) -> bool:
        previous = list(self._queue)
        result = await real(self)
        if result and self._queue:
            self._queue[:0] = previous[-1:]
        return result

    patch.setattr(dispatcher._ChannelQueue, "_deliver", deliver)


def _lose_the_queue_at_the_end(patch: Patch) -> None:
    """Undelivered notifications are dropped without a log line."""
    patch.setattr(dispatcher._ChannelQueue, "log_lost", lambda _: None)


def _do_not_store_the_notified_state(patch: Patch) -> None:
    real = Tracker.__init__

    def forgetful(self: Any, state: Any, **more: Any) -> None:
        real(self, state, **(more | {"keep": lambda _: None}))

    patch.setattr(Tracker, "__init__", forgetful)


def _report_no_fixed_file(patch: Patch) -> None:
    patch.setattr(Tracker, "_mark_valid", lambda *_: None)


def _report_a_stop_as_a_failure(patch: Patch) -> None:
    """An account that was not read because the daemon stops is reported as failing."""
    patch.setattr("worker.daemon.notify.changes.Interrupted", type("Other", (), {}))


def _report_the_writes_of_the_first_account(patch: Patch) -> None:
    real = changes.update_account
    names: list[str] = []

    def updated(before: Any, plan: Any, result: Any, run_id: str) -> Any:
        names.append(plan.account)
        actual = real(before, plan, result, run_id)
        return actual if plan.account == names[0] else structs.replace(actual, written=before.written)

    patch.setattr(tracker, "update_account", updated)


def _forget_less_after_a_ledger_failure(patch: Patch) -> None:
    """After a ledger failure, a refused account is assumed to be recorded."""
    real = Passes.forget

    def forget(self: Passes, account: str, *, is_removed: bool = False) -> None:
        reported = self._last_reports.get(account)
        if is_removed or reported is None or not reported.rules:
            real(self, account, is_removed=is_removed)

    patch.setattr(Passes, "forget", forget)


def _continue_writing_after_a_signal(patch: Patch) -> None:
    """A signal is handled only after the pass."""

    def interrupt(self: Passes, reason: Any) -> None:
        self._interruption = None if self._fleets else reason

    patch.setattr(Passes, "interrupt", interrupt)


PLANTED_WATCH_BUGS: Final = (
    PlantedBug("20", _skip_an_edge_during_a_pass, 22),
    PlantedBug("20", _skip_an_edge_of_a_changed_file, 33),
    PlantedBug("20", _let_an_edge_wait_for_a_backoff, 21),
    PlantedBug("20", _drop_the_account_of_an_invalid_file, 33),
    PlantedBug("21", _plan_by_the_end_of_the_last_pass, 6),
    PlantedBug("22", _write_while_suspended, 1),
    PlantedBug("22", _lose_the_selection_at_a_reload, 11),
    PlantedBug("23", _start_each_pass_with_a_full_quota, 1),
    PlantedBug("24", _lose_what_arrives_during_a_delivery),
    PlantedBug("24", _send_the_last_notification_again),
    PlantedBug("24", _lose_the_queue_at_the_end),
    PlantedBug("25", _do_not_store_the_notified_state, 1),
    PlantedBug("25", _report_no_fixed_file, 5),
    PlantedBug("25", _report_a_stop_as_a_failure, 1),
    PlantedBug("25", _report_the_writes_of_the_first_account, 1),
    PlantedBug("26", _forget_less_after_a_ledger_failure),
    PlantedBug("27", _continue_writing_after_a_signal, 6),
)
