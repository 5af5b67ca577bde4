"""The file of the ledger: its schema, its migrations, and the functions that open it.

A damaged file, a file of a newer version, and a file that is not a ledger are refused and not changed.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Final
from weakref import WeakSet

from worker.model.errors import LedgerError
from worker.model.messages import Message, system_text

__all__ = ["MIGRATIONS", "connect", "connect_to_read", "file_version", "unusable_error"]

_APPLICATION: Final = 0x53454E44
"""The `application_id` that marks an SQLite file as a ledger: `SEND` in ASCII."""

_BUSY_SECONDS: Final = 15.0
"""Time limit in seconds for a lock of the file by another process, whose transactions take milliseconds."""

_HEADER: Final = 100
_CHECKED_BYTES: Final = 64 << 20
"""Maximum size in bytes of a file that is checked completely when it is opened, in a few tenths of a second."""

_ADVICE: Final = Message(
    "copy the ledger and both files to a folder that you own, and set SENDERID_LEDGER__PATH to the copy"
)

Migration = str

MIGRATIONS: Final[Sequence[Migration]] = (
    """
    CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL, program TEXT NOT NULL);
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, command TEXT NOT NULL, started_by TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
        version TEXT NOT NULL, settings TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT, outcome TEXT
    ) WITHOUT ROWID;
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        key TEXT NOT NULL, account TEXT NOT NULL, account_id TEXT, endpoint TEXT NOT NULL, credentials TEXT,
        safety TEXT NOT NULL, source TEXT NOT NULL, sha256 TEXT, revision TEXT, fingerprint TEXT NOT NULL,
        started_at TEXT NOT NULL, finished_at TEXT, outcome TEXT, error_code TEXT, error_message TEXT,
        counts TEXT NOT NULL, reads INTEGER NOT NULL DEFAULT 0, writes INTEGER NOT NULL DEFAULT 0,
        retries INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX entries_by_run ON entries (run);
    CREATE INDEX entries_by_key ON entries (key, id);
    CREATE INDEX entries_unsettled ON entries (key) WHERE NOT settled;
    CREATE TABLE attempts (
        entry INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE, phone TEXT NOT NULL, number INTEGER NOT NULL,
        asked TEXT NOT NULL, state TEXT NOT NULL, intended_at TEXT NOT NULL, answered_at TEXT,
        http_status INTEGER, error_code TEXT, error_message TEXT,
        PRIMARY KEY (entry, phone, number)
    ) WITHOUT ROWID;
    CREATE TABLE outcomes (
        entry INTEGER NOT NULL REFERENCES entries (id) ON DELETE CASCADE, phone TEXT NOT NULL,
        action TEXT, desired TEXT, before TEXT, after TEXT, outcome TEXT, attempts INTEGER NOT NULL DEFAULT 0,
        duration_ms INTEGER NOT NULL DEFAULT 0, http_status INTEGER, error_code TEXT, error_message TEXT,
        PRIMARY KEY (entry, phone)
    ) WITHOUT ROWID;
    CREATE INDEX outcomes_by_phone ON outcomes (phone);
    CREATE TABLE written (
        key TEXT NOT NULL, phone TEXT NOT NULL, status TEXT NOT NULL, run TEXT NOT NULL, at TEXT NOT NULL,
        PRIMARY KEY (key, phone)
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE entries ADD COLUMN groups TEXT NOT NULL DEFAULT '[]';
    """,
    """
    ALTER TABLE entries ADD COLUMN in_use TEXT NOT NULL DEFAULT '{}';
    """,
    """
    ALTER TABLE runs ADD COLUMN plan TEXT;
    CREATE INDEX runs_by_plan ON runs (plan) WHERE plan IS NOT NULL;
    """,
    """
    CREATE TABLE registered (
        key TEXT PRIMARY KEY, numbers INTEGER NOT NULL, run TEXT NOT NULL, at TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE entries ADD COLUMN error_parts TEXT;
    ALTER TABLE attempts ADD COLUMN error_parts TEXT;
    ALTER TABLE outcomes ADD COLUMN error_parts TEXT;
    """,
    """
    CREATE TABLE reads (
        platform TEXT NOT NULL, account TEXT NOT NULL, key TEXT NOT NULL, at TEXT NOT NULL, failed_at TEXT,
        summary TEXT NOT NULL, PRIMARY KEY (platform, account)
    );
    CREATE TABLE read_numbers (
        platform TEXT NOT NULL, account TEXT NOT NULL, search TEXT NOT NULL, numbers TEXT NOT NULL,
        PRIMARY KEY (platform, account)
    );
    CREATE TABLE daemons (
        host TEXT NOT NULL, pid INTEGER NOT NULL, started_at TEXT NOT NULL, last_pass TEXT NOT NULL,
        next_pass TEXT NOT NULL, outcome TEXT NOT NULL, ended_at TEXT, PRIMARY KEY (host, pid, started_at)
    );
    """,
)
"""The migrations in order, as SQL. The first one applies to an empty file. A released migration never changes."""


class _Connection(sqlite3.Connection):
    """A connection to a ledger, whose file is not opened without SQLite as long as the connection is open.

    If a process closes any descriptor of a file, the kernel removes all locks of the process on that file, also those
    of SQLite. Another process would then delete the write-ahead log that this one still writes to.
    """

    file: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the connection. This takes no lock, because the garbage collector may call it at any time."""
        super().close()
        self.file = None


_connections: Final = WeakSet[_Connection]()
_descriptors: Final = Lock()
"""Held while the file of a ledger is opened without SQLite, and while a connection is added to `_connections`."""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _is_connected(path: Path) -> bool:
    """Return True if this process has a connection to the file."""
    file = _identity(path)
    return file is not None and any(connection.file == file for connection in _connections)


def connect(
    path: Path, *, program: str, now: Callable[[], str], migrations: Sequence[Migration] = MIGRATIONS
) -> sqlite3.Connection:
    """Open the ledger at `path` for writing. Create or migrate it if needed. Only its owner has access to a new file.

    `program`, the version of the worker, and `now`, the current time, are for the record of a migration. Only one
    thread at a time may use the connection.

    Raises:
        LedgerError: the ledger cannot be used. The message says why, and how to choose another file.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _descriptors:
            if not _is_connected(path):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise unusable_error(path, Message("{path} is not a folder", path=str(error.filename))) from None
    except OSError as error:
        raise unusable_error(path, system_text(error.strerror)) from None
    # opening it for reading first refuses a file of a newer version without changing it
    probe = connect_to_read(path, supported=len(migrations))
    if probe is not None:
        probe.close()
    return _open(path, str(path), lambda connection: _prepare(connection, path, migrations, program=program, now=now))


def connect_to_read(
    path: Path, *, supported: int = len(MIGRATIONS), skip_check: bool = False
) -> sqlite3.Connection | None:
    """Open the ledger at `path` for reading. Return None if there is no ledger yet.

    `supported` is the newest schema version that can be read. `skip_check` skips the integrity check.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    if not _exists(path):
        return None
    mode = "mode=ro" if file_version(path) is None else "mode=ro&immutable=1"
    connection = _open(
        path,
        f"{path.absolute().as_uri()}?{mode}",
        lambda connection: _refuse(connection, path, supported, skip_check=skip_check),
    )
    if _version(connection) == 0:
        connection.close()
        return None
    return connection


def file_version(path: Path) -> tuple[int, int, int] | None:
    """Return the state of a ledger in a folder where SQLite cannot lock it: inode, size, mtime. None for other ledgers.

    SQLite creates two files beside the ledger even to read it. In a read-only folder, a ledger without a write-ahead
    log can be read as immutable. If its state differs after the read, another process wrote to the ledger during the
    read, and the result must be discarded.

    Raises:
        LedgerError: one of the two files exists and cannot be used. The message says which, why and what to do.
    """
    try:
        stat = path.stat()
    except OSError:  # there is no ledger, or opening it reports the reason
        return None
    real = path.resolve()
    folder, log, index = real.parent, real.with_name(f"{real.name}-wal"), real.with_name(f"{real.name}-shm")
    for file in (log, index):
        if file.exists() and not _has_access(file, os.R_OK):
            raise _unreadable(
                path,
                Message(
                    "no permission to read {file}, which is part of the ledger; run this command as the owner of that "
                    "file, or ask the owner for read permission",
                    file=str(file),
                ),
            )
    if _has_access(folder, os.W_OK | os.X_OK) or (log.exists() and index.exists()):
        return None
    if index.exists():
        raise _unreadable(
            path,
            Message(
                "another process may be opening it, as {index} exists and {log} does not, and {folder} cannot be "
                "written; try again, or {advice}",
                index=index.name,
                log=log.name,
                folder=str(folder),
                advice=_ADVICE,
            ),
        )
    if log.exists() and log.stat().st_size:
        raise _unreadable(
            path,
            Message(
                "{log} has changes that are not in the ledger yet. To read them, SQLite must create {index}, but "
                "{folder} cannot be written: run `senderid history` once as a user who can write there, or {advice}",
                log=log.name,
                index=index.name,
                folder=str(folder),
                advice=_ADVICE,
            ),
        )
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _has_access(path: Path, access: int) -> bool:
    return os.access(path, access, effective_ids=os.access in os.supports_effective_ids)


def _open(path: Path, name: str, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """Open a connection and run `prepare` on it. Close the connection on any error."""
    connection = None
    try:
        connection = sqlite3.connect(
            name,
            uri=name.startswith("file:"),
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        with _descriptors:
            connection.file = _identity(path)
            _connections.add(connection)
        prepare(connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error | OSError | UnicodeDecodeError):
            raise unusable_error(path, str(error)) from None
        raise
    return connection


def unusable_error(path: Path | str, reason: str) -> LedgerError:
    """Return the error of a ledger that cannot be used. `reason` is a message or SQLite's own text."""
    return LedgerError(
        Message(
            "the ledger {path} cannot be used ({reason}): fix it, or choose another file with ledger.path in the "
            "settings or SENDERID_LEDGER__PATH",
            path=str(path),
            reason=reason,
        )
    )


def _unreadable(path: Path, reason: Message) -> LedgerError:
    return LedgerError(Message("the ledger {path} cannot be read: {reason}", path=str(path), reason=reason))


def _exists(path: Path) -> bool:
    """Return True if the file exists, and check that it can be a ledger, unless this process has a connection to it.

    The check does not use SQLite, which would change the file.

    Raises:
        LedgerError: the file cannot be read or is not a ledger.
    """
    try:
        with _descriptors:
            if _is_connected(path):
                return True
            with path.open("rb") as file:
                header = file.read(_HEADER)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unusable_error(path, system_text(error.strerror)) from None
    if not header:
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            # SQLite would treat the file as new and discard the content of its log
            raise unusable_error(path, Message("it is empty, but its write-ahead log is not"))
        return True
    if len(header) < _HEADER or not header.startswith(b"SQLite format 3\0"):
        raise unusable_error(path, Message("it is not a ledger, or its beginning is missing"))
    if int.from_bytes(header[68:72]) not in {0, _APPLICATION}:
        raise unusable_error(path, Message("it is the database of another program"))
    if _is_torn(path, int.from_bytes(header[16:18])):
        raise unusable_error(path, Message("its end is missing"))
    return True


def _is_torn(path: Path, page_size: int) -> bool:
    """Return True if the file ends within a page that is not in its write-ahead log.

    SQLite would pad such a page with zeros. A disk that fills up during a checkpoint can also tear a page, but then the
    log still has the page.
    """
    last_page, torn_bytes = divmod(path.stat().st_size, page_size or 1)
    log = path.with_name(f"{path.name}-wal")
    if not torn_bytes:
        return False
    frames = log.read_bytes() if log.exists() else b""
    salts = frames[16:24]
    return not any(
        int.from_bytes(frames[at : at + 4]) == last_page + 1 and frames[at + 8 : at + 16] == salts
        for at in range(32, len(frames), 24 + page_size)
    )


def _refuse(connection: sqlite3.Connection, path: Path, supported: int, *, skip_check: bool) -> None:
    """Check that a file is an undamaged ledger whose schema is not newer than `supported`.

    Raises:
        LedgerError: the file fails the check.
    """
    if not skip_check and path.stat().st_size <= _CHECKED_BYTES:
        (check,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if check != "ok":
            raise unusable_error(path, Message("it is damaged"))
    _refuse_version(_version(connection), path, supported)
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != _APPLICATION and tables:
        raise unusable_error(path, Message("it is the database of another program"))


def _refuse_version(version: int, path: Path, supported: int) -> None:
    if version > supported:
        raise LedgerError(
            Message(
                "the ledger {path} was created by a newer senderid: its schema is {version}, this version supports up "
                "to {supported}. Run the newer version again, or choose another file with ledger.path in the settings "
                "or SENDERID_LEDGER__PATH",
                path=str(path),
                version=version,
                supported=supported,
            )
        )


def _prepare(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], *, program: str, now: Callable[[], str]
) -> None:
    version = _version(connection)
    # a newer version may have migrated the file since it was checked
    _refuse_version(version, path, len(migrations))
    if version == 0:
        # auto_vacuum cannot be changed once there are tables
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    if version < len(migrations):
        _migrate(connection, migrations, program=program, now=now)


def _migrate(
    connection: sqlite3.Connection, migrations: Sequence[Migration], *, program: str, now: Callable[[], str]
) -> None:
    """Apply all missing migrations in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # another process may have applied them while this one waited
        for version in range(_version(connection), len(migrations)):
            for statement in filter(str.strip, migrations[version].split(";")):
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (version + 1, now(), program))
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute("COMMIT")
    except BaseException:
        # on a full disk SQLite rolls back by itself
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    with closing(connection.execute("PRAGMA user_version")) as cursor:
        (version,) = cursor.fetchone()
    assert isinstance(version, int)  # noqa: S101 - what SQLite keeps there
    return version
