"""Group commits: one transaction for what comes at one moment, and nothing more after the first that fails."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.ledgers import clock, planned, started, subject
from tests.support.virtual_time import run
from worker.ledger import writes
from worker.ledger.group_commit import GroupCommits, Intent
from worker.ledger.records import AttemptState
from worker.ledger.schema import connect, unusable_error
from worker.model.errors import LedgerError

_PHONES = [f"010{n:08}" for n in range(100)]


class Disk:
    """A ledger whose transactions are carried out when the test says so."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.waiting: list[Callable[[], None]] = []
        self.statements: list[str] = []
        writes.add_run(connection, started())
        plan = planned(*_PHONES)
        self.entry = writes.add_entry(connection, "run-1", subject(), plan, fingerprint="", now="now")
        connection.set_trace_callback(self.statements.append)

    def commits(self) -> GroupCommits:
        """Commits on the running loop."""
        return GroupCommits(
            self.connection,
            submit=self.waiting.append,
            now=clock(),
            unusable=lambda reason: unusable_error("ledger.db", reason),
        )

    def intent(self, number: int) -> Intent:
        """The first request of one of the phones."""
        return (self.entry, _PHONES[number], 1, "INACTIVE")

    async def write(self) -> None:
        """Carry out the transaction that waits, which is one at a time, and let everyone hear of it."""
        (work,) = self.waiting
        self.waiting.clear()
        work()
        await _breathe()

    @property
    def transactions(self) -> int:
        """How many were committed."""
        return self.statements.count("COMMIT")

    def states(self) -> list[str]:
        """Of all attempts."""
        return [state for (state,) in self.connection.execute("SELECT state FROM attempts ORDER BY phone")]


