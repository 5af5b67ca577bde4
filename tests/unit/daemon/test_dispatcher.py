"""Channels get what is new: gathered, one message at a time, without blocking the daemon."""

import asyncio

import pytest

from tests.support import virtual_time
from tests.support.model_account import Recorder
from worker.config.channels import Channel, Event
from worker.daemon.notify import dispatcher
from worker.daemon.notify.changes import Notification
from worker.daemon.notify.dispatcher import Notifier
from worker.daemon.notify.message import ChannelMessage
from worker.model.credentials import SecretRef

FAILING = Notification(Event.FAILING, "main", "failing: x")
WORKS = Notification(Event.FAILING, "main", "working again", over=True)
DRIFT = Notification(Event.DRIFT, "main", "1 number changed by others")


class Place:
    """A channel's other end: answers with the next of `answers`, the last one again and again; "" hangs.

    An answer takes `latency` seconds. `received` has the second and the body of each message.
    """

    def __init__(self, *answers: str | None, latency: float = 0.0) -> None:
        self._answers = list(answers) or [None]
        self._latency = latency
        self.received: list[tuple[float, str]] = []

    async def __call__(self, message: ChannelMessage) -> str | None:
        """Take a message."""
        self.received.append((asyncio.get_running_loop().time(), message.body))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer == "":
            await asyncio.Event().wait()
        await asyncio.sleep(self._latency)
        return answer


def channel(**more: object) -> Channel:
    """A channel ops."""
    return Channel("ops", SecretRef(env="OPS"), **more)  # type: ignore[arg-type]


def run(
    *places: tuple[Channel, Place],
    steps: list[tuple[float, list[Notification]]],
    rest: float = 0,
    log: Recorder | None = None,
) -> float:
    """Report news, each after its virtual seconds, wait, and end; return the seconds that the end took."""

    async def work() -> float:
        loop = asyncio.get_running_loop()
        async with Notifier(places, log or Recorder(), host="box", timeout_seconds=10) as notifier:
            for seconds, news in steps:
                await asyncio.sleep(seconds)
                notifier.notify(news)
            await asyncio.sleep(rest)
            ending = loop.time()
        return loop.time() - ending

    return virtual_time.run(work())


def test_news_are_sent_at_once_and_in_one_message() -> None:
    """Without a digest each pass sends one message."""
    place = Place()
    run((channel(), place), steps=[(1, [FAILING, DRIFT]), (1, []), (1, [WORKS])], rest=1)
    assert place.received == [
        (1.0, "Failing:\nmain: failing: x\nChanged by others:\nmain: 1 number changed by others"),
        (3.0, "main: working again"),
    ]


def test_a_digest_gathers_news_of_its_time() -> None:
    """With a digest, everything of that time from the first news on is one message, oldest first."""
    place = Place()
    run((channel(digest_seconds=60.0), place), steps=[(5, [FAILING]), (59, [WORKS]), (2, [DRIFT])], rest=61)
    assert place.received == [
        (65.0, "Failing:\nmain: failing: x\nWorking again:\nmain: working again"),
        (126.0, "main: 1 number changed by others"),
    ]


def test_channel_gets_the_events_that_it_names() -> None:
    """It gets no message where there are none."""
    drift, daemon = Place(), Place()
    some = channel(events=(Event.DRIFT,)), channel(events=(Event.DAEMON,))
    run((some[0], drift), (some[1], daemon), steps=[(0, [FAILING, DRIFT])], rest=1)
    assert [body for _, body in drift.received] == ["main: 1 number changed by others"]
    assert daemon.received == []


def test_failure_is_reported_once_and_the_news_are_kept() -> None:
    """Deliveries are retried with growing pauses and with newer news; failure and recovery are reported once."""
    place, log = Place("refused", "refused", "refused", None, "again", None), Recorder()
    run((channel(), place), steps=[(0, [FAILING]), (50, [WORKS]), (400, [DRIFT])], rest=100, log=log)
    assert [when for when, _ in place.received] == [0.0, 30.0, 90.0, 210.0, 450.0, 480.0]
    assert place.received[3][1] == "Failing:\nmain: failing: x\nWorking again:\nmain: working again"
    assert place.received[5][1] == "main: 1 number changed by others"
    assert [(event, fields["news"]) for event, fields in log.lines] == [
        ("notify.failed", 1),
        ("notify.recovered", 2),
        ("notify.failed", 1),
        ("notify.recovered", 1),
    ]
    assert log.lines[0][1] == {"channel": "ops", "news": 1, "error_message": "refused"}


