"""The ledger as runs use it: pages, states, endings, several runs on one file, and what is left after a death."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ledgers import became, ledger, never, planned, rows, seen, subject
from worker.ledger import Ledger, memory_reader
from worker.ledger.records import AttemptState
from worker.model.accounts import AccountMemory, Status
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    ConnectionFailed,
    LedgerError,
    NotRegistered,
    RateLimited,
    SignatureReused,
)
from worker.model.results import AccountResult, Outcome, RunOutcome

A, B = "0100001", "0100002"
NAMES = {"main": None}
ON, OFF = Status.ACTIVE, Status.INACTIVE


def _quiet(outcome: RunOutcome = RunOutcome.CONVERGED) -> AccountResult:
    return AccountResult(account="main", account_id="1", outcome=outcome, counts={})


async def test_a_run_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    """The run, its account, its request and its number are recorded with all their fields."""
    async with ledger(tmp_path) as book:
        async with book.hold(subject(sha256="f00", commit="c0ffee-dirty"), never) as page:
            assert await page.resume(seen(n0100001=ON)) == AccountMemory()
            await page.begin(planned(A), "print")
            await page.intend([(A, 1, OFF)])
            assert rows(tmp_path, "SELECT phone, number, asked, state FROM attempts") == [(A, 1, OFF, "intent")]
            page.record_answer(A, 1, None)
            await page.finish(became(planned(A), Outcome.CHANGED), {})
        await book.finish(RunOutcome.CONVERGED)
    assert rows(tmp_path, "SELECT id, command, started_by, host, pid, outcome FROM runs") == [
        ("run-1", "apply", "ann", "box", 7, "converged")
    ]
    assert rows(tmp_path, "SELECT key, account, sha256, revision, fingerprint, outcome, settled FROM entries") == [
        ("vendor 1", "main", "f00", "c0ffee-dirty", "print", "converged", 1)
    ]
    assert rows(tmp_path, "SELECT state FROM attempts") == [(AttemptState.VERIFIED,)]
    assert rows(tmp_path, "SELECT phone, before, after, outcome FROM outcomes") == [(A, ON, OFF, "changed")]
    assert memory_reader(tmp_path / "ledger.db")("vendor 1") == AccountMemory({A: OFF}, registered=1, names=NAMES)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, AttemptState.OK),
        (NotRegistered("gone", http_status=400, api_code="InvalidSenderId"), AttemptState.REJECTED),
        (RateLimited("slower"), AttemptState.REJECTED),
        (SignatureReused("again", http_status=403), AttemptState.REJECTED),
        (ConnectionFailed("refused"), AttemptState.REJECTED),
        (AccountRejected("key", http_status=403), AttemptState.REJECTED),
        (AccountRejected("the answer is of another account"), AttemptState.AMBIGUOUS),
        (Ambiguous("reset"), AttemptState.AMBIGUOUS),
        (Ambiguous("html", http_status=502), AttemptState.AMBIGUOUS),
    ],
)
async def test_an_answer_makes_a_request_what_it_says(
    tmp_path: Path, error: ApiError | None, state: AttemptState
) -> None:
    """Accepted, refused and ambiguous requests are distinguished, each with its status and text."""
    async with ledger(tmp_path) as book, book.hold(subject(), never) as page:
        await page.begin(planned(A, B), "")
        await page.intend([(A, 1, OFF), (B, 1, OFF)])
        page.record_answer(A, 1, error)
    error_fields = (None, None, None) if error is None else (error.http_status, error.code, str(error))
    assert rows(tmp_path, "SELECT state, http_status, error_code, error_message FROM attempts") == [
        (state, *error_fields),
        ("intent", None, None, None),
    ]


@pytest.mark.parametrize("text", ["a\0b", "\udcff", "발신번호 😀", "x" * 500])
async def test_odd_answers_harm_no_neighbour(tmp_path: Path, text: str) -> None:
    """Whatever the API says, the requests noted in the same transaction leave, and the words are kept."""
    async with ledger(tmp_path) as book, book.hold(subject(), never) as page:
        await page.begin(planned(A, B), "")
        await page.intend([(A, 1, OFF)])
        page.record_answer(A, 1, NotRegistered(text, http_status=400, api_code=text))
        await page.finish(became(planned(A), Outcome.FAILED), {})
    kept = text.replace("\0", "\ufffd").replace("\udcff", "\ufffd")
    assert rows(tmp_path, "SELECT error_code, error_message FROM attempts WHERE phone = ?", A) == [(kept, kept)]


async def test_an_account_in_sync_leaves_no_entry(tmp_path: Path) -> None:
    """A run that finds nothing to do is recorded without an entry; anything else has one."""
    async with ledger(tmp_path) as book:
        await book.record(subject(), _quiet(), {})
        assert rows(tmp_path, "SELECT id FROM entries") == []
        await book.record(subject("vendor 1"), _quiet(), {A: OFF})
        await book.record(subject("vendor 2"), _quiet(RunOutcome.REFUSED), {})
        await book.record(subject("vendor 3"), became(planned(B), Outcome.NOT_ATTEMPTED), {})
        await book.finish(RunOutcome.REFUSED)
    assert rows(tmp_path, "SELECT key, outcome, settled FROM entries") == [
        ("vendor 1", "converged", 1),
        ("vendor 2", "refused", 1),
        ("vendor 3", "partial", 1),
    ]
    # what was never begun is only counted
    assert rows(tmp_path, "SELECT phone FROM outcomes") == []
    assert memory_reader(tmp_path / "ledger.db")("vendor 1") == AccountMemory({A: OFF}, names=NAMES)


async def test_memory_has_each_name_of_an_account_with_its_latest_credentials(tmp_path: Path) -> None:
    """Rotated credentials replace the earlier ones; another name of the same account keeps its own."""
    old, new = (CredentialsRef(SecretRef(env=name), SecretRef(env=name)) for name in ("OLD", "NEW"))
    async with ledger(tmp_path) as book:
        for name, credentials in (("main", old), ("main", new), ("branch", None)):
            named = subject(account=name, credentials=credentials)
            await book.record(named, became(planned(A), Outcome.NOT_ATTEMPTED), {})
    assert memory_reader(tmp_path / "ledger.db")("vendor 1").names == {"main": new, "branch": None}


async def test_a_plan_that_is_done_is_over_although_nothing_is_left_to_send(tmp_path: Path) -> None:
    """A run that closes the last of what a dead run did is noted, so that the next plan has its whole allowance."""
    async with ledger(tmp_path, run_id="dead") as book, book.hold(subject(), never) as page:
        await page.begin(planned(A), "")
        await page.intend([(A, 1, OFF)])
    async with ledger(tmp_path, run_id="next") as book:
        async with book.hold(subject(), never) as page:
            assert await page.resume(seen(n0100001=OFF)) == AccountMemory({A: OFF}, frozenset({A}), names=NAMES)
            await page.finish(_quiet(), {})
        await book.finish(RunOutcome.CONVERGED)
    assert rows(tmp_path, "SELECT run, outcome FROM entries") == [("dead", "crashed"), ("next", "converged")]
    assert memory_reader(tmp_path / "ledger.db")("vendor 1") == AccountMemory({A: OFF}, registered=1, names=NAMES)


async def test_a_run_that_leaves_without_an_end_has_failed(tmp_path: Path) -> None:
    """By an error or without a word: that is noted as it leaves, and so are its last answers."""

    async def fail(run_id: str, *, ended: bool) -> None:
        async with ledger(tmp_path, run_id=run_id) as book, book.hold(subject(), never) as page:
            await page.begin(planned(A), "")
            await page.intend([(A, 1, OFF)])
            page.record_answer(A, 1, None)
            if ended:
                await book.finish(RunOutcome.PARTIAL)
            raise ZeroDivisionError

    for run_id in ("failed", "stopped"):
        with pytest.raises(ZeroDivisionError):
            await fail(run_id, ended=run_id == "stopped")
    async with ledger(tmp_path, run_id="silent"):
        pass
    assert rows(tmp_path, "SELECT id, outcome FROM runs ORDER BY id") == [
        ("failed", "failed"),
        ("silent", "failed"),
        ("stopped", "partial"),
    ]
    assert rows(tmp_path, "SELECT state FROM attempts") == [(AttemptState.OK,)] * 2


async def test_two_runs_share_a_file(tmp_path: Path) -> None:
    """Runs on different accounts write at once, each with its own rows, without waiting for each other."""
    async with ledger(tmp_path, run_id="one") as one, ledger(tmp_path, run_id="two") as two:

        async def scenario(book: Ledger, key: str) -> None:
            async with book.hold(subject(key), never) as page:
                phones = [f"010{n:08}" for n in range(50)]
                await page.begin(planned(*phones), "")
                for number in range(1, 4):
                    await page.intend([(phone, number, OFF) for phone in phones])
                    for phone in phones:
                        page.record_answer(phone, number, Ambiguous("again") if number < 3 else None)
                await page.finish(became(planned(*phones), Outcome.CHANGED, attempts=3), {})
            await book.finish(RunOutcome.CONVERGED)

        await asyncio.gather(scenario(one, "vendor 1"), scenario(two, "vendor 2"))
    assert rows(
        tmp_path, "SELECT key, run, count(*) FROM entries JOIN attempts ON entry = entries.id GROUP BY key"
    ) == [
        ("vendor 1", "one", 150),
        ("vendor 2", "two", 150),
    ]
    assert rows(tmp_path, "SELECT DISTINCT number, state FROM attempts ORDER BY number") == [
        (1, AttemptState.LOST),
        (2, AttemptState.LOST),
        (3, AttemptState.VERIFIED),
    ]


async def test_a_fleet_shares_a_run(tmp_path: Path) -> None:
    """Two hundred accounts in one run are two hundred entries, in far fewer transactions than rows."""
    commits: list[str] = []
    async with ledger(tmp_path) as book:
        assert book._connection is not None
        book._connection.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)

        async def one(number: int) -> None:
            async with book.hold(subject(f"vendor {number}"), never) as page:
                await page.resume(seen(n0100001=ON))
                await page.begin(planned(A), "")
                await page.intend([(A, 1, OFF)])
                page.record_answer(A, 1, None)
                await page.finish(became(planned(A), Outcome.CHANGED), {})

        await asyncio.gather(*map(one, range(200)))
        book._connection.set_trace_callback(None)
        await book.finish(RunOutcome.CONVERGED)
    assert rows(tmp_path, "SELECT count(*), sum(settled), count(DISTINCT key) FROM entries") == [(200, 200, 200)]
    assert len(commits) < 40
    assert rows(tmp_path, "SELECT count(*) FROM attempts WHERE state = 'verified'") == [(200,)]


def _no_room(book: Ledger) -> None:
    connection = book._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


def _unwritable(book: Ledger) -> None:
    assert book._connection is not None
    book._connection.execute("PRAGMA query_only = ON")


@pytest.mark.parametrize(("breaks", "reason"), [(_no_room, "full"), (_unwritable, "readonly")])
async def test_what_cannot_be_noted_is_not_done(tmp_path: Path, breaks: Callable[[Ledger], None], reason: str) -> None:
    """After the first failure every request, ending and account is refused, and leaving does not fail."""
    phones = [f"010{n:08}" for n in range(2000)]
    async with ledger(tmp_path) as book, book.hold(subject(), never) as page:
        await page.begin(planned(*phones), "")
        breaks(book)
        done = await asyncio.gather(*(page.intend([(phone, 1, OFF)]) for phone in phones), return_exceptions=True)
        assert {type(each) for each in done} == {LedgerError}
        assert reason in str(done[0])
        for again in (page.intend([(A, 1, OFF)]), page.finish(_quiet(RunOutcome.FAILED), {}), book.recall("vendor 1")):
            with pytest.raises(LedgerError, match=reason):
                await again
        with pytest.raises(LedgerError, match=reason):
            await book.finish(RunOutcome.FAILED)
    assert rows(tmp_path, "SELECT count(*) FROM attempts") == [(0,)]


async def test_a_ledger_that_cannot_begin_leaves_nothing_open(tmp_path: Path) -> None:
    """A run id that was used is an error, and no connection stays open."""
    async with ledger(tmp_path):
        pass
    second = ledger(tmp_path)
    with pytest.raises(LedgerError, match="UNIQUE"):
        await second.__aenter__()
    assert second._connection is not None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        second._connection.execute("SELECT 1")


async def test_the_end_forgets_what_is_too_much(tmp_path: Path) -> None:
    """A run that ends with the ledger over its bound forgets the oldest, and is itself there to be read."""
    for number in range(4):
        async with ledger(tmp_path, run_id=f"r{number}", most_bytes=1) as book:
            await book.record(subject(), became(planned(A), Outcome.FAILED), {})
            await book.finish(RunOutcome.PARTIAL)
    assert rows(tmp_path, "SELECT id, outcome FROM runs") == [("r3", "partial")]
    assert rows(tmp_path, "SELECT run FROM entries") == [("r3",)]


async def test_no_room_to_forget_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's end was noted; that the file is too large can wait for the next one."""

    def full(*_: object, **__: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("worker.ledger.retention.trim", full)
    async with ledger(tmp_path) as book:
        await book.finish(RunOutcome.CONVERGED)
    assert rows(tmp_path, "SELECT outcome FROM runs") == [("converged",)]


async def test_a_recollection_checks_the_file_once(tmp_path: Path) -> None:
    """A plan of many accounts reads the whole file to check it once, and what it remembers each time anew."""
    async with ledger(tmp_path) as book:
        recall = memory_reader(tmp_path / "ledger.db")
        assert recall("vendor 1") == AccountMemory()
        await book.record(subject(), _quiet(), {A: OFF})
        statements: list[str] = []
        connect = sqlite3.connect

        def traced(*given: object, **more: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*given, **more)  # type: ignore[call-overload]
            connection.set_trace_callback(statements.append)
            return connection

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", traced)
            assert recall("vendor 1") == AccountMemory({A: OFF}, names=NAMES)
            assert memory_reader(tmp_path / "ledger.db")("vendor 1") == AccountMemory({A: OFF}, names=NAMES)
    assert sum("quick_check" in statement for statement in statements) == 1
