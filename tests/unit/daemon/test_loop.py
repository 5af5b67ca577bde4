"""The daemon in virtual time: passes at their times, failures, suspensions, files, clocks that jump."""

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
from worker.model.accounts import DatedWindow, Desired, Group, Schedule, Status, WeeklyWindow
from worker.model.errors import AccountRejected, DesiredStateError, LedgerError, Problem, SettingsError
from worker.model.results import Outcome, RunOutcome
from worker.model.schedule import transitions
from worker.model.suspension import Maintenance, Suspend
from worker.model.times import parse_weekly
from worker.plan.build import Terms

PHONE = "01000000001"


def _after(seconds: float) -> str:
    """Return the moment *seconds* after the test's start, as files write it."""
    return (datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(seconds=EPOCH + seconds)).strftime(
        "%Y-%m-%dT%H:%M:%S+00:00"
    )


def _refused() -> Daemon:
    """Return a daemon whose one account would lose its last ACTIVE number, which a safety rule refuses."""
    found = account(n01000000001="ACTIVE")
    settings = Settings(rate_limit=RateLimit(writes=100, reads=100))
    return Daemon([found], [desired_account(found, "INACTIVE")], settings=settings, terms=Terms(settings.safety))


class _Manager(Systemd):
    """A service manager that wants a beat every 15 seconds, and counts them."""

    watchdog = 15.0
    beats = 0

    def notify_alive(self) -> None:
        self.beats += 1


def _play(scenario: Coroutine[Any, Any, None]) -> None:
    run(scenario)


def test_it_converges_and_then_only_reads() -> None:
    """The first pass writes; later ones read once each interval, open no ledger and log no number."""

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)])
        await daemon.live(3650)
        assert found.statuses == {PHONE: "ACTIVE"}
        assert [phone for _, phone, _ in daemon.wire.writes] == [PHONE]
        reads = [at for at, _ in daemon.wire.reads if at > 1]
        assert [round(at) for at in reads] == list(range(300, 3650, 300))
        assert daemon.ledgers.opened == ["pass-1"]
        assert len(daemon.tape.of("number")) == 1
        assert daemon.outcomes() == [RunOutcome.CONVERGED] * 13

    _play(scenario())


def test_drift_is_changed_back() -> None:
    """The next pass fixes it without a question."""

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)])
        await daemon.live(700, (400, lambda: found.switch(PHONE, "INACTIVE")))
        assert [round(at) for at, *_ in daemon.wire.writes] == [0, 600]

    _play(scenario())


def test_dry_run_reports_drift_once_and_never_writes() -> None:
    """Held accounts are read; each change is logged when it appears, and not again."""

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)], read_only=True)
        await daemon.live(1000)
        assert daemon.wire.writes == []
        assert daemon.ledgers.opened == []
        (line,) = daemon.tape.of("number.planned")
        assert (line["phone"], line["action"]) == (PHONE, "activate")
        assert len(daemon.wire.reads) == 4

    _play(scenario())


def test_what_stays_wrong_is_logged_once() -> None:
    """A number that no write can fix is logged and recorded by the first pass that meets it."""

    async def scenario() -> None:
        found = account(n01000000001="PENDING")
        daemon = Daemon([found], [desired_account(found)])
        await daemon.live(2000)
        assert daemon.ledgers.opened == ["pass-1"]
        assert [line["outcome"] for line in daemon.tape.of("number")] == ["blocked"]
        assert set(daemon.outcomes()) == {RunOutcome.PARTIAL}

    _play(scenario())


def test_refused_plan_is_logged_once_and_tried_at_each_pass() -> None:
    """A safety rule holds in a daemon too; no later pass writes, and the refusal fills no log."""

    async def scenario() -> None:
        daemon = _refused()
        await daemon.live(2000)
        assert daemon.wire.writes == []
        assert [line["error_code"] for line in daemon.tape.of("account.refused")] == ["min-active"]
        assert set(daemon.outcomes()) == {RunOutcome.REFUSED}
        assert len(daemon.wire.reads) == 7

    _play(scenario())


