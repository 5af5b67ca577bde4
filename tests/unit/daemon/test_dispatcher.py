"""Delivery to channels: digests, retries, hanging channels and the end of the daemon."""

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
WORKS = Notification(Event.FAILING, "main", "working again", is_end=True)
DRIFT = Notification(Event.DRIFT, "main", "1 number changed externally")


class Receiver:
    """Receiver of a channel. It returns each of `responses`, and repeats the last one.

    An empty response never arrives. A response takes `latency` seconds. `received` lists the second and
    the body of each message.
    """

    def __init__(self, *responses: str | None, latency: float = 0.0) -> None:
        self._responses = list(responses) or [None]
        self._latency = latency
        self.received: list[tuple[float, str]] = []

    async def __call__(self, message: ChannelMessage) -> str | None:
        """Receive a message."""
        self.received.append((asyncio.get_running_loop().time(), message.body))
        response = self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]
        if response == "":
            await asyncio.Event().wait()
        await asyncio.sleep(self._latency)
        return response


def channel(**fields: object) -> Channel:
    """Return a channel named ops."""
    return Channel("ops", SecretRef(env="OPS"), **fields)  # type: ignore[arg-type]


def run(
    *receivers: tuple[Channel, Receiver],
    steps: list[tuple[float, list[Notification]]],
    wait: float = 0,
    log: Recorder | None = None,
) -> float:
    """Notify after each delay in virtual seconds, wait, and stop. Return the seconds that the stop took."""

    async def work() -> float:
        loop = asyncio.get_running_loop()
        async with Notifier(receivers, log or Recorder(), host="box", timeout_seconds=10) as notifier:
            for seconds, notifications in steps:
                await asyncio.sleep(seconds)
                notifier.notify(notifications)
            await asyncio.sleep(wait)
            ending = loop.time()
        return loop.time() - ending

    return virtual_time.run(work())


def test_notifications_of_a_pass_are_one_message() -> None:
    """Without a digest, they are sent immediately."""
    receiver = Receiver()
    run((channel(), receiver), steps=[(1, [FAILING, DRIFT]), (1, []), (1, [WORKS])], wait=1)
    assert receiver.received == [
        (1.0, "Failing:\nmain: failing: x\nChanged externally:\nmain: 1 number changed externally"),
        (3.0, "main: working again"),
    ]


def test_digest_collects_notifications_of_its_period() -> None:
    """The period starts with the first notification."""
    receiver = Receiver()
    run((channel(digest_seconds=60.0), receiver), steps=[(5, [FAILING]), (59, [WORKS]), (2, [DRIFT])], wait=61)
    assert receiver.received == [
        (65.0, "Failing:\nmain: failing: x\nWorking again:\nmain: working again"),
        (126.0, "main: 1 number changed externally"),
    ]


def test_channel_receives_only_its_events() -> None:
    """The end of a condition is an event of the same kind as its start."""
    drift, daemon = Receiver(), Receiver()
    channels = channel(events=(Event.DRIFT,)), channel(events=(Event.DAEMON,))
    run((channels[0], drift), (channels[1], daemon), steps=[(0, [FAILING, DRIFT]), (1, [WORKS])], wait=1)
    assert [body for _, body in drift.received] == ["main: 1 number changed externally"]
    assert daemon.received == []


def test_failed_delivery_is_retried_with_newer_notifications() -> None:
    """The waits double. Failure and recovery are each logged once."""
    receiver, log = Receiver("refused", "refused", "refused", None, "again", None), Recorder()
    run((channel(), receiver), steps=[(0, [FAILING]), (50, [WORKS]), (400, [DRIFT])], wait=100, log=log)
    assert [second for second, _ in receiver.received] == [0.0, 30.0, 90.0, 210.0, 450.0, 480.0]
    assert receiver.received[3][1] == "Failing:\nmain: failing: x\nWorking again:\nmain: working again"
    assert receiver.received[5][1] == "main: 1 number changed externally"
    assert [(event, fields["news"]) for event, fields in log.lines] == [
        ("notify.failed", 1),
        ("notify.recovered", 2),
        ("notify.failed", 1),
        ("notify.recovered", 1),
    ]
    assert log.lines[0][1] == {"channel": "ops", "news": 1, "error_message": "refused"}


