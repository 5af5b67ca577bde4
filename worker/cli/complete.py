"""What a shell offers for a word that is not finished: quickly, asking nobody, and silent where it does not know."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

__all__ = ["accounts", "file", "rules", "runs", "zones"]

_RUNS: Final = 50
_BYTES: Final = 2 << 20
"""Bytes of desired state that are read for the names in it; more takes longer than anybody waits for a word."""

_plain: Final = re.compile(r"[\w@%+:,./-]+").fullmatch
"""Words that mean nothing to a shell: it puts on the line what is offered, and names of accounts are anybody's."""

Completed = list[CompletionItem]
Offer = Callable[[click.Context, str], Iterator[str | CompletionItem]]


def _offered(offer: Offer) -> Callable[[click.Context, click.Parameter, str], Completed]:
    """Plain words of an offer that begin with the word; nothing where anything goes wrong, as nobody could be told."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> Completed:
        found: Completed = []
        with suppress(Exception), Path(os.devnull).open("w", encoding="utf-8") as nobody, redirect_stderr(nobody):
            for each in offer(context, incomplete):
                item = each if isinstance(each, CompletionItem) else CompletionItem(each)
                fits = str(item.value).startswith(incomplete) and _plain(str(item.value))
                if item.type != "plain" or fits:
                    found.append(item)
        return found

    return complete


@_offered
def file(_: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    """Files, by the shell's own means."""
    yield CompletionItem(incomplete, type="file")


@_offered
def rules(_: click.Context, __: str) -> Iterator[str]:
    """What `--allow` takes."""
    from worker.plan.safety import ALLOW_ALL, RULES

    yield from (*RULES, ALLOW_ALL)


@_offered
def zones(_: click.Context, incomplete: str) -> Iterator[str]:
    """Time zones; their regions first, as there are hundreds."""
    from worker.model import times

    names = times.zone_names()
    yield from sorted(name for name in names if "/" in incomplete or "/" not in name or name == "Asia/Seoul")
    if "/" not in incomplete:
        yield from sorted({name.partition("/")[0] + "/" for name in names if "/" in name})


@_offered
def accounts(context: click.Context, _: str) -> Iterator[str]:
    """The accounts of the desired state that the command line names, or of the default one."""
    from worker.cli.defaults import DEFAULT_FILES
    from worker.config import desired, files

    given = [str(path) for path in context.params.get("paths") or (DEFAULT_FILES,) if path != "-"]
    found = [path for path in files.expand_folders(given) if isinstance(path, str)]
    if sum(Path(path).stat().st_size for path in found) <= _BYTES:
        read = files.read(found, lambda _: b"")
        yield from (account.name for account in desired.load(read).accounts)
    else:
        yield from (Path(path).stem for path in found)


@_offered
def runs(context: click.Context, _: str) -> Iterator[CompletionItem]:
    """The runs of the ledger, newest first, each with how it ended."""
    from worker.cli import load
    from worker.cli.ledger import ledger_path
    from worker.ledger.history import Asked, history
    from worker.ledger.readonly import reading

    path = ledger_path(load.load_settings(context.params.get("settings_path"), {}))
    with reading(path, checked=True) as connection:
        if connection is None:
            return
        for run in history(connection, Asked(limit=_RUNS)).runs:
            yield CompletionItem(run.run_id, help=f"{run.command}, {run.outcome}")