def test_failing_account_is_read_less_often() -> None:
    """Its reads back off up to an hour, the others keep theirs; success or a changed file ends the backoff."""

    async def scenario() -> None:
        good, bad = account(1), account(2)
        daemon = Daemon([good, bad], [desired_account(good), desired_account(bad)])
        daemon.wire.faults[bad.api_key] = lambda: AccountRejected("no", http_status=403)
        mended = replace(desired_account(bad), unmanaged=desired_account(bad).unmanaged, line=2)
        await daemon.live(
            86_400 + 10_000,
            (86_400, lambda: daemon.folder.write(desired_account(good), mended)),
            (86_400, daemon.wire.faults.clear),
        )
        reads = [at for at, key in daemon.wire.reads if key == bad.api_key]
        failed = [at for at in reads if at < 86_400]
        gaps = [round(later - earlier) for earlier, later in pairwise(failed)]
        # three quarters of what a rest is at most, the middle of what is drawn, up to the next pass of the rhythm
        assert gaps[:4] == [300, 600, 1200, 2100]
        assert set(gaps[4:]) == {3000}, "never longer than an hour"
        assert len({at for at, key in daemon.wire.reads if key == good.api_key and at > 1}) == 96_400 // 300
        again = [at for at in reads if at > 86_401]
        assert round(again[0]) == 86_700
        assert len(again) == 10_000 // 300
        assert [line["account"] for line in daemon.tape.of("account.failed")] == ["account-2"], "logged once"

    _play(scenario())


def test_suspension_is_logged_at_its_ends_and_writes_wait_for_it() -> None:
    """A suspended account is read and not written; the writes follow as soon as it ends, not at a pass."""

    async def scenario() -> None:
        found, other = account(1), account(2)
        suspend = Suspend("moving", "kim", _after(1000))
        daemon = Daemon([found, other], [desired_account(found, suspend=suspend), desired_account(other)])
        await daemon.live(1300)
        (began,) = daemon.tape.of("watch.suspended")
        assert (began["account"], began["reason"], began["by"]) == ("account-1", "moving", "kim")
        assert began["until"].startswith(_after(1000)[:19])
        assert [line["account"] for line in daemon.tape.of("watch.resumed")] == ["account-1"]
        assert [(round(at), phone) for at, phone, _ in daemon.wire.writes] == [(0, "01000000002"), (1000, PHONE)]
        assert [line["trigger"] for line in daemon.tape.of("watch.pass")].count("transition") == 1

    _play(scenario())


def test_settings_suspend_everything() -> None:
    """With `suspend` in the settings no account is written, and SIGHUP with settings without it ends that."""

    async def scenario() -> None:
        found = account()
        settings = Settings(rate_limit=RateLimit(writes=100, reads=100), suspend=Suspend(reason="audit"))
        daemon = Daemon([found], [desired_account(found)], settings=settings)

        def lift() -> None:
            daemon.settings = replace(settings, suspend=Suspend())
            daemon.watch.reload()

        await daemon.live(1000, (700, lift))
        assert [round(at) for at, *_ in daemon.wire.writes] == [700]
        assert "account" not in daemon.tape.of("watch.suspended")[0]
        assert len(daemon.tape.of("watch.suspended")) == len(daemon.tape.of("watch.resumed")) == 1

    _play(scenario())


def test_the_end_of_what_settings_suspend_is_every_accounts_own_time() -> None:
    """All accounts are written in the second in which it ends, and none waits for the next pass."""

    async def scenario() -> None:
        some = [account(number) for number in (1, 2, 3)]
        settings = Settings(rate_limit=RateLimit(writes=100, reads=100), suspend=Suspend("audit", until=_after(1000)))
        daemon = Daemon(some, [desired_account(each) for each in some], settings=settings)
        await daemon.live(1100)
        assert [round(at) for at, *_ in daemon.wire.writes] == [1000] * 3

    _play(scenario())


def test_broken_settings_keep_their_last_valid_version() -> None:
    """The reload logs the error, and the daemon is not ready until they are fixed."""

    async def scenario() -> None:
        found = account()
        wrong = True
        error = SettingsError([Problem("worker.yaml", 3, 1, "no such key"), *[Problem("w", 1, 1, "x")] * 4])

        def reread() -> Any:
            if wrong:
                raise error
            return daemon.settings, daemon.passes._terms

        daemon = Daemon([found], [desired_account(found)], reload_settings=reread)
        assert daemon.watch.why_not_ready() == "the first pass has not ended yet"
        seen: list[str | None] = []

        def fix() -> None:
            nonlocal wrong
            seen.append(daemon.watch.why_not_ready())
            wrong = False
            daemon.watch.reload()

        await daemon.live(300, (100, daemon.watch.reload), (200, fix))
        first, second = daemon.tape.of("watch.reloaded")
        assert "worker.yaml:3:1: no such key" in first["error_message"]
        assert first["error_message"].endswith("and 2 more")
        assert "error_code" not in second
        assert seen[0] is not None
        assert "settings" in seen[0]
        assert daemon.watch.why_not_ready() is None

    _play(scenario())


