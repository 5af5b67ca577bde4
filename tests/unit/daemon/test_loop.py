"""The daemon in virtual time: passes, failures, suspensions, files and clock changes."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from tests.support.daemon import Daemon, account, desired_account
from tests.support.loopback import EPOCH
from tests.support.virtual_time import run
from worker.config.settings import RateLimit, Settings
from worker.daemon.last_good import FileChanges
from worker.daemon.passes import Pass
from worker.daemon.scheduler import Interval
from worker.daemon.systemd import Systemd
from worker.model.accounts import Acknowledgement, DatedWindow, Desired, Group, Schedule, Status, WeeklyWindow
from worker.model.errors import AccountRejected, DesiredStateError, LedgerError, Problem, SettingsError
from worker.model.results import Outcome, RunOutcome
from worker.model.schedule import transitions
from worker.model.suspension import Maintenance, Suspend
from worker.model.times import parse_weekly
from worker.plan.build import Terms

PHONE = "01000000001"


def _after(seconds: float) -> str:
    """Return the time *seconds* after the start of the test in ISO 8601."""
    return (datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(seconds=EPOCH + seconds)).strftime(
        "%Y-%m-%dT%H:%M:%S+00:00"
    )


def _refused_daemon() -> Daemon:
    """Return a daemon whose only account would lose its last ACTIVE number, which a safety rule refuses."""
    api_account = account(n01000000001="ACTIVE")
    settings = Settings(rate_limit=RateLimit(writes=100, reads=100))
    return Daemon(
        [api_account], [desired_account(api_account, "INACTIVE")], settings=settings, terms=Terms(settings.safety)
    )


class _Manager(Systemd):
    """Service manager with a watchdog interval of 15 seconds that counts notifications."""

    watchdog = 15.0
    beats = 0

    def notify_alive(self) -> None:
        self.beats += 1


def _play(scenario: Coroutine[Any, Any, None]) -> None:
    run(scenario)


def test_first_pass_converges_and_later_passes_only_read() -> None:
    """Later passes open no ledger and log no number."""

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)])
        await daemon.run_for(3650)
        assert api_account.statuses == {PHONE: "ACTIVE"}
        assert [phone for _, phone, _ in daemon.wire.writes] == [PHONE]
        reads = [at for at, _ in daemon.wire.reads if at > 1]
        assert [round(at) for at in reads] == list(range(300, 3650, 300))
        assert daemon.ledgers.opened == ["pass-1"]
        assert len(daemon.log.of("number")) == 1
        assert daemon.outcomes() == [RunOutcome.CONVERGED] * 13

    _play(scenario())


def test_drift_is_reverted_by_the_next_pass() -> None:

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)])
        await daemon.run_for(700, (400, lambda: api_account.switch(PHONE, "INACTIVE")))
        assert [round(at) for at, *_ in daemon.wire.writes] == [0, 600]

    _play(scenario())


def test_read_only_daemon_reports_drift_once_and_never_writes() -> None:

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)], read_only=True)
        await daemon.run_for(1000)
        assert daemon.wire.writes == []
        assert daemon.ledgers.opened == []
        (line,) = daemon.log.of("number.planned")
        assert (line["phone"], line["action"]) == (PHONE, "activate")
        assert len(daemon.wire.reads) == 4

    _play(scenario())


def test_number_that_cannot_be_fixed_is_logged_once() -> None:

    async def scenario() -> None:
        api_account = account(n01000000001="PENDING")
        daemon = Daemon([api_account], [desired_account(api_account)])
        await daemon.run_for(2000)
        assert daemon.ledgers.opened == ["pass-1"]
        assert [line["outcome"] for line in daemon.log.of("number")] == ["blocked"]
        assert set(daemon.outcomes()) == {RunOutcome.PARTIAL}

    _play(scenario())


def test_finding_of_a_suspension_is_recorded_once_after_it() -> None:
    """Later passes find the same, and record no run."""

    async def scenario() -> None:
        api_account = account(n01000000001="PENDING")
        daemon = Daemon([api_account], [desired_account(api_account, suspend=Suspend("moving", until=_after(1000)))])
        await daemon.run_for(3000)
        (opened,) = daemon.ledgers.opened
        assert next(line["run_id"] for line in daemon.log.of("watch.pass") if line["trigger"] == "transition") == opened

    _play(scenario())


def test_refused_plan_is_logged_once_and_retried_by_each_pass() -> None:

    async def scenario() -> None:
        daemon = _refused_daemon()
        await daemon.run_for(2000)
        assert daemon.wire.writes == []
        assert [line["error_code"] for line in daemon.log.of("account.refused")] == ["min-active"]
        assert set(daemon.outcomes()) == {RunOutcome.REFUSED}
        assert len(daemon.wire.reads) == 7

    _play(scenario())


def test_failing_account_backs_off() -> None:
    """The wait grows up to an hour. Success or a changed file ends the backoff. Other accounts do not wait."""

    async def scenario() -> None:
        good, bad = account(1), account(2)
        daemon = Daemon([good, bad], [desired_account(good), desired_account(bad)])
        daemon.wire.faults[bad.api_key] = lambda: AccountRejected("no", http_status=403)
        fixed = replace(desired_account(bad), unmanaged=desired_account(bad).unmanaged, line=2)
        await daemon.run_for(
            86_400 + 10_000,
            (86_400, lambda: daemon.folder.write(desired_account(good), fixed)),
            (86_400, daemon.wire.faults.clear),
        )
        reads = [at for at, key in daemon.wire.reads if key == bad.api_key]
        failed = [at for at in reads if at < 86_400]
        gaps = [round(later - earlier) for earlier, later in pairwise(failed)]
        # the jitter is fixed at three quarters of the maximum, rounded up to the next pass
        assert gaps[:4] == [300, 600, 1200, 2100]
        assert set(gaps[4:]) == {3000}, "never longer than an hour"
        assert len({at for at, key in daemon.wire.reads if key == good.api_key and at > 1}) == 96_400 // 300
        reads_after_change = [at for at in reads if at > 86_401]
        assert round(reads_after_change[0]) == 86_700
        assert len(reads_after_change) == 10_000 // 300
        assert [line["account"] for line in daemon.log.of("account.failed")] == ["account-2"], "logged once"

    _play(scenario())


def test_pass_without_due_accounts_is_failed() -> None:
    """If every account backs off, nothing is read, and the pass is not reported as converged."""

    async def scenario() -> None:
        bad = account()
        daemon = Daemon([bad], [desired_account(bad)])
        daemon.wire.faults[bad.api_key] = lambda: AccountRejected("no", http_status=403)
        await daemon.run_for(1000)
        assert [line["accounts"] for line in daemon.log.of("watch.pass")] == [1, 1, 0, 1]
        assert set(daemon.outcomes()) == {RunOutcome.FAILED}
        nothing = Daemon([], [])
        await nothing.run_for(100)
        assert nothing.outcomes() == [RunOutcome.CONVERGED]

    _play(scenario())


def test_suspension_logs_start_and_end_and_delays_writes() -> None:
    """The account is read meanwhile, and its writes follow at the end of the suspension."""

    async def scenario() -> None:
        api_account, other_account = account(1), account(2)
        suspend = Suspend("moving", "kim", _after(1000))
        daemon = Daemon(
            [api_account, other_account],
            [desired_account(api_account, suspend=suspend), desired_account(other_account)],
        )
        await daemon.run_for(1300)
        (start_line,) = daemon.log.of("watch.suspended")
        assert (start_line["account"], start_line["reason"], start_line["by"]) == ("account-1", "moving", "kim")
        assert start_line["until"].startswith(_after(1000)[:19])
        assert [line["account"] for line in daemon.log.of("watch.resumed")] == ["account-1"]
        assert [(round(at), phone) for at, phone, _ in daemon.wire.writes] == [(0, "01000000002"), (1000, PHONE)]
        assert [line["trigger"] for line in daemon.log.of("watch.pass")].count("transition") == 1

    _play(scenario())


def test_suspension_in_settings_covers_all_accounts() -> None:
    """SIGHUP with settings without it ends the suspension."""

    async def scenario() -> None:
        api_account = account()
        settings = Settings(rate_limit=RateLimit(writes=100, reads=100), suspend=Suspend(reason="audit"))
        daemon = Daemon([api_account], [desired_account(api_account)], settings=settings)

        def lift() -> None:
            daemon.settings = replace(settings, suspend=Suspend())
            daemon.watch.reload()

        await daemon.run_for(1000, (700, lift))
        assert [round(at) for at, *_ in daemon.wire.writes] == [700]
        assert "account" not in daemon.log.of("watch.suspended")[0]
        assert len(daemon.log.of("watch.suspended")) == len(daemon.log.of("watch.resumed")) == 1

    _play(scenario())


def test_accounts_are_written_when_a_suspension_in_settings_ends() -> None:
    """No account waits for the next pass."""

    async def scenario() -> None:
        accounts = [account(number) for number in (1, 2, 3)]
        settings = Settings(rate_limit=RateLimit(writes=100, reads=100), suspend=Suspend("audit", until=_after(1000)))
        daemon = Daemon(accounts, [desired_account(account) for account in accounts], settings=settings)
        await daemon.run_for(1100)
        assert [round(at) for at, *_ in daemon.wire.writes] == [1000] * 3

    _play(scenario())


def test_invalid_settings_keep_the_last_valid_version() -> None:
    """The daemon is not ready until they are fixed."""

    async def scenario() -> None:
        api_account = account()
        is_invalid = True
        error = SettingsError([Problem("worker.yaml", 3, 1, "no such key"), *[Problem("w", 1, 1, "x")] * 4])

        def reread() -> Any:
            if is_invalid:
                raise error
            return daemon.settings, daemon.passes._terms

        daemon = Daemon([api_account], [desired_account(api_account)], reload_settings=reread)
        assert daemon.watch.why_not_ready() == "the first pass has not ended yet"
        reasons: list[str | None] = []

        def fix() -> None:
            nonlocal is_invalid
            reasons.append(daemon.watch.why_not_ready())
            is_invalid = False
            daemon.watch.reload()

        await daemon.run_for(300, (100, daemon.watch.reload), (200, fix))
        assert [round(at) for at, _ in daemon.wire.reads if at > 1] == [100, 200], "each reload starts a pass"
        first, second = daemon.log.of("watch.reloaded")
        assert "worker.yaml:3:1: no such key" in first["error_message"]
        assert first["error_message"].endswith("and 2 more")
        assert "error_code" not in second
        assert reasons[0] is not None
        assert "settings" in reasons[0]
        assert daemon.watch.why_not_ready() is None

    _play(scenario())


def test_changed_quota_starts_after_the_old_window() -> None:
    """Requests under the old quota still count under the new one."""

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)])

        def change_quota() -> None:
            daemon.settings = replace(daemon.settings, rate_limit=RateLimit(writes=5, reads=5))
            daemon.watch.reload()

        await daemon.run_for(400, (100, change_quota), (200, daemon.watch.reload))
        reads = [at for at, _ in daemon.wire.reads if at > 1]
        assert [round(at) for at in reads] == [125, 200]

    _play(scenario())


def test_invalid_fixed_and_removed_files_are_logged() -> None:

    async def scenario() -> None:
        one, two = account(1), account(2)
        daemon = Daemon([one, two], [desired_account(one), desired_account(two)])
        changes = daemon.folder._news
        error = DesiredStateError([Problem("1.yaml", 4, 2, "a status is ACTIVE or INACTIVE")])

        def break_file() -> None:
            daemon.folder.invalid = {"1.yaml": error}
            changes.append(FileChanges(problems={"1.yaml": error}))

        def fix_file() -> None:
            daemon.folder.invalid = {}
            changes.append(FileChanges(fixed_files=("1.yaml",)))

        def remove_file() -> None:
            daemon.folder.desired = daemon.folder.desired[:1]
            changes.append(FileChanges(removed_files=("2.yaml",), removed_accounts=frozenset({"account-2"})))

        await daemon.run_for(
            1000,
            (400, break_file),
            (500, lambda: reasons.append(daemon.watch.why_not_ready())),
            (650, fix_file),
            (700, remove_file),
        )
        (line,) = daemon.log.of("watch.file_broken")
        assert "1.yaml:4:2: a status" in line["error_message"]
        assert [line["file"] for line in daemon.log.of("watch.file_mended")] == ["1.yaml"]
        assert [line["file"] for line in daemon.log.of("watch.file_removed")] == ["2.yaml"]
        assert {key for at, key in daemon.wire.reads if at > 800} == {one.api_key}
        assert reasons
        assert "1.yaml" in str(reasons[0])

    reasons: list[str | None] = []
    _play(scenario())


def test_pass_longer_than_the_interval_delays_the_next_and_logs_it() -> None:
    """Passes never overlap."""

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)], trigger=Interval(10.0), latency=12.0)
        await daemon.run_for(90)
        lines = daemon.log.of("watch.pass")
        assert all(line["overran"] for line in lines)
        reads = [at for at, _ in daemon.wire.reads]
        assert all(later - earlier >= 12 for earlier, later in pairwise(reads))

    _play(scenario())


@pytest.mark.parametrize("jump", [-90_000.0, 90_000.0, -3.0, 7.0])
def test_clock_jump_delays_a_pass_by_at_most_one_interval(jump: float) -> None:

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)])

        def move_clock() -> None:
            daemon.skew += jump

        await daemon.run_for(3000, (1000, move_clock))
        reads = [0.0, *(at for at, _ in daemon.wire.reads if at > 1), 3000.0]
        gaps = [later - earlier for earlier, later in pairwise(reads)]
        assert max(gaps) <= 300 + 300 + 30 + 0.1
        assert len(gaps) <= 11

    _play(scenario())


def test_duplicate_account_is_refused_until_one_name_is_removed() -> None:
    """Each name is refused, even if the other one was read by an earlier pass."""

    async def scenario() -> None:
        api_account = account()
        first = desired_account(api_account)
        # the schedule starts separate passes for this account
        second = replace(
            desired_account(api_account, "INACTIVE"), name="second", source="second.yaml", schedules=_hourly()
        )
        daemon = Daemon([api_account], [first], trigger=Interval(10_000.0))
        await daemon.run_for(
            60_000,
            (100, lambda: daemon.folder.write(first, second)),
            (15_000, lambda: daemon.folder.write(first)),
        )
        assert [status for _, _, status in daemon.wire.writes] == ["ACTIVE"], "second has written nothing"
        failed = [line for line in daemon.log.of("account.failed") if line["error_code"] == "DuplicateAccount"]
        assert {line["account"] for line in failed} == {"second", first.name}
        assert "'account-1' (1.yaml:1), 'second' (second.yaml:1)" in failed[0]["error_message"]
        assert daemon.outcomes()[0] is daemon.outcomes()[-1] is RunOutcome.CONVERGED

    _play(scenario())


def _hourly() -> dict[str, Schedule]:
    """Return a schedule with daily windows for an otherwise INACTIVE number."""
    text = "daily 01:00-02:00, 03:00-04:00"
    return {
        PHONE: Schedule(Status.INACTIVE, (), (WeeklyWindow(Status.ACTIVE, text, parse_weekly(text)),), "Asia/Seoul")
    }


def test_pass_with_ledger_error_fails_and_sends_nothing() -> None:

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)])
        daemon.ledgers.fail = LedgerError("no room")

        def fix() -> None:
            daemon.ledgers.fail = None

        await daemon.run_for(400, (200, fix))
        first, second = daemon.log.of("watch.pass")
        assert (first["outcome"], first["error_code"]) == (RunOutcome.FAILED, "LedgerError")
        assert second["outcome"] == RunOutcome.CONVERGED
        assert [round(at) for at, *_ in daemon.wire.writes] == [300]

    _play(scenario())


def test_refusal_that_was_not_recorded_is_reported_again() -> None:
    """A refused plan has no writes that would cause another report."""

    async def scenario() -> None:
        daemon = _refused_daemon()
        daemon.ledgers.fail = LedgerError("no room")

        def fix() -> None:
            daemon.ledgers.fail = None

        await daemon.run_for(1000, (200, fix))
        assert len(daemon.log.of("account.refused")) == 2
        assert daemon.ledgers.opened == ["pass-2"]

    _play(scenario())


def test_writes_are_reported_after_a_ledger_error() -> None:
    passes: list[Pass] = []

    class Listening:
        def on_pass(self, last_pass: Pass) -> None:
            passes.append(last_pass)

        def on_event(self, *_: Any) -> None:
            pass

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)], listeners=[Listening()])
        daemon.ledgers.fail_at_end = LedgerError("no room")
        await daemon.run_for(100)
        (last_pass,) = passes
        assert (last_pass.outcome, last_pass.error) == (RunOutcome.FAILED, daemon.ledgers.fail_at_end)
        (account_pass,) = last_pass.accounts
        assert account_pass.result is not None
        assert account_pass.result.counts[Outcome.CHANGED] == 1

    _play(scenario())


def test_stop_interrupts_the_pass() -> None:
    """No account is logged as failed."""

    async def scenario() -> None:
        api_accounts = [account(number) for number in range(1, 60)]
        daemon = Daemon(api_accounts, [desired_account(account) for account in api_accounts], latency=1.0)
        await daemon.run_for(1.5)
        assert daemon.outcomes() == [RunOutcome.INTERRUPTED]
        assert daemon.log.of("watch.backoff") == []
        assert daemon.log.of("account.failed") == []
        assert daemon.wire.writes == []
        assert len(daemon.log.of("watch.stopping")) == 1
        assert daemon.loop.time() < 30

    _play(scenario())


def test_stop_while_the_ledger_opens_sends_nothing() -> None:

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)])
        daemon.ledgers.seconds = 5.0
        await daemon.run_for(2)
        assert daemon.ledgers.opened == ["pass-1"]
        assert daemon.wire.writes == []
        assert daemon.outcomes() == [RunOutcome.INTERRUPTED]

    _play(scenario())


def test_listeners_receive_passes_and_events() -> None:

    class Listener:
        def __init__(self) -> None:
            self.passes: list[Pass] = []
            self.events: list[str] = []
            self.fields: list[dict[str, Any]] = []

        def on_pass(self, completed: Pass) -> None:
            self.passes.append(completed)

        def on_event(self, event: str, fields: Any) -> None:
            assert isinstance(fields, dict)
            self.events.append(event)
            self.fields.append(fields)

    async def scenario() -> None:
        api_account, listener = account(), Listener()
        daemon = Daemon([api_account], [desired_account(api_account)], listeners=(listener,))
        await daemon.run_for(400)
        assert [result.outcome for result in listener.passes] == [RunOutcome.CONVERGED] * 2
        first = listener.passes[0].accounts[0]
        assert first.result is not None
        assert first.result.account == first.plan.account == "account-1"
        assert listener.passes[1].accounts[0].result is None
        assert listener.passes[1].counts == {"unchanged": 1}
        assert listener.events == ["watch.started", "watch.stopping"]
        assert listener.fields[0]["accounts"] == 1
        assert daemon.watch.last is listener.passes[1]

    _play(scenario())


def test_daemon_is_not_alive_after_three_missed_wakeups() -> None:

    async def scenario() -> None:
        api_account = account()
        daemon = Daemon([api_account], [desired_account(api_account)])
        await daemon.run_for(100)
        assert daemon.watch.why_not_alive() is None
        await asyncio.sleep(95)
        assert "for 105 seconds" in str(daemon.watch.why_not_alive())

    _play(scenario())


def test_watchdog_is_notified_while_the_loop_runs() -> None:

    async def scenario() -> None:
        api_account, manager = account(), _Manager({})
        daemon = Daemon([api_account], [desired_account(api_account)], systemd=manager)
        await daemon.run_for(301)
        assert manager.beats == 21

    _play(scenario())


def test_watchdog_is_not_notified_while_the_loop_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service manager then restarts the daemon."""

    async def scenario() -> None:
        api_account, manager = account(), _Manager({})
        daemon = Daemon([api_account], [desired_account(api_account)], systemd=manager)
        hung = daemon.loop.time() + 100
        monkeypatch.setattr(daemon.watch, "why_not_alive", lambda: "hung" if daemon.loop.time() > hung else None)
        await daemon.run_for(301)
        assert manager.beats == 7

    _play(scenario())


