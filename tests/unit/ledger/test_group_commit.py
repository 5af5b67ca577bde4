"""Group commits: simultaneous writes share one transaction, and nothing is sent after the first failure."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.ledgers import clock, plan_writes, run_info, subject
from tests.support.virtual_time import run
from worker.ledger import writes
from worker.ledger.database import Intent
from worker.ledger.group_commit import GroupCommits
from worker.ledger.records import AttemptState
from worker.ledger.schema import connect, unusable_error
from worker.ledger.sqlite import FileLeases
from worker.model.errors import LedgerError

_PHONES = [f"010{n:08}" for n in range(100)]


class Disk:
    """A ledger whose transactions run when the test calls `write`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.waiting: list[Callable[[], None]] = []
        self.statements: list[str] = []
        writes.add_run(connection, run_info())
        plan = plan_writes(*_PHONES)
        self.entry = writes.add_entry(connection, "run-1", subject(), plan, fingerprint="", now="now")
        connection.set_trace_callback(self.statements.append)

    def create_commits(self) -> GroupCommits:
        """Return group commits on the running loop."""
        return GroupCommits(
            self.connection,
            FileLeases(Path(), run_info()),
            submit=self.waiting.append,
            now=clock(),
            unusable=lambda reason: unusable_error("ledger.db", reason),
        )

    def intent(self, number: int) -> Intent:
        """Return the intent of the first request for a number."""
        return (self.entry, _PHONES[number], 1, "INACTIVE")

    async def write(self) -> None:
        """Run the one pending transaction, then let the waiting tasks continue."""
        (work,) = self.waiting
        self.waiting.clear()
        work()
        await _run_pending_tasks()

    @property
    def transactions(self) -> int:
        """Return the number of committed transactions."""
        return self.statements.count("COMMIT")

    def states(self) -> list[str]:
        """Return the states of all attempts, by number."""
        return [state for (state,) in self.connection.execute("SELECT state FROM attempts ORDER BY phone")]


