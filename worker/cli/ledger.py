"""The ledger of a command, and the search for runs in it."""

import getpass
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
from platformdirs import user_state_path

from worker import __version__
from worker.cli.credentials import read_password
from worker.config.settings import SecretsSettings, Settings
from worker.ledger import Database, Leases, Ledger, NullLedger, RunInfo, SqliteFile, memory_reader
from worker.ledger.group_commit import GroupCommits
from worker.ledger.history import find_run_ids, last_changing_run, run_record
from worker.model.accounts import AccountMemory
from worker.model.credentials import Secret, SecretRef
from worker.model.errors import CredentialsMissing, LedgerError, UsageError
from worker.model.history import RunRecord
from worker.model.messages import Message
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.json_document import encodable

if TYPE_CHECKING:
    from worker.ledger.postgres.database import PostgresDatabase

__all__ = [
    "LAST",
    "LedgerOptions",
    "find_run",
    "fleet_database",
    "last_change",
    "ledger_database",
    "ledger_path",
    "open_postgres",
    "read_only",
    "user_name",
]

LAST: Final = "last"
"""The name of the newest run. No run id starts with it."""

_MEGABYTE: Final = 1 << 20
_HOMELESS: Final = Message(
    "no path for the ledger, as this user has no home folder: set ledger.path in the settings or SENDERID_LEDGER__PATH"
)
_MAX_RUNS: Final = 5
"""Maximum count of runs that a message lists."""


class LedgerOptions(msgspec.Struct, frozen=True):
    """The options of the ledger for a run that writes.

    `command` is the name of the run in the history. `lock_timeout` is how many seconds the run waits for the lease of
    an account. `plan` is the id of the plan file that it applies; None without a plan file.
    """

    command: str
    lock_timeout: float = 0.0
    plan: str | None = None

    def run_info(self, settings: Settings, run_id: str, now: Callable[[], str]) -> RunInfo:
        """Return the record of a run that starts now."""
        return RunInfo(
            id=run_id,
            command=self.command,
            started_by=user_name(),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            settings=msgspec.json.encode(encodable(msgspec.to_builtins(settings))).decode(),
            started_at=now(),
            plan=self.plan,
        )

    def open(
        self,
        settings: Settings,
        run_id: str,
        now: Callable[[], str],
        *,
        leases: Leases | None = None,
        commits: GroupCommits | None = None,
    ) -> Ledger:
        """Return the ledger of a run that starts now. `now` returns the current time as a timestamp.

        `leases` and `commits` are those of a process whose runs share them.
        """
        return Ledger(
            ledger_database(settings),
            self.run_info(settings, run_id, now),
            now=now,
            max_bytes=settings.ledger.max_megabytes * _MEGABYTE,
            lock_timeout=self.lock_timeout,
            grace_seconds=settings.timeout.total_seconds + settings.rate_limit.per_seconds,
            leases=leases,
            commits=commits,
        )


def ledger_database(settings: Settings) -> Database:
    """Return the database of the ledger.

    Raises:
        LedgerError: the user has no home folder, or the library for PostgreSQL is not installed.
    """
    if settings.ledger.url is None:
        return SqliteFile(ledger_path(settings))
    return open_postgres(settings.ledger.url, settings)


def open_postgres(url: str, settings: Settings) -> "PostgresDatabase":
    """Return the database of a ledger in PostgreSQL. Nothing is sent yet.

    Raises:
        LedgerError: the library for PostgreSQL is not installed.
    """
    try:
        from worker.ledger.postgres.database import PostgresDatabase
    except ImportError:
        raise LedgerError(
            Message(
                "a ledger in PostgreSQL needs the extra fleet: install it from a checkout with pip install '.[fleet]'"
            )
        ) from None
    password = settings.ledger.password
    return PostgresDatabase(url, None if password is None else partial(_password, password, settings.secrets))


