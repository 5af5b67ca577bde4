"""The file of the ledger: private, migrated completely or not at all, and unchanged if it is not a ledger."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from tests.support.ledgers import clock, run_info
from worker.ledger import SqliteFile, forget, history, schema, writes
from worker.ledger.schema import MIGRATIONS, connect, connect_to_read
from worker.model.errors import ErrorInfo, LedgerError

_NEXT_MIGRATION = "CREATE TABLE notes (run TEXT PRIMARY KEY, text TEXT); INSERT INTO notes SELECT id, 'kept' FROM runs;"
_APPLICATION = 0x53454E44


def _open(path: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    return connect(path, program="0", now=clock(), migrations=migrations)


def _dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [*connection.iterdump(), str(connection.execute("PRAGMA user_version").fetchone())]


def _check_refused(path: Path, reason: str) -> None:
    """Check that writing and reading are refused with the reason, the file and the setting for another path."""
    for open_ledger in (_open, connect_to_read, lambda path: SqliteFile(path).probe()):
        with pytest.raises(LedgerError, match=reason) as caught:
            open_ledger(path)
        assert str(path.parent) in str(caught.value)
        assert "with ledger.path in the settings or SENDERID_LEDGER__PATH" in str(caught.value)


@pytest.fixture
def loose_umask() -> Iterator[None]:
    """Set a umask that clears no permission."""
    previous = os.umask(0)
    yield
    os.umask(previous)


@pytest.mark.parametrize("open_again", [_open, connect_to_read])
def test_second_connection_keeps_the_locks_of_the_first(
    tmp_path: Path, open_again: Callable[[Path], sqlite3.Connection]
) -> None:
    """Otherwise another process deletes the write-ahead log, and does not read what this one then writes into it."""
    path = tmp_path / "ledger.db"
    read_elsewhere = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1]); "
        "print(connection.execute('SELECT count(*) FROM runs').fetchone()[0]); connection.close()"
    )
    with closing(_open(path)) as writer:
        open_again(path).close()
        counts = []
        for run in ("run-1", "run-2"):
            writes.add_run(writer, run_info(run))
            count = subprocess.check_output([sys.executable, "-c", read_elsewhere, str(path)], text=True)  # noqa: S603
            counts.append(count.strip())
    assert counts == ["1", "2"]


@pytest.mark.usefixtures("loose_umask")
def test_ledger_files_are_readable_by_owner_only(tmp_path: Path) -> None:
    """The folders have mode 0700 and the files 0600 whatever the umask, also when they are created again."""
    path = tmp_path / "far" / "state" / "ledger.db"
    for _ in range(2):
        with closing(_open(path)) as connection:
            writes.add_run(connection, run_info())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (path.parent, *path.parent.iterdir())}
        assert modes == {"state": 0o700, **dict.fromkeys(["ledger.db", "ledger.db-shm", "ledger.db-wal"], 0o600)}
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()


def test_new_ledger_has_its_application_id_and_pragmas(tmp_path: Path) -> None:
    """A new ledger has the application id, the schema version, a log, durable commits and incremental vacuum."""
    with closing(_open(tmp_path / "ledger.db")) as connection:
        pragmas = ["application_id", "user_version", "journal_mode", "synchronous", "foreign_keys", "auto_vacuum"]
        values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
        assert values == [_APPLICATION, len(MIGRATIONS), "wal", 2, 1, 2]
        assert connection.execute("SELECT version, program FROM migrations").fetchall() == [
            (version, "0") for version in range(1, len(MIGRATIONS) + 1)
        ]


def test_missing_or_empty_ledger_reads_as_none(tmp_path: Path) -> None:
    """A missing file, an empty file and an empty database are neither errors nor ledgers."""
    path = tmp_path / "ledger.db"
    assert connect_to_read(path) is None
    path.touch()
    assert connect_to_read(path) is None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert path.stat().st_size
    assert connect_to_read(path) is None


def test_migration_keeps_existing_rows(tmp_path: Path) -> None:
    """A migration sees the existing rows and is recorded with its time and program."""
    path = tmp_path / "ledger.db"
    with closing(_open(path)) as connection:
        writes.add_run(connection, run_info("r1"))
    with closing(connect(path, program="2", now=clock(60), migrations=[*MIGRATIONS, _NEXT_MIGRATION])) as connection:
        assert connection.execute("SELECT * FROM notes").fetchall() == [("r1", "kept")]
        first, *_, last = connection.execute("SELECT version, applied_at, program FROM migrations").fetchall()
        assert first == (1, "2026-11-24T00:00:00.000Z", "0")
        assert last == (len(MIGRATIONS) + 1, "2026-11-24T00:01:00.000Z", "2")


def test_ledger_of_the_first_schema_is_read_and_migrated(tmp_path: Path) -> None:
    """The runs are the same before and after the migration."""
    path = tmp_path / "ledger.db"
    with closing(_open(path, MIGRATIONS[:1])) as connection:
        connection.execute(
            "INSERT INTO runs VALUES ('r1', 'apply', 'ann', 'box', 1, '0', '{}', '2026-11-24T00:00:00Z', NULL, NULL)"
        )
        connection.execute(
            "INSERT INTO entries (run, key, account, endpoint, safety, source, fingerprint, started_at, counts, "
            "error_code, error_message) "
            "VALUES ('r1', 'vendor 1', 'main', 'solapi', '{}', 'main.yaml', '', '2026-11-24T00:00:00.000Z', '{}', "
            "'Odd', 'it is {odd}')"
        )
    reader = connect_to_read(path)
    assert reader is not None
    with closing(reader):
        before = history.run_record(reader, "r1")
        assert writes.recall(reader, "vendor 1").registered is None
    with closing(_open(path)) as connection:
        assert history.run_record(connection, "r1") == before
    assert before.accounts[0].groups == ()
    assert before.accounts[0].error == ErrorInfo("Odd", "it is {odd}")
    assert before.plan is None


def test_prune_migrates_an_older_ledger_and_records_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    _open(path, MIGRATIONS[:1]).close()
    assert forget(SqliteFile(path), "2030", program="2", now=clock(60)) == 0
    with closing(_open(path)) as connection:
        second = connection.execute("SELECT * FROM migrations WHERE version = 2").fetchall()
    assert second == [(2, "2026-11-24T00:01:00.000Z", "2")]


@pytest.mark.parametrize("broken", ["CREATE TABLE runs (id TEXT)", "UPDATE nowhere SET a = 1", "nonsense"])
def test_failed_migration_changes_nothing(tmp_path: Path, broken: str) -> None:
    """The file, its version and its migration record are unchanged, and this program can still use it."""
    path = tmp_path / "ledger.db"
    with closing(_open(path)) as connection:
        writes.add_run(connection, run_info("r1"))
    before = _dump(path)
    with pytest.raises(LedgerError, match="cannot be used"):
        _open(path, [*MIGRATIONS, f"{_NEXT_MIGRATION}; {broken}"])
    assert _dump(path) == before
    with closing(_open(path)) as connection:
        assert connection.execute("SELECT id FROM runs").fetchall() == [("r1",)]


def test_full_disk_during_a_migration_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite rolls back by itself. The error is that of the disk, not that of a second rollback."""
    path = tmp_path / "ledger.db"
    _open(path).close()
    before = _dump(path)
    migrate = schema._migrate

    def full(connection: sqlite3.Connection, *args: Sequence[str], **kwargs: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        migrate(connection, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(schema, "_migrate", full)
    with pytest.raises(LedgerError, match="full"):
        _open(path, [*MIGRATIONS, "; ".join(f"CREATE TABLE t{n} (a)" for n in range(9))])
    assert _dump(path) == before


def test_concurrent_starts_apply_each_migration_once(tmp_path: Path) -> None:
    """Each migration is applied once in any order of starts, for a new file and for an older schema."""
    path = tmp_path / "ledger.db"
    script = (
        "import sys; from pathlib import Path; from worker.ledger.schema import MIGRATIONS, connect\n"
        "for line in sys.stdin:\n"
        "    more = [line.strip()] if line.strip() else []\n"
        "    connect(Path(sys.argv[1]), program='0', now=lambda: 'now', migrations=[*MIGRATIONS, *more]).close()\n"
        "    print('done', flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - constant command
        for _ in range(3)
    ]
    for migration in ("", _NEXT_MIGRATION):
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{migration}\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
    for process in processes:
        process.communicate(timeout=10)
    with closing(sqlite3.connect(path)) as connection:
        versions = [version for (version,) in connection.execute("SELECT version FROM migrations")]
        assert versions == list(range(1, len(MIGRATIONS) + 2))


@pytest.mark.parametrize("checkpointed", [True, False])
def test_newer_ledger_is_refused_and_unchanged(tmp_path: Path, *, checkpointed: bool) -> None:
    """The error has the version, which is in the file or only in the log. Content and times of both are unchanged."""
    path = tmp_path / "ledger.db"
    files = [path, tmp_path / "ledger.db-wal"]
    _open(path).close()
    newer = sqlite3.connect(path, isolation_level=None)
    with closing(newer):
        newer.execute("PRAGMA user_version = 99")
        newer.execute("PRAGMA wal_checkpoint(TRUNCATE)" if checkpointed else "SELECT 1")
        before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]
        file_version = int.from_bytes(before[0][0][60:64])
        assert file_version == (99 if checkpointed else len(MIGRATIONS))
        _check_refused(
            path, f"created by a newer senderid: its schema is 99, this version supports up to {len(MIGRATIONS)}"
        )
        assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in files] == before


