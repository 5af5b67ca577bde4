"""The git commits of desired-state files."""

import os
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from worker.model.accounts import DesiredAccount
from worker.model.ports import files

__all__ = ["with_commits"]

_GIT_SECONDS: Final = 5.0
"""Time limit in seconds for git. If git takes longer, the files have no commit."""
_GIT: Final = ("git", "--no-optional-locks", "--literal-pathspecs")
_STATUS: Final = ("status", "--porcelain=v2", "--branch", "--untracked-files=all", "--ignored", "--")
"""Arguments of a read-only status command. The names of the files follow them."""
_OID: Final = "# branch.oid "
_HASH: Final = re.compile("[0-9a-f]{40,64}")


def with_commits(accounts: Iterable[DesiredAccount]) -> tuple[DesiredAccount, ...]:
    """Return the accounts with the git commit of each of their files; None for a file outside a checkout."""
    accounts = tuple(accounts)
    sources = {file.source for account in accounts for file in files(account)}
    # a Path for each of many files takes long
    resolved_paths = {source: os.path.realpath(source) for source in sources if os.path.isfile(source)}  # noqa: PTH113
    checkouts: dict[str, set[str]] = {}
    for file in resolved_paths.values():
        checkout = _checkout(os.path.dirname(file))  # noqa: PTH120
        if checkout is not None:
            checkouts.setdefault(checkout, set()).add(file)
    commits: dict[str | None, str | None] = {}
    for checkout, files_inside in checkouts.items():
        commits |= dict.fromkeys(files_inside, _commit(checkout, files_inside))

    def commit(source: str) -> str | None:
        return commits.get(resolved_paths.get(source))

    return tuple(
        msgspec.structs.replace(
            account,
            commit=commit(account.source),
            parts=tuple(msgspec.structs.replace(part, commit=commit(part.source)) for part in account.parts),
        )
        for account in accounts
    )


@cache
def _checkout(folder: str) -> str | None:
    """Return the root of the git checkout that contains a folder; None if there is no checkout."""
    path = Path(folder)
    if (path / ".git").exists():
        return folder
    return None if path.parent == path else _checkout(str(path.parent))


def _commit(checkout: str, files: Iterable[str]) -> str | None:
    """Return the commit of a checkout, with `-dirty` if any of `files` differs from it.

    Return None if git fails or there is no commit.
    """
    try:
        status = subprocess.run(  # noqa: S603 - git with fixed arguments
            (*_GIT, "-C", checkout, *_STATUS, *files),
            # variables of a hook, such as GIT_DIR, name another repository
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    lines = status.stdout.splitlines()
    headers = [line for line in lines if line.startswith("#")]
    commit = next((line.removeprefix(_OID) for line in headers if line.startswith(_OID)), "")
    if not _HASH.fullmatch(commit):  # the repository has no commit yet
        return None
    return commit if len(headers) == len(lines) else f"{commit}-dirty"
