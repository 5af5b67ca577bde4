"""Edge cases of the ledger: no ledger, no wait, one writer thread, and every field read back unchanged."""

import asyncio
import json
import os
import re
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.ledgers import account_result, ledger, never_wait, observed_account, plan_writes, rows, subject
from worker.ledger import Database, NullLedger, SqliteFile
from worker.ledger.database import Connection
from worker.ledger.history import run_record
from worker.model.accounts import AccountMemory, Status
from worker.model.errors import AccountBusy, Ambiguous, LedgerError
from worker.model.history import AttemptState
from worker.model.results import Outcome, RunOutcome

A, B = "01000000001", "01000000002"
_TIME = re.compile(r"2026-11-24T00:00:\d\d\.000Z")


async def test_null_ledger_records_nothing_and_recalls_the_given_memory() -> None:
    """A run without a ledger completes and uses the memory of its caller."""
    memory = AccountMemory({A: Status.ACTIVE})

    async def recall(key: str) -> AccountMemory:
        return memory if key == "vendor 1" else AccountMemory()

    ledger = NullLedger(recall)
    assert await ledger.recall("vendor 1") is memory
    assert await NullLedger().recall("vendor 1") == AccountMemory()
    async with ledger.lease(subject(), never_wait) as account_ledger:
        assert account_ledger is ledger
        assert await account_ledger.resume(observed_account()) == AccountMemory()
        await account_ledger.record_plan(plan_writes(A), "f")
        await account_ledger.intend([(A, 1, Status.INACTIVE)])
        account_ledger.record_response(A, 1, None)
        await account_ledger.finish(account_result(plan_writes(A), Outcome.CHANGED), {})
    await ledger.record(subject(), account_result(plan_writes(A), Outcome.CHANGED), {})


async def test_ledger_does_not_wait_for_a_leased_account_by_default(database: Database) -> None:
    """Without a time limit for waiting, an account leased by another run is busy immediately."""
    pauses: list[float] = []

    async def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return True

    async with (
        ledger(database) as first,
        ledger(database, run_id="run-2", clock=lambda: 0.0) as second,
        first.lease(subject(), never_wait),
    ):
        with pytest.raises(AccountBusy):
            async with second.lease(subject(), pause):
                raise AssertionError("entered")
    assert pauses == []


async def test_all_commits_run_on_one_named_thread(database: Database) -> None:
    """Transactions of a run are serialised on one thread, outside the event loop. Thread dumps show its name."""
    threads: set[tuple[str, int]] = set()

    def record_thread(_: Connection) -> None:
        threads.add((threading.current_thread().name, threading.get_ident()))

    async with ledger(database) as run_ledger:
        for _ in range(5):
            await run_ledger._commits.run(record_thread)
    ((name, thread),) = threads
    assert name == "ledger_0"
    assert thread != threading.get_ident()


async def test_run_is_read_back_with_every_time_and_error(database: Database) -> None:
    """Start and end of a run, an account and an attempt, and each error, are read back unchanged."""
    async with ledger(database) as run_ledger:
        async with run_ledger.lease(subject(), never_wait) as account_ledger:
            await account_ledger.record_plan(plan_writes(A, B), "f")
            await account_ledger.intend([(A, 1, Status.INACTIVE)])
            account_ledger.record_response(A, 1, Ambiguous("no response"))
            result = account_result(plan_writes(A, B), Outcome.UNVERIFIED, after=None)
            await account_ledger.finish(result, {})
        await run_ledger.finish(RunOutcome.PARTIAL)
    with database.read() as connection:
        assert connection is not None
        record = run_record(connection, "run-1")
        with pytest.raises(KeyError, match="run-9"):
            run_record(connection, "run-9")
    assert (record.version, record.started_at) == ("0", "2026-11-24T00:00:00.000Z")
    (account,) = record.accounts
    for moment in (record.finished_at, account.started_at, account.finished_at):
        assert _TIME.fullmatch(moment or "")
    assert account.error is None
    first, second = account.numbers or ()
    assert second.attempts == ()
    (attempt,) = first.attempts
    assert _TIME.fullmatch(attempt.intended_at)
    assert (attempt.state, attempt.error and attempt.error.message) == (AttemptState.AMBIGUOUS, "no response")


