"""Which ledger a run keeps, and what it says of itself there."""

import getpass
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Final

import click
import msgspec
from platformdirs import user_state_path

from worker import __version__
from worker.config.settings import Settings
from worker.ledger import Ledger, Nothing, Run, recollection
from worker.ledger.history import runs_named, story
from worker.ledger.readonly import reading
from worker.model.accounts import DesiredAccount, Memory
from worker.model.errors import LedgerError, UsageError
from worker.model.history import RunStory
from worker.model.sites import files
from worker.render.i18n import gettext as _
from worker.render.i18n import translated
from worker.render.json_document import encodable

__all__ = ["Keeping", "committed", "glance", "ledger_path", "recorded"]

_GIT_SECONDS: Final = 5.0
"""How long git may take to tell a commit; without an answer the revision is the file's hash alone."""
_GIT: Final = ("git", "--no-optional-locks", "--literal-pathspecs")
_STATUS: Final = ("status", "--porcelain=v2", "--branch", "--untracked-files=all", "--ignored", "--")
"""Changes nothing of the checkout. What follows are files."""
_OID: Final = "# branch.oid "
_HASH: Final = re.compile("[0-9a-f]{40,64}")
_MEGABYTE: Final = 1 << 20
_HOMELESS: Final = (
    "the ledger has no place, as this user has no home folder: give it one with ledger.path in the settings or "
    "SENDERID_LEDGER__PATH"
)
_NAMED: Final = 5
"""Runs that a message names when what was asked for is none or several."""


class Keeping(msgspec.Struct, frozen=True):
    """How a run that writes keeps its ledger: under which command, and how many seconds it waits for an account.

    `plan` is the id of the plan file that it carries out.
    """

    command: str
    lock_timeout: float = 0.0
    plan: str | None = None

    def open(self, settings: Settings, run_id: str, now: Callable[[], str]) -> Ledger:
        """The ledger of a run that starts now."""
        run = Run(
            id=run_id,
            command=self.command,
            started_by=_user(),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            settings=msgspec.json.encode(encodable(msgspec.to_builtins(settings))).decode(),
            started_at=now(),
            plan=self.plan,
        )
        return Ledger(
            ledger_path(settings),
            run,
            now=now,
            most_bytes=settings.ledger.max_megabytes * _MEGABYTE,
            lock_timeout=self.lock_timeout,
        )


def ledger_path(settings: Settings) -> Path:
    """Where the ledger is: the settings' path, or its place in the user's state folder.

    Raises:
        LedgerError: that place is in the home folder of a user who has none.
    """
    path = settings.ledger.path
    try:
        if path:
            return Path(path).expanduser()
        folder = user_state_path("senderid")
        # the XDG specification has a relative XDG_STATE_HOME ignored
        return (folder if folder.is_absolute() else Path.home() / ".local" / "state" / "senderid") / "ledger.db"
    except RuntimeError:  # as in containers, whose users are often numbers and nothing else
        raise LedgerError(_HOMELESS) from None


def glance(settings: Settings) -> Nothing:
    """What a run that only looks needs of the ledger: what it remembers. Where that cannot be read, nothing."""
    try:
        path = ledger_path(settings)
    except LedgerError as error:
        _warn(str(error))
        return Nothing()

    def remembered(recall: Callable[[str], Memory], key: str) -> Memory:
        try:
            return recall(key)
        except LedgerError as error:
            _warn(str(error))
            return Memory()

    return Nothing(partial(remembered, recollection(path)))


@cache
def _warn(told: str) -> None:
    with suppress(OSError, ValueError):  # there may be nobody to hear it
        warning = _("warning: {what}; until then nothing is said of why numbers differ")
        click.echo(warning.format(what=translated(told)), err=True)


def recorded(settings: Settings, name: str, *, account: str | None = None, phone: str | None = None) -> RunStory:
    """The run whose id is `name` or begins with it, in full, or as far as an account or a number is concerned.

    Raises:
        UsageError: there is none, or there are several.
        LedgerError: the ledger cannot be read.
    """
    path = ledger_path(settings)
    with reading(path) as connection:
        if connection is None:
            raise UsageError(f"there is no run {name!r}: there is no ledger yet at {path}")
        found = runs_named(connection, name, _NAMED + 1)
        if len(found) == 1:
            return story(connection, found[0], account=account, phone=phone)
        if found:
            raise UsageError(f"several runs begin with {name!r}: {_listed(found)}; give more of the id")
        there = runs_named(connection, "", _NAMED + 1)
    raise UsageError(f"there is no run {name!r}; there {f'are {_listed(there)}' if there else 'are none yet'}")


def _listed(runs: Sequence[str]) -> str:
    return ", ".join(runs[:_NAMED]) + (" and more (senderid history)" if len(runs) > _NAMED else "")


def committed(accounts: Iterable[DesiredAccount]) -> tuple[DesiredAccount, ...]:
    """Return the accounts, each of their files with the commit of the git checkout that it lies in."""
    accounts = tuple(accounts)
    paths = {file.source: Path(file.source) for account in accounts for file in files(account)}
    found = {source: path.resolve() for source, path in paths.items() if path.is_file()}
    checkouts: dict[Path, set[Path]] = {}
    for file in found.values():
        checkout = _checkout(file.parent)
        if checkout is not None:
            checkouts.setdefault(checkout, set()).add(file)
    commits: dict[Path | None, str | None] = {}
    for checkout, inside in checkouts.items():
        commits |= dict.fromkeys(inside, _commit(checkout, inside))

    def commit(source: str) -> str | None:
        return commits.get(found.get(source))

    return tuple(
        msgspec.structs.replace(
            account,
            commit=commit(account.source),
            parts=tuple(msgspec.structs.replace(part, commit=commit(part.source)) for part in account.parts),
        )
        for account in accounts
    )


@cache
def _checkout(folder: Path) -> Path | None:
    """The nearest folder above that git works in."""
    if (folder / ".git").exists():
        return folder
    return None if folder.parent == folder else _checkout(folder.parent)


def _commit(checkout: Path, files: Iterable[Path]) -> str | None:
    """The commit of a checkout, with `-dirty` where some of these files differ from it; None where git does not say."""
    try:
        told = subprocess.run(  # noqa: S603 - git, with our own words
            (*_GIT, "-C", str(checkout), *_STATUS, *map(str, files)),
            # a hook's GIT_DIR and the like name another repository
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    lines = told.stdout.splitlines()
    headers = [line for line in lines if line.startswith("#")]
    commit = next((line.removeprefix(_OID) for line in headers if line.startswith(_OID)), "")
    if not _HASH.fullmatch(commit):  # there is none yet
        return None
    return commit if len(headers) == len(lines) else f"{commit}-dirty"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
