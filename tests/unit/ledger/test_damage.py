"""Ledgers with truncated or damaged files. Either a consistent state is read, or the ledger is refused."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.support.ledgers import account_result, clock, observed_account, plan_writes, run_info, subject
from worker.ledger import writes
from worker.ledger.schema import connect, connect_to_read
from worker.ledger.sqlite import SqliteFile
from worker.model.errors import LedgerError
from worker.model.results import Outcome

_CUTS = 250
_TABLES = ("migrations", "runs", "entries", "attempts", "outcomes", "written")
_PHONES = tuple(f"010{n:08}" for n in range(40))

Content = Mapping[str, Sequence[tuple[object, ...]]]


class _LedgerFiles(NamedTuple):
    """The bytes of a ledger and of its write-ahead log, its final content, and its content after each transaction."""

    file: bytes
    log: bytes
    content: Content
    snapshots: Sequence[Content]


def _content(connection: sqlite3.Connection) -> Content:
    return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in _TABLES}  # noqa: S608 - constant names


def _record_six_runs(connection: sqlite3.Connection) -> Iterator[None]:
    """Record six runs, every other one of which is killed. Yields after each transaction."""
    now = clock()
    for number in range(6):
        run = run_info(f"r{number}", started_at=now())
        writes.add_run(connection, run)
        yield
        plan = plan_writes(*_PHONES, desired=("INACTIVE", "ACTIVE")[number % 2])
        writes.settle(
            connection,
            "vendor 1",
            observed_account(**dict.fromkeys((f"n{phone}" for phone in _PHONES), "ACTIVE")).numbers,
            now(),
        )
        entry = writes.add_entry(connection, run.id, subject(), plan, fingerprint="f" * 64, now=now())
        yield
        for part in range(0, len(_PHONES), 10):
            desired = plan.changes[0].desired
            writes.intend(connection, [(entry, phone, 1, desired) for phone in _PHONES[part : part + 10]], now())
            yield
        if number % 2:
            writes.finish_entry(connection, entry, account_result(plan, Outcome.CHANGED), {}, now())
            yield
            writes.finish_run(connection, run.id, "converged", now())
            yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> _LedgerFiles:
    """Return a ledger of which one half is in its file and the other half in its log."""
    path = tmp_path_factory.mktemp("kept") / "ledger.db"
    snapshots = []
    with closing(connect(path, program="0", now=clock())) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        runs = _record_six_runs(connection)
        while True:
            connection.execute("BEGIN")
            has_next = next(runs, runs) is None
            connection.execute("COMMIT")
            snapshots.append(_content(connection))
            if len(snapshots) == 20:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if not has_next:
                break
        return _LedgerFiles(path.read_bytes(), path.with_name("ledger.db-wal").read_bytes(), snapshots[-1], snapshots)


def _truncation_offsets(length: int) -> list[int]:
    """Return the offsets to truncate at: around page boundaries, and random ones."""
    edges = [
        page + distance for page in range(0, length, 4096) for distance in (-1, 0, 1) if 0 <= page + distance < length
    ]
    chance = Random(length)
    return sorted({*chance.sample(edges, min(len(edges), 60)), *(chance.randrange(length) for _ in range(_CUTS))})


def _content_of(folder: Path, file: bytes, log: bytes | None, *, write: bool) -> Content | None:
    """Return the content of a ledger with these bytes, or None if it is missing or refused as unusable."""
    path = folder / "ledger.db"
    for leftover in folder.iterdir():
        leftover.unlink()
    path.write_bytes(file)
    if log is not None:
        path.with_name("ledger.db-wal").write_bytes(log)
    try:
        with SqliteFile(path).read() as connection:
            if connection is not None:
                writes.recall(connection, "vendor 1")
        connection = connect(path, program="0", now=clock()) if write else connect_to_read(path)
    except LedgerError as error:
        assert str(path) in str(error)  # noqa: PT017 - both results are valid
        return None
    if connection is None:
        return None
    with closing(connection):
        return _content(connection)


@pytest.mark.parametrize("write", [False, True])
def test_truncated_ledger_is_complete_or_refused(tmp_path: Path, files: _LedgerFiles, *, write: bool) -> None:
    """A truncated file without its log is refused; only an empty file is a new ledger."""
    folder = tmp_path / "a"
    folder.mkdir()
    path = folder / "ledger.db"
    path.write_bytes(files.file)
    path.with_name("ledger.db-wal").write_bytes(files.log)
    connect(path, program="0", now=clock()).close()
    complete = path.read_bytes()
    assert _content_of(folder, complete, None, write=write) == files.content
    for cut in _truncation_offsets(len(complete)):
        content = _content_of(folder, complete[:cut], None, write=write)
        assert content is None or (cut == 0 and content["runs"] == []), cut


@pytest.mark.slow
@pytest.mark.parametrize("write", [False, True])
def test_truncated_log_restores_an_earlier_state(tmp_path: Path, files: _LedgerFiles, *, write: bool) -> None:
    """Transactions are restored completely and in order, or not at all."""
    contents = [
        _content_of(tmp_path, files.file, files.log[:cut], write=write) for cut in _truncation_offsets(len(files.log))
    ]
    positions = [files.snapshots.index(content) for content in contents if content is not None]
    assert len(positions) == len(contents)
    assert positions == sorted(positions)
    assert len(set(positions)) > 10
    assert _content_of(tmp_path, files.file, files.log, write=write) == files.content


@pytest.mark.parametrize("write", [False, True])
def test_truncated_ledger_with_its_log_is_complete_or_refused(
    tmp_path: Path, files: _LedgerFiles, *, write: bool
) -> None:
    """If the log cannot restore the file, the ledger is refused."""
    for cut in _truncation_offsets(len(files.file)):
        assert _content_of(tmp_path, files.file[:cut], files.log, write=write) in (None, files.content), cut


def test_torn_page_is_restored_from_the_log(tmp_path: Path, files: _LedgerFiles) -> None:
    """A full disk during a checkpoint loses nothing."""
    path = tmp_path / "ledger.db"
    path.write_bytes(files.file)
    path.with_name("ledger.db-wal").write_bytes(files.log)
    connect(path, program="0", now=clock()).close()
    complete = path.read_bytes()
    assert len(complete) > len(files.file)
    for length in range(len(files.file) + 1, len(complete), 1000):
        assert _content_of(tmp_path, complete[:length], files.log, write=True) == files.content


def test_damaged_bytes_raise_only_ledger_errors(tmp_path: Path, files: _LedgerFiles) -> None:
    """Bytes changed anywhere in the file are read as values or raise LedgerError, never another error."""
    chance = Random(7)
    path = tmp_path / "ledger.db"
    refused = 0
    for _ in range(_CUTS):
        damaged = bytearray(files.file)
        offset = chance.randrange(len(damaged))
        damaged[offset : offset + chance.choice([1, 16, 512])] = chance.randbytes(chance.choice([1, 16, 512]))
        path.write_bytes(damaged)
        try:
            with SqliteFile(path).read() as connection:
                assert connection is not None
                _content(connection)
            connect(path, program="0", now=clock()).close()
        except LedgerError:
            refused += 1
    assert 20 < refused < _CUTS