async def test_acceptance_is_recorded_only_for_unverified_writes(database: Database) -> None:
    """The last responses are recorded only for numbers that no read has confirmed."""
    async with ledger(database) as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        plan = plan_writes(A, B)
        await account_ledger.record_plan(plan, "f")
        await account_ledger.intend([(A, 1, Status.INACTIVE), (B, 1, Status.INACTIVE)])
        account_ledger.record_response(A, 1, None)
        account_ledger.record_response(B, 1, None)
        changed = account_result(plan_writes(A), Outcome.CHANGED).numbers
        unverified = account_result(plan_writes(B), Outcome.UNVERIFIED, after=None).numbers
        result = account_result(plan, Outcome.CHANGED)
        await account_ledger.finish(replace(result, numbers=(*changed, *unverified)), {})
    states = rows(database, "SELECT phone, state, answered_at IS NULL FROM attempts ORDER BY phone")
    assert states == [(A, "verified", 1), (B, "ok", 0)]


def test_unwritable_ledger_is_refused_with_file_and_reason(sqlite: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sqlite.path
    path.touch()
    monkeypatch.setattr(os, "access", lambda path_argument, _, **__: Path(path_argument) != path)
    with pytest.raises(LedgerError, match=rf"the ledger {re.escape(str(path))} cannot be used \(Permission denied\)"):
        sqlite.probe()


async def test_planned_number_without_attempt_is_not_attempted(database: Database) -> None:
    """A planned number that the run did not reach is recorded as `not_attempted`, not as unchanged."""
    async with ledger(database) as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        await account_ledger.record_plan(plan_writes(A, B), "f")
        attempted = account_result(plan_writes(A), Outcome.CHANGED)
        unattempted = account_result(plan_writes(B), Outcome.NOT_ATTEMPTED, attempts=0)
        await account_ledger.finish(replace(attempted, numbers=(*attempted.numbers, *unattempted.numbers)), {})
    assert rows(database, "SELECT phone, outcome FROM outcomes ORDER BY phone") == [
        (A, "changed"),
        (B, "not_attempted"),
    ]


async def test_crashed_run_is_counted_by_outcome(database: Database) -> None:
    """The next run closes the entry of a crashed run and counts its numbers by outcome."""
    async with ledger(database, run_id="dead") as dead, dead.lease(subject(), never_wait) as account_ledger:
        await account_ledger.record_plan(plan_writes(A, B), "f")
        await account_ledger.intend([(A, 1, Status.INACTIVE)])
    async with ledger(database, run_id="next") as following, following.lease(subject(), never_wait) as account_ledger:
        await account_ledger.resume(observed_account(**{f"n{A}": "INACTIVE", f"n{B}": "ACTIVE"}))
    ((counts,),) = rows(database, "SELECT counts FROM entries")
    assert json.loads(counts) == {"changed": 1, "not_attempted": 1}


async def test_responses_of_accounts_that_finish_together_are_recorded(database: Database) -> None:
    """Two accounts that finish together share a transaction without losing responses."""
    async with ledger(database) as run_ledger:
        first_subject, second_subject = subject("vendor 1"), subject("vendor 2")
        async with (
            run_ledger.lease(first_subject, never_wait) as first,
            run_ledger.lease(second_subject, never_wait) as second,
        ):
            for account_ledger in (first, second):
                await account_ledger.record_plan(plan_writes(A), "f")
                await account_ledger.intend([(A, 1, Status.INACTIVE)])
                account_ledger.record_response(A, 1, None)
            unverified = account_result(plan_writes(A), Outcome.UNVERIFIED, after=None)
            await asyncio.gather(first.finish(unverified, {}), second.finish(unverified, {}))
    assert rows(database, "SELECT state FROM attempts") == [("ok",), ("ok",)]
