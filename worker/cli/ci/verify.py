"""Check that a saved plan was built from the files of this checkout, which its seal does not prove.

`senderid apply` compares the writes of the plan with the files. This module compares the rest: the names of the files,
and the id, endpoint, credentials and groups of each account.
"""

import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from worker.config.desired import is_shared, load, read_names
from worker.config.files import shared_path
from worker.model.accounts import DesiredAccount
from worker.model.errors import DesiredStateError
from worker.model.ports import sources
from worker.plan.planfile import SavedAccount

__all__ = ["Reader", "any_changed", "in_repository", "is_superseded", "is_within", "mismatch"]

Reader = Callable[[str], bytes | None]
"""Returns the bytes of a file by its name in the plan; None if it does not exist."""


def mismatch(account: SavedAccount, roots: Iterable[str], read_file: Reader) -> str | None:
    """Return why an account of a plan does not match the files in `roots`; None if it does."""
    folders = {Path(source).parent for source in sources(account) if is_within(source, roots)}
    for source in sources(account):
        # a file with defaults belongs to the files of its folder, even if the job names these one by one
        if not (is_within(source, roots) or (is_shared(source) and Path(source).parent in folders)):
            return f"{source!r} is not among the desired-state files of this job"
    desired = _read_account(account, read_file)
    if isinstance(desired, str):
        return desired
    if desired.account_id not in {None, account.account_id}:
        return "it is of another account than its file pins"
    if desired.credentials != account.credentials or desired.endpoint not in {None, account.endpoint}:
        return "its credentials or its endpoint are not those of its file"
    if desired.groups != account.groups:
        return "its groups are not those of its file"
    return None


def is_superseded(
    account: SavedAccount,
    read_checkout: Reader,
    read_newer: Reader,
    read_others: Callable[[], Iterable[tuple[str, bytes]]],
) -> bool:
    """Return True if newer files have another desired state for a number that the plan writes.

    `read_checkout` reads files of this checkout, and `read_newer` reads their newer versions. `read_others` yields name
    and bytes of the newer files that differ from this checkout. It is called only if the plan writes a number that no
    file of this checkout lists, as a new file may list it.
    """
    if not account.writes:
        return False
    current = _read_account(account, read_checkout)
    if isinstance(current, str):
        return True
    other_files: list[tuple[str, bytes]] = []
    if any(change.phone not in current.numbers and change.phone not in current.schedules for change in account.writes):
        sources_of_plan = set(map(in_repository, sources(account)))
        other_files = [
            (source, data)
            for source, data in read_others()
            if in_repository(source) not in sources_of_plan
            and any(document.name == account.account for document in read_names(source, data))
        ]
    latest = _read_account(account, read_newer, other_files)
    return isinstance(latest, str) or any(
        _comparable(current, change.phone) != _comparable(latest, change.phone) for change in account.writes
    )


def _read_account(
    account: SavedAccount, read_file: Reader, other_files: Iterable[tuple[str, bytes]] = ()
) -> DesiredAccount | str:
    """Return the desired state of an account from its files and `other_files`, or why it cannot be read."""
    files = list(other_files)
    for source in sources(account):
        data = read_file(source)
        if data is None and not is_shared(source):
            return f"{source!r} is not there"
        if data is not None:
            files.append((source, data))

    @cache
    def read_shared(path: str) -> tuple[str, bytes] | None:
        shared_data = read_file(path)
        return None if shared_data is None else (path, shared_data)

    try:
        accounts = load(files, shared_files=lambda source: read_shared(str(shared_path(source)))).accounts
    except DesiredStateError:
        return f"{account.source!r} is invalid"
    desired = next((candidate for candidate in accounts if candidate.name == account.account), None)
    return desired or f"{account.source!r} has no account {account.account!r}"


def _comparable(account: DesiredAccount, phone: str) -> object:
    """Return the desired state of a number as a value that is equal for equal states."""
    desired, schedule = account.numbers.get(phone), account.schedules.get(phone)
    if desired is None and schedule is None:
        return account.unmanaged, account.ignores(phone)
    return schedule, account.acknowledgements.get(phone), desired and (desired.status, desired.protected)


def is_within(path: str, roots: Iterable[str]) -> bool:
    """Return True if a path is in `roots` or below a folder in `roots`. Symbolic links are not followed."""
    location = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    return any(location.is_relative_to(os.path.abspath(root)) for root in roots)  # noqa: PTH100 - as above


def any_changed(changed_files: Iterable[str], roots: Iterable[str]) -> bool:
    """Return True if a changed file is in `roots` or below, or has the defaults of a file in `roots`.

    `changed_files` are relative to the repository.
    """
    paths = [Path(root) for root in roots]
    shared_paths = [shared_path(str(path)) for path in paths if not path.is_dir()]
    relative_roots = [
        relative_root
        for path in (*paths, *shared_paths)
        for relative_root in {in_repository(path), in_repository(path.resolve())}
        if relative_root
    ]
    return any(Path(name).is_relative_to(relative_root) for name in changed_files for relative_root in relative_roots)


def in_repository(path: str | Path) -> Path | None:
    """Return a path relative to the root of its repository. Without a repository, it is relative to the working folder.

    Return None if the path is outside both.
    """
    absolute_path = Path(os.path.abspath(path))  # noqa: PTH100 - as above
    working_folder = Path(os.path.abspath("."))  # noqa: PTH100 - as above
    root = next(
        (folder for folder in (absolute_path, *absolute_path.parents) if (folder / ".git").exists()), working_folder
    )
    return absolute_path.relative_to(root) if absolute_path.is_relative_to(root) else None