def test_another_quota_of_reloaded_settings_waits_for_what_was_sent() -> None:
    """A changed rate limit holds from the next pass on, after a window in which the old one's requests still count."""

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)])

        def faster() -> None:
            daemon.settings = replace(daemon.settings, rate_limit=RateLimit(writes=5, reads=5))
            daemon.watch.reload()

        await daemon.live(400, (100, faster), (200, daemon.watch.reload))
        reads = [at for at, _ in daemon.wire.reads if at > 1]
        assert [round(at) for at in reads] == [125, 200]

    _play(scenario())


def test_changed_broken_and_removed_files_are_logged() -> None:
    """Broken ones with the reason, fixed and removed ones by name."""

    async def scenario() -> None:
        one, two = account(1), account(2)
        daemon = Daemon([one, two], [desired_account(one), desired_account(two)])
        news = daemon.folder._news
        wrong = DesiredStateError([Problem("1.yaml", 4, 2, "a status is ACTIVE or INACTIVE")])

        def breaks() -> None:
            daemon.folder.invalid = {"1.yaml": wrong}
            news.append(FileChanges(problems={"1.yaml": wrong}))

        def fixes() -> None:
            daemon.folder.invalid = {}
            news.append(FileChanges(fixed_files=("1.yaml",)))

        def goes() -> None:
            daemon.folder.desired = daemon.folder.desired[:1]
            news.append(FileChanges(removed_files=("2.yaml",), removed_accounts=frozenset({"account-2"})))

        await daemon.live(
            1000, (400, breaks), (500, lambda: seen.append(daemon.watch.why_not_ready())), (650, fixes), (700, goes)
        )
        (line,) = daemon.tape.of("watch.file_broken")
        assert "1.yaml:4:2: a status" in line["error_message"]
        assert [line["file"] for line in daemon.tape.of("watch.file_mended")] == ["1.yaml"]
        assert [line["file"] for line in daemon.tape.of("watch.file_removed")] == ["2.yaml"]
        assert {key for at, key in daemon.wire.reads if at > 800} == {one.api_key}
        assert seen
        assert "1.yaml" in str(seen[0])

    seen: list[str | None] = []
    _play(scenario())


def test_a_pass_longer_than_the_interval_delays_the_next_and_says_so() -> None:
    """Passes never overlap or pile up: after one that overran a whole interval is waited."""

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)], rhythm=Interval(10.0), latency=12.0)
        await daemon.live(90)
        lines = daemon.tape.of("watch.pass")
        assert all(line["overran"] for line in lines)
        reads = [at for at, _ in daemon.wire.reads]
        assert all(later - earlier >= 12 for earlier, later in pairwise(reads))

    _play(scenario())


@pytest.mark.parametrize("jump", [-90_000.0, 90_000.0, -3.0, 7.0])
def test_a_clock_that_jumps_costs_at_most_one_interval(jump: float) -> None:
    """Whatever the wall clock does, the next read is at most an interval and a nap later, without a burst."""

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)])

        def leap() -> None:
            daemon.skew += jump

        await daemon.live(3000, (1000, leap))
        reads = [0.0, *(at for at, _ in daemon.wire.reads if at > 1), 3000.0]
        gaps = [later - earlier for earlier, later in pairwise(reads)]
        assert max(gaps) <= 300 + 300 + 30 + 0.1
        assert len(gaps) <= 11

    _play(scenario())