def fleet_database(settings: Settings) -> "PostgresDatabase":
    """Return the database of a fleet, which is that of its ledger.

    Raises:
        UsageError: the ledger is not in PostgreSQL.
        LedgerError: the library for PostgreSQL is not installed.
    """
    if settings.ledger.url is None:
        raise UsageError(
            Message("a fleet needs a ledger in PostgreSQL: set ledger.url in the settings, or SENDERID_LEDGER__URL")
        )
    return open_postgres(settings.ledger.url, settings)


def _password(reference: SecretRef, secrets: SecretsSettings) -> Secret:
    try:
        return read_password(reference, secrets)
    except CredentialsMissing as error:
        raise LedgerError(str(error)) from None


def ledger_path(settings: Settings) -> Path:
    """Return the path of the ledger: the path in the settings, otherwise the default in the user's state folder.

    Raises:
        LedgerError: the user has no home folder.
    """
    path = settings.ledger.path
    try:
        if path:
            return Path(path).expanduser()
        folder = user_state_path("senderid")
        # the XDG specification requires a relative XDG_STATE_HOME to be ignored
        return (folder if folder.is_absolute() else Path.home() / ".local" / "state" / "senderid") / "ledger.db"
    except RuntimeError:  # in containers, a user often has no entry in the password database
        raise LedgerError(_HOMELESS) from None


def read_only(settings: Settings) -> NullLedger:
    """Return the read-only ledger of a run that does not write.

    If the ledger cannot be read, print a warning and return an empty one.
    """
    try:
        database = ledger_database(settings)
    except LedgerError as error:
        _warn(str(error))
        return NullLedger()
    recall = memory_reader(database)

    async def recall_or_warn(key: str) -> AccountMemory:
        try:
            return await recall(key)
        except LedgerError as error:
            _warn(str(error))
            return AccountMemory()

    return NullLedger(recall_or_warn)


@cache
def _warn(message: str) -> None:
    with suppress(OSError, ValueError):  # stderr may be closed
        warning = _("warning: {warning}; until then plans show no causes of differences")
        click.echo(warning.format(warning=translate(message)), err=True)


def find_run(settings: Settings, name: str, *, account: str | None = None, phone: str | None = None) -> RunRecord:
    """Return the newest run if `name` is `LAST`, otherwise the run whose id starts with `name`.

    With `account` or `phone`, it contains only that account or number.

    Raises:
        UsageError: no run matches, or several runs match.
        LedgerError: the ledger cannot be read.
    """
    database = ledger_database(settings)
    with database.read() as connection:
        if connection is None:
            raise UsageError(
                Message("no run {name!r}: there is no ledger yet at {path}", name=name, path=database.name)
            )
        ids = find_run_ids(connection, "", 1) if name == LAST else find_run_ids(connection, name, _MAX_RUNS + 1)
        if len(ids) == 1:
            return run_record(connection, ids[0], account=account, phone=phone)
        if ids:
            raise UsageError(
                Message(
                    "several run ids start with {name!r}: {run_ids}; give more of the id",
                    name=name,
                    run_ids=_run_list(ids),
                )
            )
        latest = find_run_ids(connection, "", _MAX_RUNS + 1)
    if not latest:
        raise UsageError(Message("no run {name!r}: the ledger has no runs yet", name=name))
    raise UsageError(Message("no run {name!r}; the latest runs are {runs}", name=name, runs=_run_list(latest)))


def last_change(settings: Settings) -> str | None:
    """Return the id of the newest run that changed numbers; None if there is none.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    with ledger_database(settings).read() as connection:
        return None if connection is None else last_changing_run(connection)


def _run_list(runs: Sequence[str]) -> str:
    shown_runs = ", ".join(runs[:_MAX_RUNS])
    return Message("{runs} and more (see senderid history)", runs=shown_runs) if len(runs) > _MAX_RUNS else shown_runs


def user_name() -> str:
    """Return the name of the user who runs the command, or the user id if there is no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