def test_schedule_change_reads_only_its_accounts() -> None:
    start = datetime.fromtimestamp(EPOCH, UTC)
    windows = tuple(
        DatedWindow(Status.ACTIVE, start + timedelta(seconds=first), start + timedelta(seconds=first + 100))
        for first in (0, 250)
    )

    async def scenario() -> None:
        one, two = account(1), account(2)
        scheduled = desired_account(one, schedules={PHONE: Schedule(Status.INACTIVE, windows, (), "UTC")})
        daemon = Daemon([one, two], [scheduled, desired_account(two)])
        await daemon.run_for(290)
        assert {key for at, key in daemon.wire.reads if 1 < at < 290} == {one.api_key}
        assert [round(at) for at, phone, _ in daemon.wire.writes if phone == PHONE] == [0, 100, 250]

    _play(scenario())


def test_end_of_an_acknowledgement_is_acted_on_in_time() -> None:
    """The number is left until then, and written without waiting for the next pass over all accounts."""
    known = Acknowledgement("line under repair", datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=100))

    async def scenario() -> None:
        one = account()
        daemon = Daemon([one], [desired_account(one, acknowledgements={PHONE: known})])
        await daemon.run_for(290)
        assert [round(at) for at, phone, _ in daemon.wire.writes if phone == PHONE] == [100]

    _play(scenario())