async def _run_pending_tasks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Return a ledger with one entry of a hundred numbers."""
    with closing(connect(tmp_path / "ledger.db", program="0", now=clock())) as connection:
        yield Disk(connection)


def _start_sends(
    commits: GroupCommits, disk: Disk, numbers: range, sent_numbers: list[int]
) -> list[asyncio.Task[None]]:
    async def send(number: int) -> None:
        await commits.intend([disk.intent(number)])
        sent_numbers.append(number)

    return [asyncio.create_task(send(number)) for number in numbers]


async def test_simultaneous_intents_share_one_awaited_transaction(disk: Disk) -> None:
    """A hundred requests are sent after one commit, and none before it."""
    sent_numbers: list[int] = []
    tasks = _start_sends(disk.create_commits(), disk, range(100), sent_numbers)
    await _run_pending_tasks()
    assert (sent_numbers, disk.transactions) == ([], 0)
    await disk.write()
    assert (sorted(sent_numbers), disk.transactions, disk.waiting) == (list(range(100)), 1, [])
    assert disk.states() == [AttemptState.INTENT] * 100
    await asyncio.gather(*tasks)


async def test_intents_during_a_transaction_share_the_next_one(disk: Disk) -> None:
    """Only one transaction runs at a time. Intents that arrive meanwhile share the next one."""
    commits = disk.create_commits()
    sent_numbers: list[int] = []
    tasks = _start_sends(commits, disk, range(2), sent_numbers)
    await _run_pending_tasks()
    tasks += _start_sends(commits, disk, range(2, 5), sent_numbers)
    await _run_pending_tasks()
    await disk.write()
    assert (sent_numbers, disk.transactions) == ([0, 1], 1)
    await disk.write()
    assert (sorted(sent_numbers), disk.transactions, disk.waiting) == (list(range(5)), 2, [])
    assert disk.states() == [AttemptState.INTENT] * 5
    await asyncio.gather(*tasks)


def test_responses_are_committed_together_after_a_delay(disk: Disk) -> None:
    """Responses are committed together, two seconds after the first one."""

    async def scenario() -> None:
        commits = disk.create_commits()
        tasks = _start_sends(commits, disk, range(3), [])
        await _run_pending_tasks()
        await disk.write()
        for number in range(3):
            commits.record_response((disk.entry, _PHONES[number], 1, AttemptState.OK, None, None, None))
            await asyncio.sleep(0.5)
        assert disk.waiting == []
        await asyncio.sleep(1)
        await disk.write()
        assert (disk.states(), disk.transactions) == ([AttemptState.OK] * 3, 2)
        await asyncio.gather(*tasks)

    run(scenario())


async def test_closing_an_entry_commits_its_responses(disk: Disk) -> None:
    """Pending responses are recorded first, except for numbers that the result already covers."""
    commits = disk.create_commits()
    tasks = _start_sends(commits, disk, range(3), [])
    await _run_pending_tasks()
    await disk.write()
    for number, state in enumerate((AttemptState.OK, AttemptState.OK, AttemptState.REJECTED)):
        commits.record_response((disk.entry, _PHONES[number], 1, state, None, None, None))
    states: list[str] = []
    verified = frozenset({_PHONES[0], _PHONES[2]})
    close_task = asyncio.create_task(commits.close(disk.entry, verified, lambda _: states.extend(disk.states())))
    await _run_pending_tasks()
    await disk.write()
    await close_task
    assert states == [AttemptState.INTENT, AttemptState.OK, AttemptState.REJECTED]
    await asyncio.gather(*tasks)


async def test_no_request_is_sent_after_the_first_failed_commit(disk: Disk) -> None:
    """Intents in the failed transaction, queued intents and later intents are all refused. Nothing is retried."""
    commits = disk.create_commits()
    sent_numbers: list[int] = []
    tasks = _start_sends(commits, disk, range(3), sent_numbers)
    await _run_pending_tasks()
    tasks += _start_sends(commits, disk, range(3, 6), sent_numbers)
    await _run_pending_tasks()
    disk.connection.set_authorizer(_unwritable)
    await disk.write()
    disk.connection.set_authorizer(None)
    tasks += _start_sends(commits, disk, range(6, 9), sent_numbers)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [LedgerError] * 9
    assert len({str(result) for result in results}) == 1
    assert "ledger.db cannot be used" in str(results[0])
    commits.record_response((disk.entry, _PHONES[0], 1, AttemptState.OK, None, None, None))
    with pytest.raises(LedgerError):
        await commits.run(lambda _: None)
    with pytest.raises(LedgerError):
        await commits.drain()
    assert (sent_numbers, disk.states(), disk.waiting, disk.transactions) == ([], [], [], 0)
    assert not disk.connection.in_transaction


def _unwritable(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_INSERT else sqlite3.SQLITE_OK


async def test_failed_commit_rolls_back_its_whole_transaction(disk: Disk) -> None:
    """A duplicate intent leaves no intent of the same transaction."""
    commits = disk.create_commits()
    tasks = [asyncio.create_task(commits.intend([disk.intent(number)])) for number in (1, 2, 1)]
    await _run_pending_tasks()
    await disk.write()
    assert {type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)} == {LedgerError}
    assert disk.states() == []


async def test_bug_fails_only_its_own_transaction(disk: Disk) -> None:
    """Only a failing disk stops the ledger; the next transaction is tried."""
    commits = disk.create_commits()
    sent_numbers: list[int] = []
    tasks = _start_sends(commits, disk, range(2), sent_numbers)
    buggy = asyncio.create_task(commits.run(lambda _: 1 // 0))
    await _run_pending_tasks()
    await disk.write()
    assert {type(result) for result in await asyncio.gather(buggy, *tasks, return_exceptions=True)} == {
        ZeroDivisionError
    }
    assert disk.states() == []
    tasks = _start_sends(commits, disk, range(2), sent_numbers)
    await _run_pending_tasks()
    await disk.write()
    await asyncio.gather(*tasks)
    assert sent_numbers == [0, 1]


async def test_cancelled_waiter_does_not_affect_the_others(disk: Disk) -> None:
    """The intent of a cancelled task is recorded without a request; the other requests are sent."""
    sent_numbers: list[int] = []
    tasks = _start_sends(disk.create_commits(), disk, range(3), sent_numbers)
    await _run_pending_tasks()
    tasks[1].cancel()
    await _run_pending_tasks()
    await disk.write()
    assert sent_numbers == [0, 2]
    assert disk.states() == [AttemptState.INTENT] * 3
    assert tasks[1].cancelled()


async def test_drain_commits_pending_responses(disk: Disk) -> None:
    """`drain` returns when the last response is committed, or immediately if none is pending."""
    commits = disk.create_commits()
    await commits.drain()
    tasks = _start_sends(commits, disk, range(1), [])
    await _run_pending_tasks()
    await disk.write()
    commits.record_response((disk.entry, _PHONES[0], 1, AttemptState.OK, None, None, None))
    drain_task = asyncio.create_task(commits.drain())
    await _run_pending_tasks()
    assert not drain_task.done()
    await disk.write()
    await drain_task
    assert disk.states() == [AttemptState.OK]
    await asyncio.gather(*tasks)


def test_timer_of_responses_without_anything_to_record_does_nothing(disk: Disk) -> None:
    """The responses are recorded already, or the ledger has failed."""

    async def scenario() -> None:
        reports: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        commits = disk.create_commits()
        tasks = _start_sends(commits, disk, range(2), [])
        await _run_pending_tasks()
        await disk.write()
        commits.record_response((disk.entry, _PHONES[0], 1, AttemptState.OK, None, None, None))
        close_task = asyncio.create_task(commits.close(disk.entry, frozenset(), lambda _: None))
        await _run_pending_tasks()
        await disk.write()
        await asyncio.sleep(2)
        await _run_pending_tasks()
        assert disk.waiting == []
        commits.record_response((disk.entry, _PHONES[1], 1, AttemptState.OK, None, None, None))
        failing = asyncio.create_task(commits.intend([disk.intent(0)]))
        await _run_pending_tasks()
        await disk.write()
        await asyncio.sleep(2)
        await _run_pending_tasks()
        assert (disk.waiting, reports) == ([], [])
        with pytest.raises(LedgerError):
            await failing
        await asyncio.gather(close_task, *tasks)

    run(scenario())
