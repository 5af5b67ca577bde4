"""News as messages: bounded, in order, and harmless."""

from hypothesis import given
from hypothesis import strategies as st

from worker.config.channels import Channel, Event
from worker.daemon.notify.changes import Notification
from worker.daemon.notify.message import ChannelMessage, compose
from worker.model.credentials import SecretRef

CHANNEL = Channel("ops", SecretRef(env="OPS"))
FAILING = Notification(Event.FAILING, "main", "failing: no answer (CircuitOpen)")


def made(*news: Notification, untold: int = 0) -> ChannelMessage:
    """The message of some news."""
    return compose(news, CHANNEL, host="box", dropped_count=untold)


def test_one_piece_of_news_is_its_own_headline() -> None:
    """A single event is the title, and in full in the body."""
    assert made(Notification(Event.HELD, "main", "1 deactivation held", ("0212345678: in use",))) == ChannelMessage(
        "[senderid] main: 1 deactivation held", "main: 1 deactivation held\n  0212345678: in use", "warning"
    )


def test_kinds_stay_together_in_the_order_in_which_they_began() -> None:
    """News are counted in the title and grouped by kind in the body, oldest first."""
    recovered = Notification(Event.FAILING, "b", "working again", over=True)
    broken = Notification(Event.FILE, None, "a.yaml cannot be read")
    assert made(recovered, FAILING, broken, Notification(Event.FAILING, "c", "failing: x")) == ChannelMessage(
        "[senderid] 1 working again, 2 failing, 1 invalid",
        "Working again:\nb: working again\n"
        "Failing:\nmain: failing: no answer (CircuitOpen)\nc: failing: x\n"
        "Invalid:\na.yaml cannot be read",
        "failure",
    )


def test_count_of_a_template_includes_what_was_dropped() -> None:
    """The title says how many there were, not how many could be kept."""
    counting = Channel("ops", SecretRef(env="OPS"), title="$count on $host", body="$body")
    assert compose([FAILING], counting, host="box", dropped_count=1_233).title == "1,234 on box"


def test_thousands_at_once_are_one_message() -> None:
    """When a whole fleet begins to fail, some are named and the rest is counted; so is what could not be kept."""
    fleet = [
        Notification(Event.FAILING, f"account-{index}", "failing: no answer (CircuitOpen)") for index in range(5000)
    ]
    message = made(*fleet, untold=7)
    assert message.title == "[senderid] 5,000 failing"
    lines = message.body.split("\n")
    assert lines[0] == "account-0: failing: no answer (CircuitOpen)"
    assert lines[9:] == [
        "account-9: failing: no answer (CircuitOpen)",
        "… and 4,990 more failing",
        "… and 7 more",
    ]


def test_long_news_are_counted_once_there_is_no_room() -> None:
    """Beyond about 3,000 characters, news of every kind are counted and not written out."""
    long = [Notification(event, f"a{index}", "x" * 290) for event in (Event.FAILING, Event.HELD) for index in range(9)]
    lines = made(*long).body.split("\n")
    assert [line for line in lines if "x" not in line] == ["Failing:", "Held:", "… and 8 more held"]
    assert len(lines) == 9 + 1 + 3


def test_templates_have_their_fields() -> None:
    """A channel's own words are around what happened, and two dollars are one."""
    channel = Channel("ops", SecretRef(env="OPS"), title="$host $count$$", body="${body}\n-- $title")
    assert compose([FAILING], channel, host="b\x1box") == ChannelMessage(
        "b\ufffdox 1$",
        "main: failing: no answer (CircuitOpen)\n-- main: failing: no answer (CircuitOpen)",
        "failure",
    )


def test_urgency_is_that_of_the_worst() -> None:
    """What went wrong outweighs what is odd, that what is good to know; ends alone are a success."""
    drift, changed = Notification(Event.DRIFT, "main", "x"), Notification(Event.CHANGED, "main", "x")
    over = Notification(Event.FAILING, "main", "working again", over=True)
    assert made(changed, drift, FAILING, over).urgency == "failure"
    assert made(changed, drift, over).urgency == "warning"
    assert made(changed, over).urgency == "info"
    assert made(over).urgency == "success"


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
def test_any_news_make_a_bounded_harmless_message(news: list[Notification], untold: int) -> None:
    """Whatever texts news hold, a message has one line for a title, a few thousand characters, and nothing obeyed."""
    message = compose(news, CHANNEL, host="box", dropped_count=untold)
    assert message.title.isprintable()
    assert len(message.title) <= 200
    assert all(line.isprintable() for line in message.body.split("\n"))
    assert len(message.body) < 4000