def test_newer_schema_between_check_and_open_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer checks the version again."""
    path = tmp_path / "ledger.db"
    _open(path, [*MIGRATIONS, _NEXT_MIGRATION]).close()
    monkeypatch.setattr(schema, "connect_to_read", lambda *_, **__: None)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="created by a newer senderid"):
        _open(path)
    assert path.read_bytes() == before


def _database(*statements: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return make


_FOREIGN_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("numbers: {}\n" * 99), "it is not a ledger, or its beginning is missing"),
    "short": (lambda path: path.write_bytes(b"SQLite format 3\0"), "it is not a ledger, or its beginning is missing"),
    "folder": (Path.mkdir, "Is a directory"),
    "named": (_database("PRAGMA application_id = 7", "CREATE TABLE t (a)"), "the database of another program"),
    "nameless": (_database("CREATE TABLE t (a)"), "the database of another program"),
    "alike": (_database("CREATE TABLE runs (a)", "PRAGMA user_version = 1"), "the database of another program"),
    "in its log": (
        _database("PRAGMA journal_mode = WAL", "CREATE TABLE t (a)", "PRAGMA user_version = 1"),
        "the database of another program",
    ),
}


@pytest.mark.parametrize("kind", _FOREIGN_FILES)
def test_foreign_file_is_refused_and_unchanged(tmp_path: Path, kind: str) -> None:
    """Texts, folders and databases of other programs are named in the error and stay unchanged."""
    path = tmp_path / "ledger.db"
    make, reason = _FOREIGN_FILES[kind]
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    _check_refused(path, reason)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_empty_file_with_a_full_log_is_damaged(tmp_path: Path) -> None:
    """SQLite would delete the log with its rows. The ledger is refused, and the log stays."""
    path, log = tmp_path / "ledger.db", tmp_path / "ledger.db-wal"
    with closing(_open(path)) as connection:
        writes.add_run(connection, run_info())
        log_bytes = log.read_bytes()
    path.write_bytes(b"")
    log.write_bytes(log_bytes)
    _check_refused(path, "it is empty, but its write-ahead log is not")
    assert log.read_bytes() == log_bytes


def test_impossible_path_is_an_error(tmp_path: Path) -> None:
    """A file in place of the folder and a name that is too long are errors of local state for every command."""
    (tmp_path / "file").write_text("")
    for path, reason in (
        (tmp_path / "file" / "ledger.db", "Not a directory|file is not a folder"),
        (tmp_path / ("x" * 300) / "ledger.db", "too long"),
    ):
        _check_refused(path, reason)


def test_damaged_page_is_detected_on_open(tmp_path: Path) -> None:
    """Garbage in the middle of the file is reported as damage."""
    path = tmp_path / "ledger.db"
    with closing(_open(path)) as connection:
        for number in range(99):
            writes.add_run(connection, run_info(f"r{number}", settings="x" * 1000))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    _check_refused(path, "damaged|malformed")


def test_connection_is_closed_while_another_is_opened(tmp_path: Path) -> None:
    """The garbage collector closes connections in the middle of an open, and does not wait for its lock."""
    connection = connect(tmp_path / "ledger.db", program="0", now=clock())
    closing_thread = Thread(target=connection.close, daemon=True)
    with schema._descriptors:
        assert schema._is_connected(tmp_path / "ledger.db")
        closing_thread.start()
        closing_thread.join(20)
        assert not closing_thread.is_alive()
        assert not schema._is_connected(tmp_path / "ledger.db")
