"""A ledger that was cut off anywhere: it opens with what was true once, or says that it cannot; nothing in between."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.support.ledgers import became, clock, planned, seen, started, subject
from worker.ledger import memory_reader, writes
from worker.ledger.readonly import open_read_only
from worker.ledger.schema import connect, connect_to_read
from worker.model.errors import LedgerError
from worker.model.results import Outcome

_CUTS = 250
_TABLES = ("migrations", "runs", "entries", "attempts", "outcomes", "written")
_PHONES = tuple(f"010{n:08}" for n in range(40))

Content = Mapping[str, Sequence[tuple[object, ...]]]


class _Kept(NamedTuple):
    """A ledger's files, what it holds in the end, and what it held after each transaction."""

    file: bytes
    log: bytes
    whole: Content
    moments: Sequence[Content]


def _content(connection: sqlite3.Connection) -> Content:
    return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in _TABLES}  # noqa: S608 - ours


def _six_runs(connection: sqlite3.Connection) -> Iterator[None]:
    """Six runs, every other one of which is killed; a pause follows each transaction."""
    now = clock()
    for number in range(6):
        run = started(f"r{number}", started_at=now())
        writes.add_run(connection, run)
        yield
        plan = planned(*_PHONES, desired=("INACTIVE", "ACTIVE")[number % 2])
        writes.settle(
            connection, "vendor 1", seen(**dict.fromkeys((f"n{phone}" for phone in _PHONES), "ACTIVE")).numbers, now()
        )
        entry = writes.add_entry(connection, run.id, subject(), plan, fingerprint="f" * 64, now=now())
        yield
        for part in range(0, len(_PHONES), 10):
            asked = plan.changes[0].desired
            writes.intend(connection, [(entry, phone, 1, asked) for phone in _PHONES[part : part + 10]], now())
            yield
        if number % 2:
            writes.finish_entry(connection, entry, became(plan, Outcome.CHANGED), {}, now())
            yield
            writes.finish_run(connection, run.id, "converged", now())
            yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> _Kept:
    """A ledger half of which is in its file, and half in its log."""
    path = tmp_path_factory.mktemp("kept") / "ledger.db"
    moments = []
    with closing(connect(path, program="0", now=clock())) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        runs = _six_runs(connection)
        while True:
            connection.execute("BEGIN")
            going_on = next(runs, runs) is None
            connection.execute("COMMIT")
            moments.append(_content(connection))
            if len(moments) == 20:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if not going_on:
                break
        return _Kept(path.read_bytes(), path.with_name("ledger.db-wal").read_bytes(), moments[-1], moments)


def _cuts(length: int) -> list[int]:
    """Places to cut at: around each page's edge, and anywhere."""
    edges = [page + by for page in range(0, length, 4096) for by in (-1, 0, 1) if 0 <= page + by < length]
    chance = Random(length)
    return sorted({*chance.sample(edges, min(len(edges), 60)), *(chance.randrange(length) for _ in range(_CUTS))})


def _opened(folder: Path, file: bytes, log: bytes | None, *, write: bool) -> Content | None:
    """What a ledger of these bytes holds, None where it is said to be unusable or that there is none."""
    path = folder / "ledger.db"
    for old in folder.iterdir():
        old.unlink()
    path.write_bytes(file)
    if log is not None:
        path.with_name("ledger.db-wal").write_bytes(log)
    try:
        memory_reader(path)("vendor 1")
        connection = connect(path, program="0", now=clock()) if write else connect_to_read(path)
    except LedgerError as error:
        assert str(path) in str(error)  # noqa: PT017 - either is right
        return None
    if connection is None:
        return None
    with closing(connection):
        return _content(connection)


@pytest.mark.parametrize("write", [False, True])
def test_a_file_that_was_cut_is_whole_or_refused(tmp_path: Path, kept: _Kept, *, write: bool) -> None:
    """A ledger without its log that lost its end is refused; only an empty file is a new ledger."""
    folder = tmp_path / "a"
    folder.mkdir()
    path = folder / "ledger.db"
    path.write_bytes(kept.file)
    path.with_name("ledger.db-wal").write_bytes(kept.log)
    connect(path, program="0", now=clock()).close()
    whole = path.read_bytes()
    assert _opened(folder, whole, None, write=write) == kept.whole
    for cut in _cuts(len(whole)):
        found = _opened(folder, whole[:cut], None, write=write)
        assert found is None or (cut == 0 and found["runs"] == []), cut


@pytest.mark.slow
@pytest.mark.parametrize("write", [False, True])
def test_a_log_that_was_cut_gives_what_was_true_at_a_moment(tmp_path: Path, kept: _Kept, *, write: bool) -> None:
    """Each transaction is there or not there, in their order."""
    found = [_opened(tmp_path, kept.file, kept.log[:cut], write=write) for cut in _cuts(len(kept.log))]
    moments = [kept.moments.index(each) for each in found if each is not None]
    assert len(moments) == len(found)
    assert moments == sorted(moments)
    assert len(set(moments)) > 10
    assert _opened(tmp_path, kept.file, kept.log, write=write) == kept.whole


@pytest.mark.parametrize("write", [False, True])
def test_a_file_that_was_cut_beside_its_log_is_whole_or_refused(tmp_path: Path, kept: _Kept, *, write: bool) -> None:
    """Rows that the log cannot restore are missing; no row is half true."""
    for cut in _cuts(len(kept.file)):
        assert _opened(tmp_path, kept.file[:cut], kept.log, write=write) in (None, kept.whole), cut


def test_a_page_that_was_torn_is_brought_back_by_its_log(tmp_path: Path, kept: _Kept) -> None:
    """A disk that was full while the log was moved into the file loses nothing."""
    path = tmp_path / "ledger.db"
    path.write_bytes(kept.file)
    path.with_name("ledger.db-wal").write_bytes(kept.log)
    connect(path, program="0", now=clock()).close()
    whole = path.read_bytes()
    assert len(whole) > len(kept.file)
    for torn in range(len(kept.file) + 1, len(whole), 1000):
        assert _opened(tmp_path, whole[:torn], kept.log, write=True) == kept.whole


def test_garbage_is_an_answer_or_an_error_of_the_ledger(tmp_path: Path, kept: _Kept) -> None:
    """Bytes that were changed anywhere in the file end in a value, or in a LedgerError, never in another error."""
    chance = Random(7)
    path = tmp_path / "ledger.db"
    refused = 0
    for _ in range(_CUTS):
        damaged = bytearray(kept.file)
        where = chance.randrange(len(damaged))
        damaged[where : where + chance.choice([1, 16, 512])] = chance.randbytes(chance.choice([1, 16, 512]))
        path.write_bytes(damaged)
        try:
            with open_read_only(path) as connection:
                assert connection is not None
                _content(connection)
            connect(path, program="0", now=clock()).close()
        except LedgerError:
            refused += 1
    assert 20 < refused < _CUTS