def test_hanging_channel_does_not_delay_other_channels() -> None:
    hanging_receiver, other_receiver, log = Receiver("", None), Receiver(), Recorder()
    run(
        (channel(), hanging_receiver),
        (channel(), other_receiver),
        steps=[(0, [FAILING]), (1, [DRIFT])],
        wait=60,
        log=log,
    )
    assert [second for second, _ in other_receiver.received] == [0.0, 1.0]
    assert [second for second, _ in hanging_receiver.received] == [0.0, 40.0]
    assert log.lines[0][1]["error_message"] == "no response within 10 s"


def test_retry_wait_is_limited_to_32_minutes() -> None:
    receiver = Receiver("dead")
    run((channel(), receiver), steps=[(0, [FAILING])], wait=30 * 86_400)
    times = [second for second, _ in receiver.received]
    assert times[-2] - times[-3] == 1920.0
    assert len(times) > 1300


def test_stop_delivers_queued_notifications() -> None:
    receiver, log = Receiver(), Recorder()
    assert run((channel(digest_seconds=3600.0), receiver), steps=[(1, [FAILING])], log=log) == 0
    assert receiver.received == [(1.0, "main: failing: x")]
    assert log.lines == []


@pytest.mark.parametrize(("response", "seconds"), [("", 5.0), ("refused", 0.0)])
def test_stop_waits_at_most_five_seconds(response: str, seconds: float) -> None:
    """Undelivered notifications are counted."""
    receiver, log = Receiver(response), Recorder()
    assert run((channel(), receiver), steps=[(0, [FAILING, DRIFT])], log=log) == seconds
    assert log.lines[-1] == ("notify.undelivered", {"channel": "ops", "news": 2})


def test_notifier_without_channels_does_nothing() -> None:
    log = Recorder()
    assert run(steps=[(0, [FAILING])], log=log) == 0
    assert log.lines == []


def test_queue_is_limited_and_dropped_notifications_are_counted() -> None:
    receiver, log = Receiver("refused", None), Recorder()
    many = [Notification(Event.FAILING, f"a{index}", "failing: x") for index in range(9_999)]
    run((channel(), receiver), steps=[(0, many), (1, [FAILING] * 5), (60, [DRIFT])], wait=1, log=log)
    assert receiver.received[1][1].endswith("… and 9,990 more failing\n… and 4 more")
    assert receiver.received[2][1] == "main: 1 number changed externally"
    assert log.lines[-1] == ("notify.recovered", {"channel": "ops", "news": 10_004})


def test_notifications_during_delivery_form_the_next_message() -> None:
    receiver = Receiver(latency=5.0)
    run((channel(), receiver), steps=[(0, [FAILING]), (2, [DRIFT]), (1, [WORKS])], wait=20)
    assert receiver.received == [
        (0.0, "main: failing: x"),
        (5.0, "Changed externally:\nmain: 1 number changed externally\nWorking again:\nmain: working again"),
    ]


def test_notifications_dropped_during_delivery_are_counted_in_the_next_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "_QUEUE_CAP", 2)
    receiver, log = Receiver(latency=5.0), Recorder()
    run((channel(), receiver), steps=[(0, [FAILING, DRIFT, WORKS]), (1, [DRIFT, DRIFT]), (9, [WORKS])], wait=9, log=log)
    first, second = (body for _, body in receiver.received)
    assert first.endswith("… and 1 more")
    assert second == "main: working again\n… and 2 more"
    assert log.lines == []


def test_exception_in_a_delivery_is_logged_by_its_type() -> None:

    async def broken(_: ChannelMessage) -> str | None:
        raise ZeroDivisionError("CANARY")

    log = Recorder()

    async def work() -> None:
        async with Notifier([(channel(), broken)], log, host="box", timeout_seconds=10) as notifier:
            notifier.notify([FAILING])
            await asyncio.sleep(1)

    virtual_time.run(work())
    assert log.lines[0] == ("notify.failed", {"channel": "ops", "news": 1, "error_message": "ZeroDivisionError"})
