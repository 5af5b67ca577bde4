"""The ledger as runs use it: entries, states, endings, concurrent runs on one file, and recovery after a crash."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing

import msgspec
import pytest

from tests.support.ledgers import (
    account_result,
    clock,
    ledger,
    never_wait,
    observed_account,
    plan_writes,
    rows,
    subject,
)
from worker.ledger import Database, Ledger, SqliteFile, memory_reader
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


def _empty_result(outcome: RunOutcome = RunOutcome.CONVERGED) -> AccountResult:
    return AccountResult(account="main", account_id="1", outcome=outcome, counts={})


async def test_complete_run_is_recorded(database: Database) -> None:
    """The run, its account, its request and its number are recorded with all their fields."""
    async with ledger(database) as run_ledger:
        async with run_ledger.lease(subject(sha256="f00", commit="c0ffee-dirty"), never_wait) as account_ledger:
            assert await account_ledger.resume(observed_account(n0100001=ON)) == AccountMemory()
            await account_ledger.record_plan(plan_writes(A), "print")
            await account_ledger.intend([(A, 1, OFF)])
            assert rows(database, "SELECT phone, number, asked, state FROM attempts") == [(A, 1, OFF, "intent")]
            account_ledger.record_response(A, 1, None)
            await account_ledger.finish(account_result(plan_writes(A), Outcome.CHANGED), {})
        await run_ledger.finish(RunOutcome.CONVERGED)
    assert rows(database, "SELECT id, command, started_by, host, pid, outcome FROM runs") == [
        ("run-1", "apply", "ann", "box", 7, "converged")
    ]
    assert rows(database, "SELECT key, account, sha256, revision, fingerprint, outcome, settled FROM entries") == [
        ("vendor 1", "main", "f00", "c0ffee-dirty", "print", "converged", 1)
    ]
    assert rows(database, "SELECT state FROM attempts") == [(AttemptState.VERIFIED,)]
    assert rows(database, "SELECT phone, before, after, outcome FROM outcomes") == [(A, ON, OFF, "changed")]
    assert await memory_reader(database)("vendor 1") == AccountMemory({A: OFF}, registered=1, names=NAMES)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, AttemptState.OK),
        (NotRegistered("gone", http_status=400, api_code="InvalidSenderId"), AttemptState.REJECTED),
        (RateLimited("slower"), AttemptState.REJECTED),
        (SignatureReused("again", http_status=403), AttemptState.REJECTED),
        (ConnectionFailed("refused"), AttemptState.REJECTED),
        (AccountRejected("key", http_status=403), AttemptState.REJECTED),
        (AccountRejected("the response is of another account"), AttemptState.AMBIGUOUS),
        (Ambiguous("reset"), AttemptState.AMBIGUOUS),
        (Ambiguous("html", http_status=502), AttemptState.AMBIGUOUS),
    ],
)
async def test_response_determines_the_attempt_state(
    database: Database, error: ApiError | None, state: AttemptState
) -> None:
    """Accepted, rejected and ambiguous requests are distinguished, each with its status and text."""
    async with ledger(database) as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        await account_ledger.record_plan(plan_writes(A, B), "")
        await account_ledger.intend([(A, 1, OFF), (B, 1, OFF)])
        account_ledger.record_response(A, 1, error)
    error_fields = (None, None, None) if error is None else (error.http_status, error.code, str(error))
    assert rows(database, "SELECT state, http_status, error_code, error_message FROM attempts ORDER BY phone") == [
        (state, *error_fields),
        ("intent", None, None, None),
    ]


@pytest.mark.parametrize("text", ["a\0b", "\udcff", "발신번호 😀", "x" * 500])
async def test_unusual_text_of_a_response_is_stored(database: Database, text: str) -> None:
    """Requests of the same transaction are sent, and the text is stored with replacement characters."""
    async with ledger(database) as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        await account_ledger.record_plan(plan_writes(A, B), "")
        await account_ledger.intend([(A, 1, OFF)])
        account_ledger.record_response(A, 1, NotRegistered(text, http_status=400, api_code=text))
        await account_ledger.finish(account_result(plan_writes(A), Outcome.FAILED), {})
    stored = text.replace("\0", "\ufffd").replace("\udcff", "\ufffd")
    assert rows(database, "SELECT error_code, error_message FROM attempts WHERE phone = ?", A) == [(stored, stored)]


async def test_account_in_sync_has_no_entry(database: Database) -> None:
    """An account in sync without new information has no entry; any other account has one."""
    async with ledger(database) as run_ledger:
        await run_ledger.record(subject(), _empty_result(), {})
        assert rows(database, "SELECT id FROM entries") == []
        await run_ledger.record(subject("vendor 1"), _empty_result(), {A: OFF})
        await run_ledger.record(subject("vendor 2"), _empty_result(RunOutcome.REFUSED), {})
        await run_ledger.record(subject("vendor 3"), account_result(plan_writes(B), Outcome.NOT_ATTEMPTED), {})
        await run_ledger.finish(RunOutcome.REFUSED)
    assert rows(database, "SELECT key, outcome, settled FROM entries") == [
        ("vendor 1", "converged", 1),
        ("vendor 2", "refused", 1),
        ("vendor 3", "partial", 1),
    ]
    # an account that was not started has only counts
    assert rows(database, "SELECT phone FROM outcomes") == []
    recall = memory_reader(database)
    known, unknown = await asyncio.gather(recall("vendor 1"), recall("vendor 4"))
    assert (known, unknown) == (AccountMemory({A: OFF}, names=NAMES), AccountMemory())


async def test_memory_has_the_latest_credentials_of_each_account_name(database: Database) -> None:
    """Rotated credentials replace the earlier ones; another name of the same account keeps its own."""
    old, new = (CredentialsRef(SecretRef(env=name), SecretRef(env=name)) for name in ("OLD", "NEW"))
    async with ledger(database) as run_ledger:
        for name, credentials in (("main", old), ("main", new), ("branch", None)):
            account = subject(account=name, credentials=credentials)
            await run_ledger.record(account, account_result(plan_writes(A), Outcome.NOT_ATTEMPTED), {})
    assert (await memory_reader(database)("vendor 1")).names == {"main": new, "branch": None}


async def test_completed_plan_ends_the_count_of_deactivations(database: Database) -> None:
    """A run that only closes the entry of a crashed run is recorded, so that the next plan has its full allowance."""
    async with ledger(database, run_id="dead") as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        await account_ledger.record_plan(plan_writes(A), "")
        await account_ledger.intend([(A, 1, OFF)])
    async with ledger(database, run_id="next") as run_ledger:
        async with run_ledger.lease(subject(), never_wait) as account_ledger:
            assert await account_ledger.resume(observed_account(n0100001=OFF)) == AccountMemory(
                {A: OFF}, frozenset({A}), names=NAMES
            )
            await account_ledger.finish(_empty_result(), {})
        await run_ledger.finish(RunOutcome.CONVERGED)
    assert rows(database, "SELECT run, outcome FROM entries") == [("dead", "crashed"), ("next", "converged")]
    assert await memory_reader(database)("vendor 1") == AccountMemory({A: OFF}, registered=1, names=NAMES)


async def test_run_without_an_end_is_recorded_as_failed(database: Database) -> None:
    """A run that exits by an error, or without an end, has failed. Its last responses are recorded."""

    async def run_and_fail(run_id: str, *, finish: bool) -> None:
        async with (
            ledger(database, run_id=run_id) as run_ledger,
            run_ledger.lease(subject(), never_wait) as account_ledger,
        ):
            await account_ledger.record_plan(plan_writes(A), "")
            await account_ledger.intend([(A, 1, OFF)])
            account_ledger.record_response(A, 1, None)
            if finish:
                await run_ledger.finish(RunOutcome.PARTIAL)
            raise ZeroDivisionError

    for run_id in ("failed", "stopped"):
        with pytest.raises(ZeroDivisionError):
            await run_and_fail(run_id, finish=run_id == "stopped")
    async with ledger(database, run_id="silent"):
        pass
    assert rows(database, "SELECT id, outcome FROM runs ORDER BY id") == [
        ("failed", "failed"),
        ("silent", "failed"),
        ("stopped", "partial"),
    ]
    assert rows(database, "SELECT state FROM attempts") == [(AttemptState.OK,)] * 2


async def test_two_runs_share_a_ledger(database: Database) -> None:
    """Runs on different accounts write concurrently, each with its own rows, without waiting for each other."""
    async with ledger(database, run_id="one") as run_account, ledger(database, run_id="two") as two:

        async def scenario(run_ledger: Ledger, key: str) -> None:
            async with run_ledger.lease(subject(key), never_wait) as account_ledger:
                phones = [f"010{n:08}" for n in range(50)]
                await account_ledger.record_plan(plan_writes(*phones), "")
                for number in range(1, 4):
                    await account_ledger.intend([(phone, number, OFF) for phone in phones])
                    for phone in phones:
                        account_ledger.record_response(phone, number, Ambiguous("again") if number < 3 else None)
                await account_ledger.finish(account_result(plan_writes(*phones), Outcome.CHANGED, attempts=3), {})
            await run_ledger.finish(RunOutcome.CONVERGED)

        await asyncio.gather(scenario(run_account, "vendor 1"), scenario(two, "vendor 2"))
    assert rows(
        database,
        "SELECT key, run, count(*) FROM entries JOIN attempts ON entry = entries.id GROUP BY key, run ORDER BY key",
    ) == [
        ("vendor 1", "one", 150),
        ("vendor 2", "two", 150),
    ]
    assert rows(database, "SELECT DISTINCT number, state FROM attempts ORDER BY number") == [
        (1, AttemptState.LOST),
        (2, AttemptState.LOST),
        (3, AttemptState.VERIFIED),
    ]


async def test_fleet_shares_one_run(sqlite: SqliteFile) -> None:
    """Two hundred accounts in one run are two hundred entries, in far fewer transactions than rows."""
    commits: list[str] = []
    async with ledger(sqlite) as run_ledger:
        connection = run_ledger._connection
        assert isinstance(connection, sqlite3.Connection)
        connection.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)

        async def run_account(number: int) -> None:
            async with run_ledger.lease(subject(f"vendor {number}"), never_wait) as account_ledger:
                await account_ledger.resume(observed_account(n0100001=ON))
                await account_ledger.record_plan(plan_writes(A), "")
                await account_ledger.intend([(A, 1, OFF)])
                account_ledger.record_response(A, 1, None)
                await account_ledger.finish(account_result(plan_writes(A), Outcome.CHANGED), {})

        await asyncio.gather(*map(run_account, range(200)))
        connection.set_trace_callback(None)
        await run_ledger.finish(RunOutcome.CONVERGED)
    assert rows(sqlite, "SELECT count(*), sum(settled), count(DISTINCT key) FROM entries") == [(200, 200, 200)]
    assert len(commits) < 40
    assert rows(sqlite, "SELECT count(*) FROM attempts WHERE state = 'verified'") == [(200,)]


def _fill_disk(run_ledger: Ledger) -> None:
    connection = run_ledger._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")


def _make_read_only(run_ledger: Ledger) -> None:
    assert run_ledger._connection is not None
    run_ledger._connection.execute("PRAGMA query_only = ON")


@pytest.mark.parametrize(("break_ledger", "reason"), [(_fill_disk, "full"), (_make_read_only, "readonly")])
async def test_failed_commit_refuses_every_later_request(
    sqlite: SqliteFile, break_ledger: Callable[[Ledger], None], reason: str
) -> None:
    """After the first failure every request, end of an entry and read is refused. Closing the ledger does not fail."""
    phones = [f"010{n:08}" for n in range(2000)]
    async with ledger(sqlite) as run_ledger, run_ledger.lease(subject(), never_wait) as account_ledger:
        await account_ledger.record_plan(plan_writes(*phones), "")
        break_ledger(run_ledger)
        results = await asyncio.gather(
            *(account_ledger.intend([(phone, 1, OFF)]) for phone in phones), return_exceptions=True
        )
        assert {type(result) for result in results} == {LedgerError}
        assert reason in str(results[0])
        for operation in (
            account_ledger.intend([(A, 1, OFF)]),
            account_ledger.finish(_empty_result(RunOutcome.FAILED), {}),
            run_ledger.recall("vendor 1"),
        ):
            with pytest.raises(LedgerError, match=reason):
                await operation
        with pytest.raises(LedgerError, match=reason):
            await run_ledger.finish(RunOutcome.FAILED)
    assert rows(sqlite, "SELECT count(*) FROM attempts") == [(0,)]


async def test_ledger_that_cannot_start_closes_its_connection(sqlite: SqliteFile) -> None:
    """A duplicate run id is an error, and the connection is closed."""
    async with ledger(sqlite):
        pass
    second = ledger(sqlite)
    with pytest.raises(LedgerError, match="UNIQUE"):
        await second.__aenter__()
    assert second._connection is not None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        second._connection.execute("SELECT 1")


async def test_run_end_trims_the_ledger(sqlite: SqliteFile) -> None:
    """A run that ends with the ledger over its limit deletes the oldest runs, never itself."""
    for number in range(4):
        async with ledger(sqlite, run_id=f"r{number}", max_bytes=1) as run_ledger:
            await run_ledger.record(subject(), account_result(plan_writes(A), Outcome.FAILED), {})
            await run_ledger.finish(RunOutcome.PARTIAL)
    assert rows(sqlite, "SELECT id, outcome FROM runs") == [("r3", "partial")]
    assert rows(sqlite, "SELECT run FROM entries") == [("r3",)]


async def test_failed_trim_does_not_fail_the_run(sqlite: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the run is recorded; a later run trims the file."""

    def full(*_: object, **__: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("worker.ledger.retention.trim", full)
    async with ledger(sqlite) as run_ledger:
        await run_ledger.finish(RunOutcome.CONVERGED)
    assert rows(sqlite, "SELECT outcome FROM runs") == [("converged",)]


async def test_memory_reader_checks_the_file_once(sqlite: SqliteFile) -> None:
    """A plan of many accounts checks the whole file once, and reads the memory of each account when asked."""
    async with ledger(sqlite) as run_ledger:
        recall = memory_reader(sqlite)
        assert await recall("vendor 1") == AccountMemory()
        await run_ledger.record(subject(), _empty_result(), {A: OFF})
        statements: list[str] = []
        connect = sqlite3.connect

        def traced(*args: object, **kwargs: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)  # type: ignore[call-overload]
            connection.set_trace_callback(statements.append)
            return connection

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", traced)
            assert await recall("vendor 1") == AccountMemory({A: OFF}, names=NAMES)
            assert await memory_reader(sqlite)("vendor 1") == AccountMemory({A: OFF}, names=NAMES)
    assert sum("quick_check" in statement for statement in statements) == 1


async def test_unreadable_memory_fails_its_account_only(database: Database) -> None:
    """Accounts that are read in the same query keep their memory."""
    async with ledger(database) as run_ledger:
        for key in ("vendor 1", "vendor 2"):
            await run_ledger.record(subject(key), _empty_result(), {A: OFF})
        await run_ledger.finish(RunOutcome.CONVERGED)
    with closing(database.connect(program="0", now=clock())) as connection:
        connection.execute("UPDATE entries SET credentials = 'broken' WHERE key = 'vendor 1'")
    recall = memory_reader(database)
    broken, memory = await asyncio.gather(recall("vendor 1"), recall("vendor 2"), return_exceptions=True)
    assert isinstance(broken, msgspec.DecodeError)
    assert memory == AccountMemory({A: OFF}, names=NAMES)


async def test_memory_reader_opens_the_file_once_for_accounts_of_a_moment(
    sqlite: SqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening the file for each account would take longer than everything else in a plan."""
    async with ledger(sqlite) as run_ledger:
        await run_ledger.finish(RunOutcome.CONVERGED)
    connect, opened = sqlite3.connect, []

    def counted(*args: object, **kwargs: object) -> sqlite3.Connection:
        opened.append(args)
        return connect(*args, **kwargs)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(sqlite3, "connect", counted)
    recall = memory_reader(sqlite)
    await asyncio.gather(*(recall(f"vendor {n}") for n in range(3)))
    assert len(opened) == 1


async def test_run_after_a_read_leaves_one_file(sqlite: SqliteFile) -> None:
    """A connection that only reads, closed last, would leave the write-ahead log behind: a copy would lack the run."""
    async with ledger(sqlite) as run_ledger:
        await run_ledger.finish(RunOutcome.CONVERGED)
    recall = memory_reader(SqliteFile(sqlite.path))
    await recall("vendor 1")
    async with ledger(sqlite, run_id="run-2") as run_ledger:
        await recall("vendor 1")
        await run_ledger.finish(RunOutcome.CONVERGED)
    assert [path.name for path in sqlite.path.parent.iterdir() if path.is_file()] == [sqlite.path.name]
