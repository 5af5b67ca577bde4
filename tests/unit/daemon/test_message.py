"""Notification messages: grouping, size limits and escaping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.config.channels import Channel, Event
from worker.daemon.notify.changes import Notification
from worker.daemon.notify.message import ChannelMessage, compose
from worker.model.credentials import SecretRef

CHANNEL = Channel("ops", SecretRef(env="OPS"))
FAILING = Notification(Event.FAILING, "main", "failing: no response (CircuitOpen)")


def compose_message(*notifications: Notification, dropped: int = 0) -> ChannelMessage:
    """Compose the message of some notifications."""
    return compose(notifications, CHANNEL, host="box", dropped_count=dropped)


def test_single_notification_is_title_and_body() -> None:
    assert compose_message(
        Notification(Event.HELD, "main", "1 deactivation held", ("0212345678: in use",))
    ) == ChannelMessage(
        "[senderid] main: 1 deactivation held", "main: 1 deactivation held\n  0212345678: in use", "warning"
    )


def test_notifications_are_grouped_by_kind_in_order_of_appearance() -> None:
    recovered = Notification(Event.FAILING, "b", "working again", is_end=True)
    broken = Notification(Event.FILE, None, "a.yaml cannot be read")
    assert compose_message(
        recovered, FAILING, broken, Notification(Event.FAILING, "c", "failing: x")
    ) == ChannelMessage(
        "[senderid] 1 working again, 2 failing, 1 invalid",
        "Working again:\nb: working again\n"
        "Failing:\nmain: failing: no response (CircuitOpen)\nc: failing: x\n"
        "Invalid:\na.yaml cannot be read",
        "failure",
    )


_WORDS = {
    Event.FAILING: ("failing", "working again"),
    Event.REFUSED: ("refused", "no longer refused"),
    Event.DRIFT: ("changed externally", "reverted"),
    Event.CHANGED: ("changed", "changed"),
    Event.HELD: ("held", "no longer held"),
    Event.EXPIRING: ("expiring", "expiring"),
    Event.NOTICE: ("noteworthy", "noteworthy"),
    Event.FILE: ("invalid", "valid again"),
    Event.SUSPENDED: ("suspended", "resumed"),
    Event.DAEMON: ("started", "stopped"),
}
"""The words for the start and for the end of each condition."""


@pytest.mark.parametrize("event", Event)
def test_words_distinguish_start_and_end(event: Event) -> None:
    start, end = _WORDS[event]
    begun, ended = (Notification(event, "main", "title", is_end=is_end) for is_end in (False, True))
    assert compose_message(begun, begun, ended).title == f"[senderid] 2 {start}, 1 {end}"


def test_count_in_a_template_includes_dropped_notifications() -> None:
    counting = Channel("ops", SecretRef(env="OPS"), title="$count on $host", body="$body")
    assert compose([FAILING], counting, host="box", dropped_count=1_233).title == "1,234 on box"


def test_thousands_of_notifications_are_one_short_message() -> None:
    """The first ten are listed, and the rest is counted."""
    notifications = [
        Notification(Event.FAILING, f"account-{index}", "failing: no response (CircuitOpen)") for index in range(5000)
    ]
    message = compose_message(*notifications, dropped=7)
    assert message.title == "[senderid] 5,000 failing"
    lines = message.body.split("\n")
    assert lines[0] == "account-0: failing: no response (CircuitOpen)"
    assert lines[9:] == [
        "account-9: failing: no response (CircuitOpen)",
        "… and 4,990 more failing",
        "… and 7 more",
    ]


def test_notifications_beyond_the_size_limit_are_counted() -> None:
    """The limit is about 3,000 characters."""
    notifications = [
        Notification(event, f"a{index}", "x" * 290) for event in (Event.FAILING, Event.HELD) for index in range(9)
    ]
    lines = compose_message(*notifications).body.split("\n")
    assert [line for line in lines if "x" not in line] == ["Failing:", "Held:", "… and 8 more held"]
    assert len(lines) == 9 + 1 + 3


def test_templates_are_filled_in() -> None:
    channel = Channel("ops", SecretRef(env="OPS"), title="$host $count$$", body="${body}\n-- $title")
    assert compose([FAILING], channel, host="b\x1box") == ChannelMessage(
        "b\ufffdox 1$",
        "main: failing: no response (CircuitOpen)\n-- main: failing: no response (CircuitOpen)",
        "failure",
    )


def test_urgency_is_that_of_the_most_severe_notification() -> None:
    drift, changed = Notification(Event.DRIFT, "main", "x"), Notification(Event.CHANGED, "main", "x")
    is_end = Notification(Event.FAILING, "main", "working again", is_end=True)
    assert compose_message(changed, drift, FAILING, is_end).urgency == "failure"
    assert compose_message(changed, drift, is_end).urgency == "warning"
    assert compose_message(changed, is_end).urgency == "info"
    assert compose_message(is_end).urgency == "success"


TEXTS = st.text(max_size=400)
NEWS = st.builds(
    Notification,
    st.sampled_from(Event),
    st.none() | TEXTS,
    TEXTS,
    st.lists(TEXTS, max_size=6).map(tuple),
    st.booleans(),
)


@given(st.lists(NEWS, min_size=1, max_size=60), st.integers(0, 9))
def test_any_message_is_short_and_printable(notifications: list[Notification], dropped: int) -> None:
    message = compose(notifications, CHANNEL, host="box", dropped_count=dropped)
    assert message.title.isprintable()
    assert len(message.title) <= 200
    assert all(line.isprintable() for line in message.body.split("\n"))
    assert len(message.body) < 4000
