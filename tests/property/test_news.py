"""News are the edges of what is, and nothing else, whatever comes after what."""

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
    written=st.none() | st.builds(WriteSummary, st.sampled_from("ab"), st.integers(1, 3), put_right=st.integers(0, 1)),
)
STATES = st.builds(
    NotifyState,
    accounts=st.dictionaries(st.sampled_from(["main", "b"]), ACCOUNTS),
    broken=st.dictionaries(st.sampled_from(["a.yaml", "b.yaml"]), st.just("not YAML")),
    suspended=REASONS,
)


@given(STATES)
def test_unchanged_state_is_no_news(state: NotifyState) -> None:
    """The same state makes no news, also after a restart."""
    assert notifications(state, state) == ()
    kept = decode(encode(state))
    assert kept == state
    assert kept is not None
    assert notifications(kept, state) == ()


def edges(news: list[Notification], event: Event, account: str | None) -> list[bool]:
    """The ends (True) and beginnings among some news, in their order."""
    return [each.over for each in news if each.event is event and each.account == account]


def turns(states: list[bool]) -> list[bool]:
    """The ends (True) and beginnings of what holds or does not, one state after the other, at first not."""
    return [before for before, now in zip([False, *states], states, strict=False) if before is not now]


@given(st.lists(ACCOUNTS, max_size=6))
def test_beginnings_and_ends_alternate(accounts: list[NotifiedAccount]) -> None:
    """Over any sequence of states, failing and suspended are reported once per change."""
    news: list[Notification] = []
    before = NotifyState()
    for account in accounts:
        now = NotifyState(
            accounts={"main": account}, suspended=account.failing, broken={"f": "x"} if account.failing else {}
        )
        news += notifications(before, now)
        before = now
    failing = turns([account.failing is not None for account in accounts])
    assert edges(news, Event.FAILING, "main") == failing
    assert edges(news, Event.FILE, None) == failing
    assert edges(news, Event.SUSPENDED, None) == failing
    assert edges(news, Event.SUSPENDED, "main") == turns([account.suspended is not None for account in accounts])


@given(ACCOUNTS, ACCOUNTS)
def test_each_kind_is_reported_when_it_grows_and_when_it_ends(before: NotifiedAccount, now: NotifiedAccount) -> None:
    news = list(notifications(NotifyState(accounts={"main": before}), NotifyState(accounts={"main": now})))
    for event, old, new in (
        (Event.REFUSED, set(before.refused), set(now.refused)),
        (Event.HELD, set(before.held), set(now.held)),
        (Event.DRIFT, set(before.drift.items()), set(now.drift.items())),
    ):
        wanted = [False] if new - old else [True] if old and not new else []
        put_right = now.written is not None and now.written != before.written and now.written.put_right
        if event is Event.DRIFT and put_right and wanted != [True]:
            wanted.append(True)
        assert edges(news, event, "main") == wanted


@given(ACCOUNTS, ACCOUNTS)
def test_notices_and_writes_are_reported_once(before: NotifiedAccount, now: NotifiedAccount) -> None:
    """Neither has an end."""
    news = notifications(NotifyState(accounts={"main": before}), NotifyState(accounts={"main": now}))
    lines = {each.title for each in news if each.event in {Event.EXPIRING, Event.NOTICE}}
    for notice in now.notices:
        # what is said of a waiting number may change without being news
        known = notice in before.notices or (
            notice.kind is NoticeKind.PENDING and any(each.kind is NoticeKind.PENDING for each in before.notices)
        )
        line = notice.message if notice.phone is None else f"{notice.phone}: {notice.message}"
        assert (line in lines) is not known
    changed = [each for each in news if each.event is Event.CHANGED]
    assert bool(changed) is (now.written is not None and now.written != before.written)


@given(STATES, STATES)
def test_news_name_only_existing_accounts(before: NotifyState, now: NotifyState) -> None:
    assert {each.account for each in notifications(before, now)} <= {None, *now.accounts}
    first = {each.account for each in notifications(NotifyState(), now)}
    assert {name for name, account in now.accounts.items() if account != NotifiedAccount()} <= first
