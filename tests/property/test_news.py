"""Notifications report the changes of a state and nothing else, for any sequence of states."""

from hypothesis import given
from hypothesis import strategies as st

from worker.config.channels import Event
from worker.daemon.notify.changes import (
    Notification,
    NotifiedAccount,
    NotifyState,
    WriteSummary,
    decode,
    encode,
    notifications,
)
from worker.model.plans import Cause, Notice, NoticeKind

PHONES = ("01011112222", "0212345678", "15881234")
NOTICES = (
    Notice(NoticeKind.EXPIRING, "ends on 2026-12-01", "0212345678"),
    Notice(NoticeKind.EXPIRING, "ended on 2026-12-01", "0212345678"),
    Notice(NoticeKind.PENDING, "is looked at", "15881234"),
    Notice(NoticeKind.PENDING, "is still looked at", "15881234"),
    Notice(NoticeKind.GROUP, "too few"),
)
REASONS = st.none() | st.sampled_from(["one", "two"])

ACCOUNTS = st.builds(
    NotifiedAccount,
    failing=REASONS,
    refused=st.dictionaries(st.sampled_from(["min-active", "max-deactivations"]), st.just("too much")),
    drift=st.dictionaries(st.sampled_from(PHONES), st.sampled_from([Cause.EXTERNAL_DRIFT, Cause.BOTH])),
    held=st.dictionaries(st.sampled_from(PHONES), st.sampled_from(["in use", "needed"])),
    notices=st.lists(st.sampled_from(NOTICES), unique=True).map(tuple),
    suspended=REASONS,
    written=st.none() | st.builds(WriteSummary, st.sampled_from("ab"), st.integers(1, 3), reverted=st.integers(0, 1)),
)
STATES = st.builds(
    NotifyState,
    accounts=st.dictionaries(st.sampled_from(["main", "b"]), ACCOUNTS),
    broken=st.dictionaries(st.sampled_from(["a.yaml", "b.yaml"]), st.just("not YAML")),
    suspended=REASONS,
)


@given(STATES)
def test_unchanged_state_sends_no_notification(state: NotifyState) -> None:
    """This holds after a restart too."""
    assert notifications(state, state) == ()
    restored = decode(encode(state))
    assert restored == state
    assert restored is not None
    assert notifications(restored, state) == ()


def edges(news: list[Notification], event: Event, account: str | None) -> list[bool]:
    """Return the ends (True) and starts of an event among some notifications, in order."""
    return [
        notification.is_end for notification in news if notification.event is event and notification.account == account
    ]


def transitions(states: list[bool]) -> list[bool]:
    """Return the ends (True) and starts of a condition over a sequence of states, initially False."""
    return [previous for previous, now in zip([False, *states], states, strict=False) if previous is not now]


@given(st.lists(ACCOUNTS, max_size=6))
def test_starts_and_ends_alternate(accounts: list[NotifiedAccount]) -> None:
    """For any sequence of states, failing and suspended are reported once per change."""
    news: list[Notification] = []
    previous = NotifyState()
    for account in accounts:
        now = NotifyState(
            accounts={"main": account}, suspended=account.failing, broken={"f": "x"} if account.failing else {}
        )
        news += notifications(previous, now)
        previous = now
    failing = transitions([account.failing is not None for account in accounts])
    assert edges(news, Event.FAILING, "main") == failing
    assert edges(news, Event.FILE, None) == failing
    assert edges(news, Event.SUSPENDED, None) == failing
    assert edges(news, Event.SUSPENDED, "main") == transitions([account.suspended is not None for account in accounts])


@given(ACCOUNTS, ACCOUNTS)
def test_each_event_is_reported_when_it_grows_and_ends(before: NotifiedAccount, now: NotifiedAccount) -> None:
    news = list(notifications(NotifyState(accounts={"main": before}), NotifyState(accounts={"main": now})))
    for event, old, new in (
        (Event.REFUSED, set(before.refused), set(now.refused)),
        (Event.HELD, set(before.held), set(now.held)),
        (Event.DRIFT, set(before.drift.items()), set(now.drift.items())),
    ):
        expected = [False] if new - old else [True] if old and not new else []
        has_reverted = now.written is not None and now.written != before.written and now.written.reverted
        if event is Event.DRIFT and has_reverted and expected != [True]:
            expected.append(True)
        assert edges(news, event, "main") == expected


@given(ACCOUNTS, ACCOUNTS)
def test_notices_and_writes_are_reported_once(before: NotifiedAccount, now: NotifiedAccount) -> None:
    """No notification reports the end of a notice or a write."""
    news = notifications(NotifyState(accounts={"main": before}), NotifyState(accounts={"main": now}))
    lines = {notification.title for notification in news if notification.event in {Event.EXPIRING, Event.NOTICE}}
    for notice in now.notices:
        # the text about a waiting number may change without a notification
        known = notice in before.notices or (
            notice.kind is NoticeKind.PENDING and any(other.kind is NoticeKind.PENDING for other in before.notices)
        )
        line = notice.message if notice.phone is None else f"{notice.phone}: {notice.message}"
        assert (line in lines) is not known
    changed = [notification for notification in news if notification.event is Event.CHANGED]
    assert bool(changed) is (now.written is not None and now.written != before.written)


@given(STATES, STATES)
def test_notifications_name_existing_accounts_only(before: NotifyState, now: NotifyState) -> None:
    assert {notification.account for notification in notifications(before, now)} <= {None, *now.accounts}
    first = {notification.account for notification in notifications(NotifyState(), now)}
    assert {name for name, account in now.accounts.items() if account != NotifiedAccount()} <= first
