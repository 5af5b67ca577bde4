"""The history of runs, read from ledgers that runs have written."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any, cast

import pytest

from tests.support.ledgers import clock, ledger, never_wait, rows
from worker.ledger import Database, SqliteFile, Subject, forget
from worker.ledger.database import Connection
from worker.ledger.history import HistoryQuery, find_run_ids, history, run_record
from worker.model.accounts import Status
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import Ambiguous, ErrorInfo, LedgerError, NotRegistered, NumberError
from worker.model.history import AttemptState, Ending, History, RunRecord
from worker.model.messages import Message, PhoneNumber
from worker.model.plans import AccountPlan, Action, Change
from worker.model.results import AccountResult, NumberResult, Outcome, Requests, RunOutcome
from worker.model.safety import Safety

A, B, C = "01000000001", "01000000002", "0223456789"
CREDENTIALS = CredentialsRef(SecretRef(env="KEY"), SecretRef(file="/run/secret"))


def _subject(account: str, **overrides: Any) -> Subject:
    defaults: dict[str, Any] = {
        "key": f"vendor {account}",
        "account": account,
        "account_id": account.upper(),
        "endpoint": "solapi",
        "credentials": None,
        "safety": Safety(),
        "source": f"{account}.yaml",
    }
    return Subject(**defaults | overrides)


def _plan(account: str, *phones: str) -> AccountPlan:
    changes = tuple(Change(phone, Action.ACTIVATE, "INACTIVE", "ACTIVE", "") for phone in phones)
    return AccountPlan(account=account, counts={Action.ACTIVATE: len(phones)}, changes=changes)


def _result(account: str, outcome: RunOutcome = RunOutcome.CONVERGED, **phones: Outcome) -> AccountResult:
    numbers = tuple(
        NumberResult(phone[1:], Action.ACTIVATE, "ACTIVE", "INACTIVE", "ACTIVE", result, 1, duration_ms=7)
        for phone, result in phones.items()
    )
    counts = {kind: list(phones.values()).count(kind) for kind in Outcome}
    return AccountResult(account=account, outcome=outcome, counts=counts, requests=Requests(2, 1), numbers=numbers)


async def _run(
    database: Database,
    run_id: str,
    *results: AccountResult,
    outcome: RunOutcome | None = RunOutcome.CONVERGED,
    now: Callable[[], str] | None = None,
    **subject: Any,
) -> None:
    """Record a run with one attempt for each number of each result."""
    now = now or clock()
    async with ledger(database, run_id=run_id, now=now) as run_ledger:
        for result in results:
            async with run_ledger.lease(_subject(result.account, **subject), never_wait) as account_ledger:
                phones = [number.phone for number in result.numbers]
                await account_ledger.record_plan(_plan(result.account, *phones), "f" * 64)
                await account_ledger.intend([(phone, 1, Status.ACTIVE) for phone in phones])
                await account_ledger.finish(result, {})
        if outcome is not None:
            await run_ledger.finish(outcome)


def _read_back(database: Database, **query: Any) -> History:
    with database.read() as connection:
        assert connection is not None
        return history(connection, HistoryQuery(**query))


def _run_record(database: Database, run: str, **query: Any) -> RunRecord:
    with database.read() as connection:
        assert connection is not None
        return run_record(connection, run, **query)


def _ids(database: Database, **query: Any) -> list[str]:
    return [run.run_id for run in _read_back(database, **query).runs]


def _set_run_times(database: Database, **moments: str) -> None:
    """Set the start and end times of runs."""
    with closing(database.connect(program="0", now=clock())) as connection:
        for run, moment in moments.items():
            connection.execute(
                "UPDATE runs SET started_at = ?1, finished_at = ?1 WHERE id = ?2", (moment, run.replace("_", "-"))
            )


async def test_run_is_read_back_in_full(database: Database) -> None:
    """Revision, references, counts, numbers and attempts are read back."""
    result = _result("main", RunOutcome.PARTIAL, n01000000001=Outcome.CHANGED, n01000000002=Outcome.FAILED)
    changed, failed = result.numbers
    error = NumberError("InvalidSenderId", "not registered", 400)
    failed = NumberResult(B, Action.ACTIVATE, "ACTIVE", "INACTIVE", "INACTIVE", Outcome.FAILED, 2, error, 9)
    async with ledger(database) as run_ledger:
        subject = _subject("main", credentials=CREDENTIALS, sha256="ab", commit="cd")
        async with run_ledger.lease(subject, never_wait) as account_ledger:
            await account_ledger.record_plan(_plan("main", A, B), "f" * 64)
            await account_ledger.intend([(A, 1, Status.ACTIVE), (B, 1, Status.ACTIVE), (B, 2, Status.ACTIVE)])
            account_ledger.record_response(A, 1, None)
            account_ledger.record_response(B, 1, Ambiguous("the connection broke"))
            account_ledger.record_response(
                B, 2, NotRegistered("not registered", http_status=400, api_code="InvalidSenderId")
            )
            account_result = AccountResult(
                account="main",
                outcome=RunOutcome.PARTIAL,
                error=ErrorInfo("DeadlineExceeded", "the time was up"),
                counts=result.counts,
                requests=Requests(2, 3, 1),
                numbers=(changed, failed),
            )
            await account_ledger.finish(account_result, {})
        await run_ledger.finish(RunOutcome.PARTIAL)

    run = _run_record(database, "run-1")
    (account,) = run.accounts
    assert (run.outcome, run.command, run.started_by, run.host, run.pid) == (Ending.PARTIAL, "apply", "ann", "box", 7)
    assert (run.settings, run.counts) == ({}, {"changed": 1, "failed": 1})
    assert (account.account, account.account_id, account.source) == ("main", "MAIN", "main.yaml")
    assert (account.sha256, account.commit, account.fingerprint) == ("ab", "cd", "f" * 64)
    assert (account.credentials, account.safety, account.endpoint) == (CREDENTIALS, Safety(), "solapi")
    assert (account.outcome, account.error) == (Ending.PARTIAL, account_result.error)
    assert (account.requests, account.settled) == (Requests(2, 3, 1), True)
    first, second = account.numbers or ()
    assert (first.phone, first.before, first.after, first.outcome) == (A, "INACTIVE", "ACTIVE", Outcome.CHANGED)
    assert (first.action, first.desired, first.duration_ms, first.error) == (Action.ACTIVATE, "ACTIVE", 7, None)
    assert [(attempt.number, attempt.state, attempt.error) for attempt in second.attempts] == [
        (1, AttemptState.LOST, NumberError("Ambiguous", "the connection broke")),
        (2, AttemptState.REJECTED, error),
    ]
    assert (second.error, second.attempts[0].asked) == (error, "ACTIVE")
    assert second.attempts[1].answered_at is not None


async def test_run_record_is_filtered_by_account_and_number(database: Database) -> None:
    """An unknown run raises KeyError."""
    await _run(
        database, "run-1", _result("main", n01000000001=Outcome.CHANGED, n01000000002=Outcome.CHANGED), _result("b")
    )
    assert [account.account for account in _run_record(database, "run-1").accounts] == ["main", "b"]
    (account,) = _run_record(database, "run-1", account="main", phone=B).accounts
    assert [number.phone for number in account.numbers or ()] == [B]
    with pytest.raises(KeyError):
        _run_record(database, "run-2")


async def test_run_list_is_newest_first_without_details(database: Database) -> None:
    """Runs are listed without numbers and settings. Runs beyond the limit count only in the total."""
    for run in ("run-1", "run-2", "run-3"):
        await _run(database, run, _result("main", n01000000001=Outcome.CHANGED))
    _set_run_times(
        database, run_2="2026-11-25T00:00:00.000Z", run_1="2026-11-24T00:00:00.000Z", run_3="2026-11-23T00:00:00.000Z"
    )
    document = _read_back(database)
    assert [run.run_id for run in document.runs] == ["run-2", "run-1", "run-3"]
    assert [(run.settings, run.accounts[0].numbers) for run in document.runs] == [(None, None)] * 3
    document = _read_back(database, limit=2)
    assert (document.total, [run.run_id for run in document.runs]) == (3, ["run-2", "run-1"])
    assert _ids(database, since="2026-11-24T00:00:00.000Z") == ["run-2", "run-1"]


async def test_run_list_is_filtered_by_account_number_and_outcome(database: Database) -> None:
    """All filters must match the same account of a run."""
    await _run(
        database,
        "run-1",
        _result("main", n01000000001=Outcome.CHANGED),
        _result("other", RunOutcome.PARTIAL, n01000000002=Outcome.FAILED),
        outcome=RunOutcome.PARTIAL,
    )
    await _run(database, "run-2", _result("main", n01000000002=Outcome.CHANGED))
    await _run(database, "run-3")
    _set_run_times(
        database,
        run_1="2026-11-24T00:00:01.000Z",
        run_2="2026-11-24T00:00:02.000Z",
        run_3="2026-11-24T00:00:03.000Z",
    )
    assert _ids(database) == ["run-3", "run-2", "run-1"]
    assert _ids(database, account="main") == ["run-2", "run-1"]
    assert _ids(database, account="other") == ["run-1"]
    assert _ids(database, outcome=Ending.CONVERGED) == ["run-3", "run-2"]
    assert _ids(database, outcome=Ending.PARTIAL) == ["run-1"]
    assert len(_read_back(database, outcome=Ending.PARTIAL).runs[0].accounts) == 2
    assert _ids(database, account="main", outcome=Ending.CONVERGED) == ["run-2", "run-1"]
    assert _ids(database, account="other", outcome=Ending.CONVERGED) == []
    assert _ids(database, account="main", phone=B) == ["run-2"]
    assert _ids(database, phone=B, outcome=Ending.CONVERGED) == ["run-2"]
    assert [account.account for account in _read_back(database, account="other").runs[0].accounts] == ["other"]
    assert _read_back(database, account="other").runs[0].counts == {"failed": 1}


async def test_number_filter_returns_only_that_number(database: Database) -> None:
    """Each run that handled the number is listed, on any account."""
    await _run(database, "run-1", _result("main", n01000000001=Outcome.CHANGED, n01000000002=Outcome.FAILED))
    await _run(database, "run-2", _result("main", n0223456789=Outcome.CHANGED))
    await _run(database, "run-3", _result("other", n01000000002=Outcome.CHANGED))
    document = _read_back(database, phone=B)
    outcomes = {
        run.run_id: [(number.phone, number.outcome) for account in run.accounts for number in account.numbers or ()]
        for run in document.runs
    }
    assert outcomes == {"run-1": [(B, Outcome.FAILED)], "run-3": [(B, Outcome.CHANGED)]}
    assert _read_back(database, phone="0211").total == 0


async def test_run_without_an_end_is_unfinished(database: Database) -> None:
    """A run that is in progress or has crashed has no outcome yet; neither have its account and numbers."""
    async with ledger(database) as run_ledger, run_ledger.lease(_subject("main"), never_wait) as account_ledger:
        await account_ledger.record_plan(_plan("main", A), "f")
        await account_ledger.intend([(A, 1, Status.ACTIVE)])
        (run,) = _read_back(database, outcome=Ending.UNFINISHED).runs
        assert (run.outcome, run.finished_at, run.counts) == (Ending.UNFINISHED, None, {"activate": 1})
        (account,) = _run_record(database, "run-1").accounts
        (number,) = account.numbers or ()
        assert (account.outcome, account.settled, number.outcome) == (Ending.UNFINISHED, False, None)
        assert [attempt.state for attempt in number.attempts] == [AttemptState.INTENT]
        assert _ids(database, account="main", outcome=Ending.UNFINISHED) == ["run-1"]
        assert _ids(database, outcome=Ending.CONVERGED) == []


async def test_runs_are_found_by_id_prefix(database: Database) -> None:
    """An exact id wins over longer ids with the same prefix. Wildcards are not expanded."""
    for run in ("run-1", "run-10", "run-2"):
        await _run(database, run)
    with database.read() as connection:
        assert connection is not None
        assert find_run_ids(connection, "run-1", 9) == ("run-1",)
        assert find_run_ids(connection, "run-10", 9) == ("run-10",)
        assert set(find_run_ids(connection, "run-", 9)) == {"run-1", "run-10", "run-2"}
        assert len(find_run_ids(connection, "", 2)) == 2
        assert find_run_ids(connection, "%", 9) == find_run_ids(connection, "run_1", 9) == ()


async def test_prune_keeps_open_runs_and_written_statuses(sqlite: SqliteFile) -> None:
    """Runs that ended before the time are deleted with all their rows, and the file shrinks."""
    phones = {f"n010{n:08}": Outcome.CHANGED for n in range(3_000)}
    await _run(sqlite, "run-1", _result("main", RunOutcome.CONVERGED, **phones))
    await _run(sqlite, "run-2", _result("main", n01000000001=Outcome.UNVERIFIED))
    await _run(sqlite, "run-3")
    _set_run_times(
        sqlite, **dict.fromkeys(("run_1", "run_2"), "2026-01-01T00:00:00.000Z"), run_3="2026-06-01T00:00:00.000Z"
    )
    path = sqlite.path
    before = path.stat().st_size
    assert forget(sqlite, "2026-06-01T00:00:00.000Z", program="0", now=clock()) == 1
    assert set(_ids(sqlite)) == {"run-2", "run-3"}
    assert path.stat().st_size < before / 2
    counts = "SELECT count(*) FROM outcomes UNION ALL SELECT count(*) FROM written"
    assert rows(sqlite, counts) == [(1,), (3_000,)]


def test_prune_does_not_create_a_ledger(sqlite: SqliteFile) -> None:
    """A missing ledger stays missing, and a file that is not a ledger is refused."""
    path = sqlite.path
    assert forget(sqlite, "2026-06-01T00:00:00.000Z", program="0", now=clock()) == 0
    assert not path.exists()
    path.write_bytes(b"something else")
    with pytest.raises(LedgerError, match=r"ledger\.path"):
        forget(sqlite, "2026-06-01T00:00:00.000Z", program="0", now=clock())


async def test_failed_prune_is_an_error(sqlite: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full, a LedgerError names the cause, and nothing is deleted."""
    await _run(sqlite, "run-1")

    def full(*_: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("worker.ledger.retention.prune", full)
    with pytest.raises(LedgerError, match="disk is full"):
        forget(sqlite, "2030", program="0", now=clock())
    assert _ids(sqlite) == ["run-1"]


class _PruningConnection:
    """A connection during whose first query of accounts another process deletes all runs."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self._connection = connection
        self._database = database
        self.pruned: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        """Execute a statement."""
        if "json_each" in sql and not self.pruned:
            self.pruned.append(forget(self._database, "2030", program="0", now=clock()))
        return self._connection.execute(sql, *parameters)


async def test_history_is_read_from_one_snapshot(database: Database) -> None:
    """Rows deleted while the history is read are still part of it."""
    await _run(database, "run-1", _result("main", n01000000001=Outcome.CHANGED))
    with database.read() as connection:
        assert connection is not None
        pruning = _PruningConnection(connection, database)
        document = history(cast("Connection", pruning), HistoryQuery())
    assert pruning.pruned == [1]
    assert [account.account for run in document.runs for account in run.accounts] == ["main"]


async def test_errors_keep_the_parameters_of_their_messages(database: Database) -> None:
    message = Message("{phone} was refused: {reason}", phone=PhoneNumber(A), reason="a\udcff {b}")
    readable = "01000000001 was refused: a\ufffd {b}"
    failed = NumberResult(A, Action.ACTIVATE, "ACTIVE", None, None, Outcome.FAILED, 1, NumberError("Odd", message, 400))
    untranslated = NumberResult(
        B, Action.ACTIVATE, "ACTIVE", None, None, Outcome.FAILED, 1, NumberError("Odd", "foreign")
    )
    result = AccountResult(
        account="main",
        outcome=RunOutcome.FAILED,
        error=ErrorInfo("Odd", message),
        counts={},
        numbers=(failed, untranslated),
    )
    async with ledger(database) as run_ledger, run_ledger.lease(_subject("main"), never_wait) as account_ledger:
        await account_ledger.record_plan(_plan("main", A, B), "f" * 64)
        await account_ledger.intend([(A, 1, Status.ACTIVE), (B, 1, Status.ACTIVE)])
        account_ledger.record_response(A, 1, NotRegistered(message))
        account_ledger.record_response(B, 1, NotRegistered("foreign"))
        await account_ledger.finish(result, {})
    account = _run_record(database, "run-1").accounts[0]
    first, second = account.numbers or ()
    for error in (account.error, first.error, first.attempts[0].error):
        assert error is not None
        assert error.message == readable
        assert isinstance(error.message, Message)
        assert error.message.template == message.template
        assert isinstance(error.message.parameters["phone"], PhoneNumber)
    assert second.error == NumberError("Odd", "foreign")
    assert not isinstance(second.error.message, Message)
    assert rows(database, "SELECT error_message FROM outcomes ORDER BY phone") == [(readable,), ("foreign",)]
