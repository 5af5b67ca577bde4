"""Shell completion of arguments and options: fast, offline, and silent on errors."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

__all__ = ["accounts", "file", "owners", "rules", "runs", "statuses", "zones"]

_RUNS: Final = 50
_BYTES: Final = 2 << 20
"""Maximum size in bytes of desired-state files to read for account names, as reading more would delay the shell."""

_match_unquoted: Final = re.compile(r"[\w@%+:,./-]+").fullmatch
"""Matches words without shell syntax. Only these are offered, as the shell inserts completions unquoted."""

Completions = list[CompletionItem]
Offer = Callable[[click.Context, str], Iterator[str | CompletionItem]]


def _completion(offer: Offer) -> Callable[[click.Context, click.Parameter, str], Completions]:
    """Return a completion callback that offers the plain words with the typed prefix, and no words on errors."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> Completions:
        items: Completions = []
        with suppress(Exception), Path(os.devnull).open("w", encoding="utf-8") as sink, redirect_stderr(sink):
            for offered in offer(context, incomplete):
                item = offered if isinstance(offered, CompletionItem) else CompletionItem(offered)
                matches = str(item.value).startswith(incomplete) and _match_unquoted(str(item.value))
                if item.type != "plain" or matches:
                    items.append(item)
        return items

    return complete


@_completion
def file(_: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Let the shell complete file names."""
    yield CompletionItem(incomplete, type="file")


@_completion
def rules(_: click.Context, __: str) -> Iterator[str]:
    """Offer the rules of `--allow`."""
    from worker.plan.safety import ALLOW_ALL, RULES

    yield from (*RULES, ALLOW_ALL)


@_completion
def statuses(_: click.Context, __: str) -> Iterator[str]:
    """Offer the statuses of numbers."""
    from worker.model.accounts import MISSING, Status

    yield from (*Status, MISSING)


@_completion
def zones(_: click.Context, incomplete: str) -> Iterator[str]:
    """Offer the regions of time zones and, once a region is typed, its time zones."""
    from worker.model import times

    names = times.zone_names()
    yield from sorted(name for name in names if "/" in incomplete or "/" not in name or name == "Asia/Seoul")
    if "/" not in incomplete:
        yield from sorted({name.partition("/")[0] + "/" for name in names if "/" in name})


@_completion
def accounts(context: click.Context, _: str) -> Iterator[str]:
    """Offer the accounts of the desired-state files that the command line names, or of the default folder."""
    from worker.config import desired, files

    paths = _desired_files(context)
    if _is_quick(paths):
        accounts = desired.load(files.read(paths, lambda _: b""), shared_files=files.SharedFiles()).accounts
        yield from (account.name for account in accounts)
    else:
        yield from (Path(path).stem for path in paths)


@_completion
def owners(context: click.Context, _: str) -> Iterator[str]:
    """Offer the owners of numbers in the same files, unless reading them would take long."""
    from worker.config import desired, files

    paths = _desired_files(context)
    if _is_quick(paths):
        accounts = desired.load(files.read(paths, lambda _: b""), shared_files=files.SharedFiles()).accounts
        yield from sorted({number.owner for account in accounts for number in account.numbers.values() if number.owner})


def _desired_files(context: click.Context) -> list[str]:
    from worker.cli.defaults import DEFAULT_FILES
    from worker.config import files

    given_paths = [*(context.params.get("paths") or ()), *(context.params.get("more") or ())]
    paths = [str(path) for path in given_paths or (DEFAULT_FILES,) if path != "-"]
    return [path for path in files.expand_folders(paths) if isinstance(path, str)]


def _is_quick(paths: Iterable[str]) -> bool:
    return sum(Path(path).stat().st_size for path in paths) <= _BYTES


@_completion
def runs(context: click.Context, _: str) -> Iterator[CompletionItem]:
    """Offer the ids of runs in the ledger, newest first, with their outcomes, and `last`."""
    from worker.cli import load
    from worker.cli.ledger import LAST, ledger_database
    from worker.ledger.history import HistoryQuery, history

    database = ledger_database(load.load_settings(context.params.get("settings_path"), {"secrets.commands": False}))
    with database.read(skip_check=True) as connection:
        if connection is None:
            return
        for run in history(connection, HistoryQuery(limit=_RUNS)).runs:
            yield CompletionItem(run.run_id, help=f"{run.command}, {run.outcome}")
        yield CompletionItem(LAST, help="the newest run")
