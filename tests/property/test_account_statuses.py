"""Random histories: each account counts once, in the segment that its latest read says."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.support.ledgers import account_read, file_account
from worker.model.history import Ending
from worker.model.reads import AccountRead, HealthStatus, SyncStatus, segment_of
from worker.model.status_page import AccountState, DaemonState
from worker.model.times import format_utc_ms
from worker.render.view.fleet import attention_kinds, headline, segments
from worker.web.accounts import account_statuses, recorded_statuses

START = datetime(2026, 11, 24, tzinfo=UTC)
NAMES = ["a", "b", "c", "d"]

# what happened: the account, by which way the page learns about it, and how it went
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["ledger", "live", "run"]),
        st.sampled_from(list(SyncStatus)),
        st.sampled_from([HealthStatus.HEALTHY, HealthStatus.NEEDS_ATTENTION, HealthStatus.FAILED]),
    ),
    max_size=30,
)


def at(index: int) -> str:
    """Return the time of an event."""
    return format_utc_ms(START + timedelta(minutes=index))


def record(name: str, index: int, sync: SyncStatus, health: HealthStatus) -> AccountState:
    """Return a run whose state is that of an event."""
    outcome = Ending.CONVERGED if sync is SyncStatus.IN_SYNC else Ending.PARTIAL
    counts = {"changed": 1} | ({"failed": 1} if health is HealthStatus.FAILED else {})
    counts |= {"held": 1} if health is HealthStatus.NEEDS_ATTENTION else {}
    platform = "https://api.solapi.com"
    key = f"{platform} None" if sync is SyncStatus.UNKNOWN else f"{platform} {name}"
    return AccountState(
        position=index,
        key=key,
        account=name,
        run_id=f"r{index}",
        outcome=outcome,
        started_at=at(index),
        finished_at=at(index),
        counts=counts,
        error=None,
        settled=True,
    )


@given(EVENTS, st.lists(st.sampled_from([*NAMES, "e"]), unique=True) | st.none())
def test_each_account_counts_once_in_the_segment_of_its_latest_read(
    events: list[tuple[str, str, SyncStatus, HealthStatus]], files: list[str] | None
) -> None:
    ledger: dict[str, AccountRead] = {}
    live: dict[str, AccountRead] = {}
    runs: dict[str, AccountState] = {}
    latest: dict[str, tuple[str, SyncStatus, HealthStatus]] = {}
    for index, (name, way, sync, health) in enumerate(events):
        latest[name] = (way, sync, health)
        read = account_read(name, at=at(index), sync=sync, health=health)
        if way == "run":
            runs[name] = record(name, index, sync, health)
        elif way == "live":
            live[name] = read
        else:
            ledger[name] = read
    loaded = None if files is None else [file_account(name) for name in files]
    state = DaemonState(reads=tuple(live.values()))
    actual = account_statuses(recorded_statuses(ledger.values(), runs.values()), loaded, state, START)
    assert [account.name for account in actual] == sorted(latest if files is None else files)
    views = segments(actual)
    assert sum(view.count for view in views) == len(actual)
    assert sum(view.width for view in views) == (1000 if actual else 0)
    for account in actual:
        assert sum(view.segment is account.segment for view in views) == 1
        if account.name not in latest:
            assert account.at is None
            continue
        way, sync, health = latest[account.name]
        if way != "run":
            assert account.segment is segment_of(sync, health)
        elif health is HealthStatus.FAILED:
            assert account.health is HealthStatus.FAILED
        else:
            assert account.health in {health, HealthStatus.NEEDS_ATTENTION}
    assert sum(kind.accounts for kind in attention_kinds(actual)) >= len([status for status in actual if status.needs])
    assert headline(actual)[0]
