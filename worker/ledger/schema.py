"""The ledger's file: how it is opened, what it holds, and how an older one becomes a newer one.

A file that a newer program made, that is not a ledger, or that is damaged is refused and not touched.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from worker.model.errors import LedgerError
from worker.model.messages import Message, system_text

__all__ = ["MIGRATIONS", "connect", "connect_to_read", "frozen", "unusable"]

_APPLICATION: Final = 0x53454E44
"""SQLite's application_id of a ledger: SEND."""

_BUSY_SECONDS: Final = 15.0
"""How long another process may keep the file: its transactions take milliseconds."""

_HEADER: Final = 100
_CHECKED_BYTES: Final = 64 << 20
"""Up to this size the whole file is checked at each opening, which takes some tenths of a second at most."""

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
)
"""What each version adds to the one before, the first to an empty file. Applied ones are never changed."""


def connect(
    path: Path, *, program: str, now: Callable[[], str], migrations: Sequence[Migration] = MIGRATIONS
) -> sqlite3.Connection:
    """Open the ledger at `path` for writing. Create or migrate it if needed, accessible to its owner only.

    `program` and `now` go into the record of a migration. The connection may be used by one thread at a time.

    Raises:
        LedgerError: it cannot be used; with why and how to choose another.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except FileExistsError as error:
        raise unusable(path, Message("{path} is not a folder", path=str(error.filename))) from None
    except OSError as error:
        raise unusable(path, system_text(error.strerror)) from None
    # a reader leaves a file alone that a newer program made
    probe = connect_to_read(path, known=len(migrations))
    if probe is not None:
        probe.close()
    return _opened(path, str(path), lambda connection: _prepare(connection, path, migrations, program=program, now=now))


def connect_to_read(path: Path, *, known: int = len(MIGRATIONS), checked: bool = False) -> sqlite3.Connection | None:
    """Open the ledger at `path` for reading; None if there is none yet. `checked`: it was found sound a moment ago.

    Raises:
        LedgerError: it cannot be read.
    """
    if not _found(path):
        return None
    mode = "mode=ro" if frozen(path) is None else "mode=ro&immutable=1"
    connection = _opened(
        path,
        f"{path.absolute().as_uri()}?{mode}",
        lambda connection: _refuse(connection, path, known, checked=checked),
    )
    if _version(connection) == 0:
        connection.close()
        return None
    return connection


def frozen(path: Path) -> tuple[int, int, int] | None:
    """Return the state of a ledger that no process is writing and SQLite cannot lock here, None for any other ledger.

    SQLite makes two files beside the ledger even to read it. In a folder where it cannot, a ledger without a log can be
    read as immutable. What was read is void if another process has written meanwhile: then the state has changed.

    Raises:
        LedgerError: those files are there and cannot be used; with which, why and what to do.
    """
    try:
        found = path.stat()
    except OSError:  # no ledger, or opening it reports the reason
        return None
    folder = path.resolve().parent
    log, index = (folder / f"{path.resolve().name}-{suffix}" for suffix in ("wal", "shm"))
    for file in (log, index):
        if file.exists() and not _allowed(file, os.R_OK):
            raise _unreadable(
                path,
                Message(
                    "no permission to read {file}, which belongs to it; run this as the owner of that file, or ask the "
                    "owner for read permission",
                    file=str(file),
                ),
            )
    if _allowed(folder, os.W_OK | os.X_OK) or (log.exists() and index.exists()):
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
                "{log} holds changes that the ledger does not have yet, and SQLite cannot create {index} to read them, "
                "as {folder} cannot be written; run `senderid history` once as a user who can write there, or {advice}",
                log=log.name,
                index=index.name,
                folder=str(folder),
                advice=_ADVICE,
            ),
        )
    return found.st_ino, found.st_size, found.st_mtime_ns


def _allowed(path: Path, access: int) -> bool:
    return os.access(path, access, effective_ids=os.access in os.supports_effective_ids)


def _opened(path: Path, name: str, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """Open a connection and run `prepare` on it. On any error the connection is closed."""
    connection = None
    try:
        connection = sqlite3.connect(
            name, uri=name.startswith("file:"), timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        prepare(connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error | OSError | UnicodeDecodeError):
            raise unusable(path, str(error)) from None
        raise
    return connection


def unusable(path: Path | str, reason: str) -> LedgerError:
    """Return the error of a ledger that cannot be used, with what to do. `reason` is a message or SQLite's own text."""
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


def _found(path: Path) -> bool:
    """Return True if there is a file whose first bytes may be those of a ledger. SQLite does not open it here."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unusable(path, system_text(error.strerror)) from None
    if not header:
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            # SQLite would take the file for a new one and throw away what its log holds
            raise unusable(path, Message("it is empty, but its write-ahead log is not"))
        return True
    if len(header) < _HEADER or not header.startswith(b"SQLite format 3\0"):
        raise unusable(path, Message("it is not a ledger, or its beginning is missing"))
    if int.from_bytes(header[68:72]) not in {0, _APPLICATION}:
        raise unusable(path, Message("it is the database of another program"))
    if _torn(path, int.from_bytes(header[16:18])):
        raise unusable(path, Message("its end is missing"))
    return True


def _torn(path: Path, page_size: int) -> bool:
    """Whether the file ends within a page, which SQLite fills up with zeros, and its log does not hold that page.

    A disk that fills up while the log is moved into the file can tear a page, but then the log still has it.
    """
    last, rest = divmod(path.stat().st_size, page_size or 1)
    log = path.with_name(f"{path.name}-wal")
    if not rest:
        return False
    frames = log.read_bytes() if log.exists() else b""
    salts = frames[16:24]
    return not any(
        int.from_bytes(frames[at : at + 4]) == last + 1 and frames[at + 8 : at + 16] == salts
        for at in range(32, len(frames), 24 + page_size)
    )


def _refuse(connection: sqlite3.Connection, path: Path, known: int, *, checked: bool) -> None:
    """Refuse a damaged file rather than read something out of it, and one of a schema that is not `known` yet."""
    if not checked and path.stat().st_size <= _CHECKED_BYTES:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise unusable(path, Message("it is damaged"))
    _refuse_version(_version(connection), path, known)
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != _APPLICATION and tables:
        raise unusable(path, Message("it is the database of another program"))


def _refuse_version(version: int, path: Path, known: int) -> None:
    if version > known:
        raise unusable(
            path,
            Message(
                "it was created by a newer senderid: its schema is {version}, this version supports up to {supported}",
                version=version,
                supported=known,
            ),
        )


def _prepare(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Migration], *, program: str, now: Callable[[], str]
) -> None:
    version = _version(connection)
    # a newer version may have migrated the file since it was checked
    _refuse_version(version, path, len(migrations))
    if version == 0:
        # neither can be changed once there are tables
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    if version < len(migrations):
        _migrate(connection, migrations, program=program, now=now)


def _migrate(
    connection: sqlite3.Connection, migrations: Sequence[Migration], *, program: str, now: Callable[[], str]
) -> None:
    """Bring the file up to date: everything that is missing and its record, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # another process may have done it while this one waited
        for version in range(_version(connection), len(migrations)):
            for statement in filter(str.strip, migrations[version].split(";")):
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (version + 1, now(), program))
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute("COMMIT")
    except BaseException:
        # a full disk has SQLite roll back by itself
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    with closing(connection.execute("PRAGMA user_version")) as cursor:
        (version,) = cursor.fetchone()
    assert isinstance(version, int)  # noqa: S101 - what SQLite keeps there
    return version