def test_a_second_name_of_an_account_stops_writes_until_it_is_gone() -> None:
    """What an earlier pass has seen counts: each of two names of one account is refused, also alone in a pass."""

    async def scenario() -> None:
        found = account()
        first = desired_account(found)
        # its own times put it into passes of its own
        second = replace(desired_account(found, "INACTIVE"), name="second", source="second.yaml", schedules=_hourly())
        daemon = Daemon([found], [first], rhythm=Interval(10_000.0))
        await daemon.live(
            60_000,
            (100, lambda: daemon.folder.write(first, second)),
            (15_000, lambda: daemon.folder.write(first)),
        )
        assert [status for _, _, status in daemon.wire.writes] == ["ACTIVE"], "second has written nothing"
        failed = [line for line in daemon.tape.of("account.failed") if line["error_code"] == "DuplicateAccount"]
        assert {line["account"] for line in failed} == {"second", first.name}
        assert "'account-1' (1.yaml:1), 'second' (second.yaml:1)" in failed[0]["error_message"]
        assert daemon.outcomes()[0] is daemon.outcomes()[-1] is RunOutcome.CONVERGED

    _play(scenario())


def _hourly() -> dict[str, Schedule]:
    """A schedule by which a number is to be INACTIVE, and at some times of a day for other reasons."""
    text = "daily 01:00-02:00, 03:00-04:00"
    return {
        PHONE: Schedule(Status.INACTIVE, (), (WeeklyWindow(Status.ACTIVE, text, parse_weekly(text)),), "Asia/Seoul")
    }


def test_a_ledger_that_fails_fails_the_pass_and_nothing_is_sent() -> None:
    """Where the ledger cannot be written nothing is; the next pass tries again, and then it is."""

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)])
        daemon.ledgers.fail = LedgerError("no room")

        def fix() -> None:
            daemon.ledgers.fail = None

        await daemon.live(400, (200, fix))
        first, second = daemon.tape.of("watch.pass")
        assert (first["outcome"], first["error_code"]) == (RunOutcome.FAILED, "LedgerError")
        assert second["outcome"] == RunOutcome.CONVERGED
        assert [round(at) for at, *_ in daemon.wire.writes] == [300]

    _play(scenario())


def test_what_a_failed_ledger_could_not_record_is_reported_again() -> None:
    """A refused plan has no writes, and is still logged and recorded by the next pass that can."""

    async def scenario() -> None:
        daemon = _refused()
        daemon.ledgers.fail = LedgerError("no room")

        def fix() -> None:
            daemon.ledgers.fail = None

        await daemon.live(1000, (200, fix))
        assert len(daemon.tape.of("account.refused")) == 2
        assert daemon.ledgers.opened == ["pass-2"]

    _play(scenario())


def test_writes_are_reported_though_the_ledger_failed() -> None:
    """The pass failed, and channels still get the number that it changed."""
    heard: list[Pass] = []

    class Listening:
        def on_pass(self, done: Pass) -> None:
            heard.append(done)

        def on_event(self, *_: Any) -> None:
            pass

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)], listeners=[Listening()])
        daemon.ledgers.fail_at_end = LedgerError("no room")
        await daemon.live(100)
        (done,) = heard
        assert (done.outcome, done.error) == (RunOutcome.FAILED, daemon.ledgers.fail_at_end)
        (seen,) = done.accounts
        assert seen.result is not None
        assert seen.result.counts[Outcome.CHANGED] == 1

    _play(scenario())


def test_a_stop_within_a_pass_ends_it() -> None:
    """Nothing more starts; the pass is logged as interrupted, and no account as failed."""

    async def scenario() -> None:
        found = [account(number) for number in range(1, 60)]
        daemon = Daemon(found, [desired_account(each) for each in found], latency=1.0)
        await daemon.live(1.5)
        assert daemon.outcomes() == [RunOutcome.INTERRUPTED]
        assert daemon.tape.of("watch.backoff") == []
        assert daemon.tape.of("account.failed") == []
        assert daemon.wire.writes == []
        assert len(daemon.tape.of("watch.stopping")) == 1
        assert daemon.loop.time() < 30

    _play(scenario())


def test_a_stop_while_the_ledger_opens_sends_nothing() -> None:
    """The account was read and planned; its write does not start any more."""

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)])
        daemon.ledgers.seconds = 5.0
        await daemon.live(2)
        assert daemon.ledgers.opened == ["pass-1"]
        assert daemon.wire.writes == []
        assert daemon.outcomes() == [RunOutcome.INTERRUPTED]

    _play(scenario())