def test_schedule_change_during_a_pass_starts_another_pass_immediately() -> None:
    start = datetime.fromtimestamp(EPOCH, UTC)
    window = DatedWindow(Status.ACTIVE, start + timedelta(seconds=3), start + timedelta(seconds=200))

    async def scenario() -> None:
        api_account = account()
        scheduled = desired_account(api_account, schedules={PHONE: Schedule(Status.INACTIVE, (window,), (), "UTC")})
        daemon = Daemon([api_account], [scheduled], latency=5.0)
        await daemon.run_for(100)
        (at,) = (at for at, phone, _ in daemon.wire.writes if phone == PHONE)
        assert at < 20, "a pass that starts immediately reads twice, 5 seconds each"

    _play(scenario())


@pytest.mark.parametrize("edited", [239.0, 240.0 - 0.001])
def test_schedule_change_after_an_edit_is_on_time(edited: float) -> None:
    """The daemon reads the edit in the same pass."""
    start = datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=240)
    windows = (DatedWindow(Status.ACTIVE, start, start + timedelta(seconds=1000)),)

    async def scenario() -> None:
        api_account = account()
        original = desired_account(api_account, schedules={PHONE: Schedule(Status.INACTIVE, windows, (), "UTC")})
        daemon = Daemon([api_account], [original])
        await daemon.run_for(290, (edited, lambda: daemon.folder.write(replace(original, line=2))))
        assert [round(at, 1) for at, *_ in daemon.wire.writes] == [240.0]

    _play(scenario())