async def _breathe() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A ledger with an entry of a hundred numbers."""
    with closing(connect(tmp_path / "ledger.db", program="0", now=clock())) as connection:
        yield Disk(connection)


def _sending(commits: GroupCommits, disk: Disk, numbers: range, sent: list[int]) -> list[asyncio.Task[None]]:
    async def send(number: int) -> None:
        await commits.intend([disk.intent(number)])
        sent.append(number)

    return [asyncio.create_task(send(number)) for number in numbers]


async def test_intents_of_one_moment_are_one_transaction_that_is_waited_for(disk: Disk) -> None:
    """A hundred requests leave after one commit, and none before it."""
    sent: list[int] = []
    tasks = _sending(disk.commits(), disk, range(100), sent)
    await _breathe()
    assert (sent, disk.transactions) == ([], 0)
    await disk.write()
    assert (sorted(sent), disk.transactions, disk.waiting) == (list(range(100)), 1, [])
    assert disk.states() == [AttemptState.INTENT] * 100
    await asyncio.gather(*tasks)


async def test_what_comes_while_one_is_on_its_way_shares_the_next(disk: Disk) -> None:
    """One transaction at a time; whatever gathers meanwhile goes into the one after it."""
    commits = disk.commits()
    sent: list[int] = []
    tasks = _sending(commits, disk, range(2), sent)
    await _breathe()
    tasks += _sending(commits, disk, range(2, 5), sent)
    await _breathe()
    await disk.write()
    assert (sent, disk.transactions) == ([0, 1], 1)
    await disk.write()
    assert (sorted(sent), disk.transactions, disk.waiting) == (list(range(5)), 2, [])
    assert disk.states() == [AttemptState.INTENT] * 5
    await asyncio.gather(*tasks)


def test_answers_wait_a_moment_for_others(disk: Disk) -> None:
    """They are committed together, two seconds after the first."""

    async def scenario() -> None:
        commits = disk.commits()
        tasks = _sending(commits, disk, range(3), [])
        await _breathe()
        await disk.write()
        for number in range(3):
            commits.answer((disk.entry, _PHONES[number], 1, AttemptState.OK, None, None, None))
            await asyncio.sleep(0.5)
        assert disk.waiting == []
        await asyncio.sleep(1)
        await disk.write()
        assert (disk.states(), disk.transactions) == ([AttemptState.OK] * 3, 2)
        await asyncio.gather(*tasks)

    run(scenario())


async def test_an_entry_that_ends_takes_its_answers_along(disk: Disk) -> None:
    """All are recorded before its end, except those of which the end says more."""
    commits = disk.commits()
    tasks = _sending(commits, disk, range(3), [])
    await _breathe()
    await disk.write()
    for number, state in enumerate((AttemptState.OK, AttemptState.OK, AttemptState.REJECTED)):
        commits.answer((disk.entry, _PHONES[number], 1, state, None, None, None))
    seen: list[str] = []
    proven = frozenset({_PHONES[0], _PHONES[2]})
    closing = asyncio.create_task(commits.close(disk.entry, proven, lambda _: seen.extend(disk.states())))
    await _breathe()
    await disk.write()
    await closing
    assert seen == [AttemptState.INTENT, AttemptState.OK, AttemptState.REJECTED]
    await asyncio.gather(*tasks)


async def test_after_the_first_commit_that_fails_no_request_leaves(disk: Disk) -> None:
    """Who is in it, who gathered behind it and who comes later are all refused, and nothing is tried again."""
    commits = disk.commits()
    sent: list[int] = []
    tasks = _sending(commits, disk, range(3), sent)
    await _breathe()
    tasks += _sending(commits, disk, range(3, 6), sent)
    await _breathe()
    disk.connection.set_authorizer(_unwritable)
    await disk.write()
    disk.connection.set_authorizer(None)
    tasks += _sending(commits, disk, range(6, 9), sent)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in results] == [LedgerError] * 9
    assert len({str(each) for each in results}) == 1
    assert "ledger.db cannot be used" in str(results[0])
    commits.answer((disk.entry, _PHONES[0], 1, AttemptState.OK, None, None, None))
    with pytest.raises(LedgerError):
        await commits.run(lambda _: None)
    with pytest.raises(LedgerError):
        await commits.drain()
    assert (sent, disk.states(), disk.waiting, disk.transactions) == ([], [], [], 0)
    assert not disk.connection.in_transaction


def _unwritable(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_INSERT else sqlite3.SQLITE_OK


async def test_a_commit_that_fails_takes_back_all_of_its_transaction(disk: Disk) -> None:
    """An intent whose number was used already leaves nothing of those beside it."""
    commits = disk.commits()
    tasks = [asyncio.create_task(commits.intend([disk.intent(number)])) for number in (1, 2, 1)]
    await _breathe()
    await disk.write()
    assert {type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)} == {LedgerError}
    assert disk.states() == []


async def test_a_bug_in_one_work_fails_its_transaction_alone(disk: Disk) -> None:
    """Only a failing disk ends the ledger; the next transaction is tried."""
    commits = disk.commits()
    sent: list[int] = []
    tasks = _sending(commits, disk, range(2), sent)
    buggy = asyncio.create_task(commits.run(lambda _: 1 // 0))
    await _breathe()
    await disk.write()
    assert {type(each) for each in await asyncio.gather(buggy, *tasks, return_exceptions=True)} == {ZeroDivisionError}
    assert disk.states() == []
    tasks = _sending(commits, disk, range(2), sent)
    await _breathe()
    await disk.write()
    await asyncio.gather(*tasks)
    assert sent == [0, 1]


async def test_cancelled_waiter_leaves_the_others_alone(disk: Disk) -> None:
    """Its intent is recorded and its request not sent; the others' requests are."""
    sent: list[int] = []
    tasks = _sending(disk.commits(), disk, range(3), sent)
    await _breathe()
    tasks[1].cancel()
    await _breathe()
    await disk.write()
    assert sent == [0, 2]
    assert disk.states() == [AttemptState.INTENT] * 3
    assert tasks[1].cancelled()


async def test_pending_answers_are_committed_before_the_end(disk: Disk) -> None:
    """`drain` returns when the last answer is in the file, at once where there is none."""
    commits = disk.commits()
    await commits.drain()
    tasks = _sending(commits, disk, range(1), [])
    await _breathe()
    await disk.write()
    commits.answer((disk.entry, _PHONES[0], 1, AttemptState.OK, None, None, None))
    draining = asyncio.create_task(commits.drain())
    await _breathe()
    assert not draining.done()
    await disk.write()
    await draining
    assert disk.states() == [AttemptState.OK]
    await asyncio.gather(*tasks)