def test_listeners_hear_of_passes_and_of_everything_else() -> None:
    """Who listens gets each pass whole, and each other event with its fields."""

    class Ear:
        def __init__(self) -> None:
            self.passes: list[Pass] = []
            self.events: list[str] = []
            self.fields: list[dict[str, Any]] = []

        def on_pass(self, done: Pass) -> None:
            self.passes.append(done)

        def on_event(self, event: str, fields: Any) -> None:
            assert isinstance(fields, dict)
            self.events.append(event)
            self.fields.append(fields)

    async def scenario() -> None:
        found, ear = account(), Ear()
        daemon = Daemon([found], [desired_account(found)], listeners=(ear,))
        await daemon.live(400)
        assert [each.outcome for each in ear.passes] == [RunOutcome.CONVERGED] * 2
        first = ear.passes[0].accounts[0]
        assert first.result is not None
        assert first.result.account == first.plan.account == "account-1"
        assert ear.passes[1].accounts[0].result is None
        assert ear.passes[1].counts == {"unchanged": 1}
        assert ear.events == ["watch.started", "watch.stopping"]
        assert ear.fields[0]["accounts"] == 1
        assert daemon.watch.last is ear.passes[1]

    _play(scenario())


def test_it_reports_whether_it_is_alive() -> None:
    """A daemon that has not read its clock for three naps reports since when."""

    async def scenario() -> None:
        found = account()
        daemon = Daemon([found], [desired_account(found)])
        await daemon.live(100)
        assert daemon.watch.why_not_alive() is None
        await asyncio.sleep(95)
        assert "for 105 seconds" in str(daemon.watch.why_not_alive())

    _play(scenario())


def test_the_watchdog_is_fed_as_long_as_the_loop_lives() -> None:
    """A service manager that asks for it hears of the daemon at half of its patience."""

    async def scenario() -> None:
        found, manager = account(), _Manager({})
        daemon = Daemon([found], [desired_account(found)], systemd=manager)
        await daemon.live(301)
        assert manager.beats == 21

    _play(scenario())


def test_the_watchdog_of_a_hung_loop_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service manager restarts a daemon that does not get to its passes any more."""

    async def scenario() -> None:
        found, manager = account(), _Manager({})
        daemon = Daemon([found], [desired_account(found)], systemd=manager)
        hung = daemon.loop.time() + 100
        monkeypatch.setattr(daemon.watch, "why_not_alive", lambda: "hung" if daemon.loop.time() > hung else None)
        await daemon.live(301)
        assert manager.beats == 7

    _play(scenario())


def test_a_pass_woken_by_an_edge_is_about_its_accounts_only() -> None:
    """An account's own time does not make the others be looked at."""
    start = datetime.fromtimestamp(EPOCH, UTC)
    windows = tuple(
        DatedWindow(Status.ACTIVE, start + timedelta(seconds=first), start + timedelta(seconds=first + 100))
        for first in (0, 250)
    )

    async def scenario() -> None:
        one, two = account(1), account(2)
        scheduled = desired_account(one, schedules={PHONE: Schedule(Status.INACTIVE, windows, (), "UTC")})
        daemon = Daemon([one, two], [scheduled, desired_account(two)])
        await daemon.live(290)
        assert {key for at, key in daemon.wire.reads if 1 < at < 290} == {one.api_key}
        assert [round(at) for at, phone, _ in daemon.wire.writes if phone == PHONE] == [0, 100, 250]

    _play(scenario())


def test_a_schedule_edge_during_a_slow_pass_is_acted_on_right_after_it() -> None:
    """The edge does not wait for the next pass of the trigger, nor for the next edge."""
    start = datetime.fromtimestamp(EPOCH, UTC)
    window = DatedWindow(Status.ACTIVE, start + timedelta(seconds=3), start + timedelta(seconds=200))

    async def scenario() -> None:
        found = account()
        scheduled = desired_account(found, schedules={PHONE: Schedule(Status.INACTIVE, (window,), (), "UTC")})
        daemon = Daemon([found], [scheduled], latency=5.0)
        await daemon.live(100)
        (at,) = (at for at, phone, _ in daemon.wire.writes if phone == PHONE)
        assert at < 20, "a pass that starts at once reads twice, 5 seconds each"

    _play(scenario())