@pytest.mark.slow
def test_year_of_weekly_windows_is_written_to_the_second() -> None:
    """Each change is written exactly once and within a second."""
    holiday = datetime.fromtimestamp(EPOCH, UTC) + timedelta(days=100)
    schedule = Schedule(
        Status.INACTIVE,
        (DatedWindow(Status.INACTIVE, holiday, holiday + timedelta(days=3), "holiday"),),
        (WeeklyWindow(Status.ACTIVE, "Mon-Fri 09:00-18:00", parse_weekly("Mon-Fri 09:00-18:00")),),
        "Europe/Berlin",
    )

    async def scenario() -> None:
        api_account = account()
        desired = desired_account(api_account, "INACTIVE", schedules={PHONE: schedule})
        start = datetime.fromtimestamp(EPOCH, UTC)
        year = timedelta(days=365)
        due = [(transition.when, transition.after) for transition in transitions(desired, start, start + year)]
        assert 500 < len(due) < 530
        daemon = Daemon([api_account], [desired], trigger=Interval(7 * 3600.0), longest_sleep=3600.0)
        await daemon.run_for(year.total_seconds())
        writes = daemon.wire.writes
        assert [status for *_, status in writes] == [status for _, status in due]
        delays = [moment - (when - start).total_seconds() for (moment, *_), (when, _) in zip(writes, due, strict=True)]
        assert min(delays) >= 0
        assert max(delays) < 1

    _play(scenario())