def test_a_channel_that_hangs_delays_no_other() -> None:
    """A delivery without an answer is given up after its time, and other channels have their news meanwhile."""
    hanging, other, log = Place("", None), Place(), Recorder()
    run((channel(), hanging), (channel(), other), steps=[(0, [FAILING]), (1, [DRIFT])], rest=60, log=log)
    assert [when for when, _ in other.received] == [0.0, 1.0]
    assert [when for when, _ in hanging.received] == [0.0, 40.0]
    assert log.lines[0][1]["error_message"] == "no response within 10 s"


def test_waits_grow_to_half_an_hour() -> None:
    """A channel that is dead for weeks is asked every 32 minutes and at the end, and no number grows beyond bounds."""
    place = Place("dead")
    run((channel(), place), steps=[(0, [FAILING])], rest=30 * 86_400)
    times = [when for when, _ in place.received]
    assert times[-2] - times[-3] == 1920.0
    assert len(times) > 1300


def test_the_end_delivers_what_waits() -> None:
    """At the end a digest is not waited for, and a message under way is."""
    place, log = Place(), Recorder()
    assert run((channel(digest_seconds=3600.0), place), steps=[(1, [FAILING])], log=log) == 0
    assert place.received == [(1.0, "main: failing: x")]
    assert log.lines == []


@pytest.mark.parametrize(("answer", "seconds"), [("", 5.0), ("refused", 0.0)])
def test_the_end_waits_for_no_dead_channel(answer: str, seconds: float) -> None:
    """A channel that hangs or refuses delays the end by five seconds at most, and its unsent news are counted."""
    place, log = Place(answer), Recorder()
    assert run((channel(), place), steps=[(0, [FAILING, DRIFT])], log=log) == seconds
    assert log.lines[-1] == ("notify.undelivered", {"channel": "ops", "news": 2})


def test_without_channels_there_is_nothing_to_do() -> None:
    log = Recorder()
    assert run(steps=[(0, [FAILING])], log=log) == 0
    assert log.lines == []


def test_what_waits_is_bounded() -> None:
    """Beyond ten thousand, news are counted and dropped, and the count is sent when the channel works again."""
    place, log = Place("refused", None), Recorder()
    crowd = [Notification(Event.FAILING, f"a{index}", "failing: x") for index in range(9_999)]
    run((channel(), place), steps=[(0, crowd), (1, [FAILING] * 5), (60, [DRIFT])], rest=1, log=log)
    assert place.received[1][1].endswith("… and 9,990 more failing\n… and 4 more")
    assert place.received[2][1] == "main: 1 number changed by others"
    assert log.lines[-1] == ("notify.recovered", {"channel": "ops", "news": 10_004})


def test_news_that_arrive_during_a_delivery_are_the_next_message() -> None:
    """Each notification is delivered exactly once, also if it arrives while another one is under way."""
    place = Place(latency=5.0)
    run((channel(), place), steps=[(0, [FAILING]), (2, [DRIFT]), (1, [WORKS])], rest=20)
    assert place.received == [
        (0.0, "main: failing: x"),
        (5.0, "Changed by others:\nmain: 1 number changed by others\nWorking again:\nmain: working again"),
    ]


def test_news_dropped_during_a_delivery_are_counted_in_the_next_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message counts what was dropped before it was composed; the next one counts the rest."""
    monkeypatch.setattr(dispatcher, "_QUEUE_CAP", 2)
    place, log = Place(latency=5.0), Recorder()
    run((channel(), place), steps=[(0, [FAILING, DRIFT, WORKS]), (1, [DRIFT, DRIFT]), (9, [WORKS])], rest=9, log=log)
    first, second = (body for _, body in place.received)
    assert first.endswith("… and 1 more")
    assert second == "main: working again\n… and 2 more"
    assert log.lines == []


def test_a_bug_of_a_channel_stops_nothing() -> None:
    """An exception of a delivery is a failure of its channel, reported by its type."""

    async def broken(_: ChannelMessage) -> str | None:
        raise ZeroDivisionError("CANARY")

    log = Recorder()

    async def work() -> None:
        async with Notifier([(channel(), broken)], log, host="box", timeout_seconds=10) as notifier:
            notifier.notify([FAILING])
            await asyncio.sleep(1)

    virtual_time.run(work())
    assert log.lines[0] == ("notify.failed", {"channel": "ops", "news": 1, "error_message": "ZeroDivisionError"})