@pytest.mark.parametrize("edited", [239.0, 240.0 - 0.001])
def test_edge_just_after_its_file_was_changed_is_on_time(edited: float) -> None:
    """The daemon reads the change when the edge wakes it; the edge is due all the same."""
    start = datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=240)
    windows = (DatedWindow(Status.ACTIVE, start, start + timedelta(seconds=1000)),)

    async def scenario() -> None:
        found = account()
        before = desired_account(found, schedules={PHONE: Schedule(Status.INACTIVE, windows, (), "UTC")})
        daemon = Daemon([found], [before])
        await daemon.live(290, (edited, lambda: daemon.folder.write(replace(before, line=2))))
        assert [round(at, 1) for at, *_ in daemon.wire.writes] == [240.0]

    _play(scenario())


@pytest.mark.slow
def test_a_year_of_weekly_windows_of_a_file_is_kept_to_the_second() -> None:
    """Office hours with a holiday over them: each edge is written within a second, none is lost, none comes twice."""
    holiday = datetime.fromtimestamp(EPOCH, UTC) + timedelta(days=100)
    schedule = Schedule(
        Status.INACTIVE,
        (DatedWindow(Status.INACTIVE, holiday, holiday + timedelta(days=3), "holiday"),),
        (WeeklyWindow(Status.ACTIVE, "Mon-Fri 09:00-18:00", parse_weekly("Mon-Fri 09:00-18:00")),),
        "Europe/Berlin",
    )

    async def scenario() -> None:
        found = account()
        desired = desired_account(found, "INACTIVE", schedules={PHONE: schedule})
        start = datetime.fromtimestamp(EPOCH, UTC)
        year = timedelta(days=365)
        due = [(each.when, each.after) for each in transitions(desired, start, start + year)]
        assert 500 < len(due) < 530
        daemon = Daemon([found], [desired], rhythm=Interval(7 * 3600.0), longest_sleep=3600.0)
        await daemon.live(year.total_seconds())
        written = daemon.wire.writes
        assert [status for *_, status in written] == [status for _, status in due]
        late = [moment - (when - start).total_seconds() for (moment, *_), (when, _) in zip(written, due, strict=True)]
        assert min(late) >= 0
        assert max(late) < 1

    _play(scenario())


def test_maintenance_window_is_logged_at_its_ends_and_writes_wait_for_it() -> None:
    """A file's window holds its account; the writes follow as soon as it ends, not at a pass."""

    async def scenario() -> None:
        one, two = account(1), account(2)
        start = datetime.fromtimestamp(EPOCH, ZoneInfo("Asia/Seoul"))
        minute = start.replace(second=0, microsecond=0)
        window = f"daily {minute:%H:%M}-{minute + timedelta(minutes=10):%H:%M}"
        end = (minute + timedelta(minutes=10) - start).total_seconds()
        daemon = Daemon(
            [one, two], [desired_account(one, maintenance=Maintenance(window, "backup")), desired_account(two)]
        )
        await daemon.live(1300)
        (began,) = daemon.tape.of("watch.suspended")
        assert (began["account"], began["reason"]) == ("account-1", "backup")
        assert [line["account"] for line in daemon.tape.of("watch.resumed")] == ["account-1"]
        assert [(round(at), phone) for at, phone, _ in daemon.wire.writes] == [(0, "01000000002"), (round(end), PHONE)]

    _play(scenario())


def test_the_settings_maintenance_window_holds_every_account() -> None:
    """Without a reason, the window is logged by its times."""

    async def scenario() -> None:
        found = account()
        settings = Settings(rate_limit=RateLimit(writes=100, reads=100), maintenance=Maintenance("daily 00:00-24:00"))
        daemon = Daemon([found], [desired_account(found)], settings=settings)
        await daemon.live(700)
        assert daemon.wire.writes == []
        (began,) = daemon.tape.of("watch.suspended")
        assert ("account" in began, began["reason"]) == (False, "maintenance: daily 00:00-24:00")

    _play(scenario())


def test_notice_is_logged_once_over_all_passes() -> None:
    """Only a new notice makes another line."""

    async def scenario() -> None:
        found = account(1, n01000000001="INACTIVE", n01000000002="ACTIVE")
        group = Group("hot", (PHONE,))
        desired = replace(
            desired_account(found, "INACTIVE"), numbers={PHONE: Desired(Status.INACTIVE)}, lines=[1], groups=(group,)
        )
        daemon = Daemon([found], [desired])
        await daemon.live(1000, (700, lambda: found.switch("01000000002", "PENDING")))
        assert [(line["kind"], line.get("phone")) for line in daemon.tape.of("notice")] == [
            ("group", None),
            ("pending", "01000000002"),
        ]

    _play(scenario())
