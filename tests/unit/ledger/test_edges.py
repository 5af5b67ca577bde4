"""Edges of the ledger: nothing kept, nothing waited for, one thread, and every field read back unchanged."""

import asyncio
import json
import os
import re
import sqlite3
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.ledgers import became, ledger, never, planned, rows, seen, subject
from worker.ledger import NullLedger, probe
from worker.ledger.history import run_record
from worker.ledger.readonly import open_read_only
from worker.model.accounts import AccountMemory, Status
from worker.model.errors import AccountBusy, Ambiguous, LedgerError
from worker.model.history import AttemptState
from worker.model.results import Outcome, RunOutcome

A, B = "01000000001", "01000000002"
_TIME = re.compile(r"2026-11-24T00:00:\d\d\.000Z")


async def test_nothing_keeps_nothing_and_remembers_what_it_is_given() -> None:
    """A run without a ledger completes, and knows what the caller remembers for it."""
    memory = AccountMemory({A: Status.ACTIVE})
    ledger = NullLedger(lambda key: memory if key == "vendor 1" else AccountMemory())
    assert await ledger.recall("vendor 1") is memory
    assert await NullLedger().recall("vendor 1") == AccountMemory()
    async with ledger.hold(subject(), never) as page:
        assert page is ledger
        assert await page.resume(seen()) == AccountMemory()
        await page.begin(planned(A), "f")
        await page.intend([(A, 1, Status.INACTIVE)])
        page.record_answer(A, 1, None)
        await page.finish(became(planned(A), Outcome.CHANGED), {})
    await ledger.record(subject(), became(planned(A), Outcome.CHANGED), {})


async def test_a_ledger_waits_for_no_account_by_default(tmp_path: Path) -> None:
    """Without a time to wait an account that another run holds is busy at once."""
    asked: list[float] = []

    async def pause(seconds: float) -> bool:
        asked.append(seconds)
        return True

    async with (
        ledger(tmp_path) as first,
        ledger(tmp_path, run_id="run-2", clock=lambda: 0.0) as second,
        first.hold(subject(), never),
    ):
        with pytest.raises(AccountBusy):
            async with second.hold(subject(), pause):
                raise AssertionError("entered")
    assert asked == []


async def test_everything_is_committed_by_one_thread_that_says_whose_it_is(tmp_path: Path) -> None:
    """Transactions of a run come one after the other, off the loop, on a thread that a dump of them names."""
    threads: set[tuple[str, int]] = set()

    def note(_: sqlite3.Connection) -> None:
        threads.add((threading.current_thread().name, threading.get_ident()))

    async with ledger(tmp_path) as kept:
        for _ in range(5):
            await kept._commits.run(note)
    ((name, thread),) = threads
    assert name == "ledger_0"
    assert thread != threading.get_ident()


async def test_a_run_is_read_back_with_every_time_and_error(tmp_path: Path) -> None:
    """Start and end of a run, an account and an attempt, and each error, come back unchanged."""
    async with ledger(tmp_path) as kept:
        async with kept.hold(subject(), never) as page:
            await page.begin(planned(A, B), "f")
            await page.intend([(A, 1, Status.INACTIVE)])
            page.record_answer(A, 1, Ambiguous("no answer"))
            result = became(planned(A, B), Outcome.UNVERIFIED, after=None)
            await page.finish(result, {})
        await kept.finish(RunOutcome.PARTIAL)
    with open_read_only(tmp_path / "ledger.db") as connection:
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
    assert (attempt.state, attempt.error and attempt.error.message) == (AttemptState.AMBIGUOUS, "no answer")


async def test_acceptance_is_recorded_only_for_unverified_writes(tmp_path: Path) -> None:
    """The last answers of an account are recorded for numbers that no read has confirmed, and for no other."""
    async with ledger(tmp_path) as kept, kept.hold(subject(), never) as page:
        plan = planned(A, B)
        await page.begin(plan, "f")
        await page.intend([(A, 1, Status.INACTIVE), (B, 1, Status.INACTIVE)])
        page.record_answer(A, 1, None)
        page.record_answer(B, 1, None)
        changed = became(planned(A), Outcome.CHANGED).numbers
        unverified = became(planned(B), Outcome.UNVERIFIED, after=None).numbers
        whole = became(plan, Outcome.CHANGED)
        await page.finish(replace(whole, numbers=(*changed, *unverified)), {})
    states = rows(tmp_path, "SELECT phone, state, answered_at IS NULL FROM attempts ORDER BY phone")
    assert states == [(A, "verified", 1), (B, "ok", 0)]


def test_unwritable_ledger_is_refused_with_file_and_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.db"
    path.touch()
    monkeypatch.setattr(os, "access", lambda where, _, **__: Path(where) != path)
    with pytest.raises(LedgerError, match=rf"the ledger {re.escape(str(path))} cannot be used \(Permission denied\)"):
        probe(path)


async def test_a_number_that_was_planned_and_not_attempted_is_called_that(tmp_path: Path) -> None:
    """What a run had begun with and did not come to keeps a row that says so, and is never taken for unchanged."""
    async with ledger(tmp_path) as kept, kept.hold(subject(), never) as page:
        await page.begin(planned(A, B), "f")
        tried = became(planned(A), Outcome.CHANGED)
        left = became(planned(B), Outcome.NOT_ATTEMPTED, attempts=0)
        await page.finish(replace(tried, numbers=(*tried.numbers, *left.numbers)), {})
    assert rows(tmp_path, "SELECT phone, outcome FROM outcomes ORDER BY phone") == [
        (A, "changed"),
        (B, "not_attempted"),
    ]


async def test_a_run_that_died_is_counted_by_what_became_of_its_numbers(tmp_path: Path) -> None:
    """When the next run closes it, a dead run's account has its numbers by outcome, as any other has."""
    async with ledger(tmp_path, run_id="dead") as dead, dead.hold(subject(), never) as page:
        await page.begin(planned(A, B), "f")
        await page.intend([(A, 1, Status.INACTIVE)])
    async with ledger(tmp_path, run_id="next") as following, following.hold(subject(), never) as page:
        await page.resume(seen(**{f"n{A}": "INACTIVE", f"n{B}": "ACTIVE"}))
    ((counts,),) = rows(tmp_path, "SELECT counts FROM entries")
    assert json.loads(counts) == {"changed": 1, "not_attempted": 1}


async def test_answers_of_accounts_that_end_together_are_all_noted(tmp_path: Path) -> None:
    """Two accounts that end at one moment share a transaction, and neither takes the other's answers away."""
    async with ledger(tmp_path) as kept:
        one, two = subject("vendor 1"), subject("vendor 2")
        async with kept.hold(one, never) as first, kept.hold(two, never) as second:
            for page in (first, second):
                await page.begin(planned(A), "f")
                await page.intend([(A, 1, Status.INACTIVE)])
                page.record_answer(A, 1, None)
            unproven = became(planned(A), Outcome.UNVERIFIED, after=None)
            await asyncio.gather(first.finish(unproven, {}), second.finish(unproven, {}))
    assert rows(tmp_path, "SELECT state FROM attempts") == [("ok",), ("ok",)]
