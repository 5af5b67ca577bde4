"""`senderid serve`: the status page of a ledger, without daemon and credentials."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from worker.cli import load, options, signals
from worker.model.errors import UsageError
from worker.model.messages import Message

if TYPE_CHECKING:
    from worker.config.settings import Settings
    from worker.model.accounts import DesiredAccount

__all__ = ["command"]


@click.command("serve")
@click.option("--listen", metavar="ADDRESS", default="127.0.0.1:9464", help="Address to listen on. [127.0.0.1:9464]")
@options.token
@click.option(
    "-f",
    "--file",
    "paths",
    metavar="PATH",
    multiple=True,
    help="Desired-state files, to show upcoming scheduled changes. Repeatable. [not shown]",
)
@options.settings
def command(*, listen: str, token_file: str | None, paths: Sequence[str], settings_path: str | None) -> int:
    """Serve accounts, runs and numbers of the ledger as web pages, until a signal ends it.

    Reads only the ledger and needs no credentials. On an address that other machines can reach, a token is required.
    SIGHUP, SIGINT and SIGTERM end the process with exit status 129, 130 and 143.
    """
    settings = load.load_settings(settings_path, {"web.token_file": token_file})
    if "-" in paths:
        raise UsageError(Message("standard input cannot be read again: give files or folders with -f"))

    from worker import web
    from worker.cli.ledger import ledger_database
    from worker.cli.options import address
    from worker.cli.services import read_access

    host, port = address(listen)
    access = read_access(settings, host)
    if not (access.requires_token or web.is_loopback(host)):
        raise UsageError(
            Message(
                "--listen {listen!r}: other machines need a token: write {MIN_TOKEN_LENGTH} or more characters to "
                "a file, and set --token-file or web.token_file",
                listen=listen,
                MIN_TOKEN_LENGTH=web.MIN_TOKEN_LENGTH,
            )
        )
    files = _files(paths, settings)
    database = ledger_database(settings)

    async def serve_pages() -> int:
        site = web.StatusPages(database, access, desired=files)
        try:
            with signals.stop_signal(asyncio.get_running_loop()) as exit_status:
                async with web.serve(None, host, port, site.respond) as url:
                    click.echo(url)
                    return await exit_status
        finally:
            site.close()

    return asyncio.run(serve_pages())


def _files(paths: Sequence[str], settings: "Settings") -> "Callable[[], Sequence[DesiredAccount]] | None":
    """Return a function that returns the accounts of the current desired-state files; None without files."""
    if not paths:
        return None
    from worker.daemon.files import WatchedFiles

    files = WatchedFiles(load.desired_paths(paths), load.document_checks(settings.endpoint))
    load.print_warnings(files.load())

    def accounts() -> "Sequence[DesiredAccount]":
        files.refresh()
        return files.accounts

    return accounts