def test_maintenance_window_logs_start_and_end_and_delays_writes() -> None:
    """The writes follow at the end of the window."""

    async def scenario() -> None:
        one, two = account(1), account(2)
        start = datetime.fromtimestamp(EPOCH, ZoneInfo("Asia/Seoul"))
        minute = start.replace(second=0, microsecond=0)
        window = f"daily {minute:%H:%M}-{minute + timedelta(minutes=10):%H:%M}"
        end = (minute + timedelta(minutes=10) - start).total_seconds()
        daemon = Daemon(
            [one, two], [desired_account(one, maintenance=Maintenance(window, "backup")), desired_account(two)]
        )
        await daemon.run_for(1300)
        (start_line,) = daemon.log.of("watch.suspended")
        assert (start_line["account"], start_line["reason"]) == ("account-1", "backup")
        assert [line["account"] for line in daemon.log.of("watch.resumed")] == ["account-1"]
        assert [(round(at), phone) for at, phone, _ in daemon.wire.writes] == [(0, "01000000002"), (round(end), PHONE)]

    _play(scenario())


def test_maintenance_window_in_settings_covers_all_accounts() -> None:
    """Without a reason, the log shows the times of the window."""

    async def scenario() -> None:
        api_account = account()
        settings = Settings(rate_limit=RateLimit(writes=100, reads=100), maintenance=Maintenance("daily 00:00-24:00"))
        daemon = Daemon([api_account], [desired_account(api_account)], settings=settings)
        await daemon.run_for(700)
        assert daemon.wire.writes == []
        (start_line,) = daemon.log.of("watch.suspended")
        assert ("account" in start_line, start_line["reason"]) == (False, "maintenance: daily 00:00-24:00")

    _play(scenario())


def test_notice_is_logged_once() -> None:
    """A new notice is logged."""

    async def scenario() -> None:
        api_account = account(1, n01000000001="INACTIVE", n01000000002="ACTIVE")
        group = Group("hot", (PHONE,))
        desired = replace(
            desired_account(api_account, "INACTIVE"),
            numbers={PHONE: Desired(Status.INACTIVE)},
            lines=[1],
            groups=(group,),
        )
        daemon = Daemon([api_account], [desired])
        await daemon.run_for(1000, (700, lambda: api_account.switch("01000000002", "PENDING")))
        assert [(line["kind"], line.get("phone")) for line in daemon.log.of("notice")] == [
            ("group", None),
            ("pending", "01000000002"),
        ]

    _play(scenario())
