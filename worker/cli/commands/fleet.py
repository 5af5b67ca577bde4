"""`senderid fleet`: reconcile accounts with any number of workers, which share a database."""

import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import click

from worker import __version__
from worker.cli import load, options
from worker.cli.exit_status import ExitStatus
from worker.cli.output import emit
from worker.model.errors import PolicyRefusal, UsageError
from worker.model.messages import Message
from worker.render.i18n import gettext as _

if TYPE_CHECKING:
    from worker.cli.runner import Session
    from worker.config.desired import AccountDocument
    from worker.config.settings import Settings
    from worker.ledger.postgres.connection import PostgresConnection
    from worker.ledger.postgres.publications import Comparison, NewRevision
    from worker.model.accounts import DesiredAccount

__all__ = ["command"]


@click.group("fleet")
def command() -> None:
    """Reconcile accounts with any number of workers, which share a ledger in PostgreSQL (ledger.url)."""


@command.command("init", short_help="Create or migrate the tables of the fleet.")
@options.settings
def init(*, settings_path: str | None) -> int:
    """Create the tables of the ledger and of the fleet, or migrate them to this version.

    Other commands also do this. Run this command first if they connect as a user who cannot change tables.
    """
    settings = load.load_settings(settings_path, {})

    from worker.cli.ledger import fleet_database
    from worker.render.terminal import safe

    database = fleet_database(settings)
    _connect(settings).close()
    emit(_("{url} is ready for a fleet.").format(url=safe(database.name)) + "\n")
    return ExitStatus.OK


@command.command("publish", short_help="Publish desired-state files to the workers.")
@options.files
@options.settings
@options.allow_fleet_wide
@options.canary
@options.masked_logs
def publish(*, paths: Sequence[str], settings_path: str | None, allow: Sequence[str], canary: int | None) -> int:
    """Validate desired-state files, and publish them as the next revision of the fleet.

    The files describe the whole fleet: workers no longer reconcile an account that is not in them. A revision is
    published as a whole or not at all. The rule fleet-wide refuses a revision that changes the desired status of too
    many numbers. Workers write the canary first. They pause the fleet if the canary fails, or if more numbers would
    change in an interval than fleet-wide allows. Exit status 0, or 4 if the rule refuses the revision.
    """
    settings = load.load_settings(settings_path, {"canary.accounts": canary})
    rules = load.parse_rules(allow)

    from worker.cli.ledger import fleet_database
    from worker.config import desired
    from worker.config.revision import with_commits
    from worker.ledger.postgres import publications
    from worker.render.text import fleet

    fleet_database(settings)
    files = load.DesiredFiles(paths)
    revision = None
    with closing(_connect(settings)) as connection:
        if not publications.is_published(connection, files.digest):
            contents = files.documents(settings)
            accounts = with_commits(desired.join(contents.documents))
            # files with warnings are read again, so that each publication shows them
            digest = None if contents.warnings else files.digest
            new_revision = _revision(settings, contents.documents, accounts, rules, digest)
            review = _reviewer(settings, accounts, new_revision.numbers, rules)
            revision = publications.publish(connection, new_revision, review)
    emit(_("Nothing changed since the last revision.") + "\n" if revision is None else fleet.published(revision))
    return ExitStatus.OK


@command.command("status", short_help="Show revision, queue, lanes and workers.")
@options.settings
@options.document
def status(*, settings_path: str | None, output_format: str, output: str | None, no_color: bool) -> int:
    """Show the current revision, the due accounts, the lanes and the workers. Only reads the database."""
    del no_color
    settings = load.load_settings(settings_path, {})

    from worker.cli.ledger import fleet_database
    from worker.ledger.postgres.publications import status as read_status
    from worker.ledger.postgres.schema import FLEET_VERSION, schema_version
    from worker.render import json_document
    from worker.render.text import fleet

    with fleet_database(settings).read() as connection:
        if connection is None or schema_version(connection) < FLEET_VERSION:
            raise UsageError(Message("the database has no fleet yet: run `senderid fleet init`"))
        document = read_status(connection, datetime.now(UTC))
    emit(json_document.encode(document) if output_format == "json" else fleet.status(document), output)
    return ExitStatus.OK


@command.command("pause", short_help="Let workers write nothing until `fleet resume`.")
@click.option("--reason", metavar="TEXT", help="Reason to show in `fleet status`.")
@options.settings
def pause(*, reason: str | None, settings_path: str | None) -> int:
    """Let workers read all accounts and write none, until `senderid fleet resume`.

    Workers finish the accounts that they are writing. Later revisions are also paused.
    """
    settings = load.load_settings(settings_path, {})

    from worker.cli.ledger import user_name
    from worker.ledger.postgres import publications

    with closing(_connect(settings)) as connection:
        publications.pause(connection, user_name(), reason)
    emit(_("Paused. Workers write nothing until `senderid fleet resume`.") + "\n")
    return ExitStatus.OK


@command.command("resume", short_help="Let workers write again.")
@options.allow_fleet_wide
@options.settings
def resume(*, allow: Sequence[str], settings_path: str | None) -> int:
    """Let workers write again after `fleet pause`, a failed canary or the rule fleet-wide."""
    settings = load.load_settings(settings_path, {})
    rules = load.parse_rules(allow)

    from worker.ledger.postgres import publications

    with closing(_connect(settings)) as connection:
        publications.resume(connection, allow_fleet_wide=bool(rules))
    emit(_("Resumed.") + "\n")
    return ExitStatus.OK


@command.command("worker", short_help="Reconcile published accounts until stopped.")
@options.settings
@click.option(
    "--every", type=options.DURATION, default=300.0, metavar="TIME", help="Time between passes over an account. [5m]"
)
@click.option(
    "--listen",
    metavar="ADDRESS",
    help="Serve /metrics, /healthz, /readyz and the status page: 127.0.0.1:9464, :9464. [not served]",
)
@options.token
@options.masked_logs
@options.logging
@click.option("--no-color", is_flag=True, help="Disable colour.")
def worker(
    *,
    settings_path: str | None,
    every: float,
    listen: str | None,
    token_file: str | None,
    log_format: str | None,
    log_level: str | None,
    no_color: bool,
) -> int:
    """Reconcile the accounts of the current revision until a signal ends it. Run any number of workers on any hosts.

    Workers share the accounts evenly. If a worker dies, the other workers take over its accounts when its leases have
    ended. SIGTERM, SIGINT and SIGHUP end a worker after in-flight requests, with exit status 143, 130 and 129. A worker
    that cannot use the database ends with exit status 1: let a service manager restart it.
    """
    if every < 1:
        raise UsageError(Message("--every must be at least 1s"))
    overrides = {"log.format": log_format, "log.level": log_level, "web.token_file": token_file}
    settings = load.load_settings(settings_path, overrides)

    from worker.cli import runner
    from worker.cli.fleet_worker import run_worker
    from worker.cli.ledger import fleet_database
    from worker.cli.metrics import RunMetrics
    from worker.cli.services import Services
    from worker.telemetry.metrics import Metrics

    fleet_database(settings)
    metrics = Metrics(accounts=settings.metrics.accounts)
    metrics.set_interval(every)
    services = Services(settings, metrics, None if listen is None else options.address(listen))

    async def verb(run: "Session") -> int:
        return await run_worker(run, settings, services, metrics, every)

    return runner.run(verb, settings, resolver=services.resolver, no_color=no_color, metering=RunMetrics(metrics))


def _connect(settings: "Settings") -> "PostgresConnection":
    from worker.cli.ledger import fleet_database
    from worker.cli.runner import now

    return fleet_database(settings).connect(program=__version__, now=now)


def _revision(
    settings: "Settings",
    documents: "Sequence[AccountDocument]",
    accounts: "Sequence[DesiredAccount]",
    rules: frozenset[str],
    digest: str | None,
) -> "NewRevision":
    from worker.cli.ledger import user_name
    from worker.config import desired
    from worker.config.desired.canonical import encode_documents
    from worker.daemon import suspension
    from worker.ledger.postgres.publications import NewRevision, PublishedAccount
    from worker.model.credentials import DEFAULT_CREDENTIALS
    from worker.reconcile import identity

    resolver = load.document_checks(settings.endpoint).resolver
    now = datetime.now(UTC)

    def lane(account: "DesiredAccount") -> int:
        reference = (account.credentials or DEFAULT_CREDENTIALS).api_key
        # if the key is available on workers only, they correct the lane
        return identity.lane(account.endpoint or settings.endpoint, resolver.api_key(reference) or repr(reference))

    by_name = desired.group_by_account(documents)
    published = []
    for account in accounts:
        data = encode_documents(by_name[account.name])
        published.append(PublishedAccount(account.name, lane(account), data, sha256(data).hexdigest(), account.commit))
    commits = {account.commit for account in accounts}
    return NewRevision(
        published_by=user_name(),
        host=socket.gethostname(),
        commit=commits.pop() if len(commits) == 1 else None,
        numbers=sum(len(account.listed) for account in accounts),
        canary=settings.canary.accounts,
        max_failed=str(settings.canary.max_failed),
        fleet_wide=None if rules else str(settings.safety.fleet_wide),
        accounts=published,
        files=digest,
        suspended=frozenset(
            account.name
            for account in accounts
            if suspension.in_force(account.suspend, account.maintenance, account.timezone, now) is not None
        ),
    )


def _reviewer(
    settings: "Settings", accounts: "Sequence[DesiredAccount]", numbers: int, rules: frozenset[str]
) -> "Callable[[Comparison], None]":
    from collections import Counter

    from worker.config import desired
    from worker.config.desired.canonical import decode_documents
    from worker.model.plans import Action
    from worker.plan.publication import guard_revision, switches

    now = datetime.now(UTC)
    by_name = {account.name: account for account in accounts}

    def review(comparison: "Comparison") -> None:
        counts = Counter[Action]()
        for name, data in comparison.documents_before.items():
            (before,) = desired.join(decode_documents(data))
            counts += switches(before, by_name[name], now)
        refusals = guard_revision(
            counts,
            numbers=numbers,
            removed=comparison.removed,
            accounts_before=comparison.accounts_before,
            setting=settings.safety.fleet_wide,
            allow=rules,
        )
        if refusals:
            raise PolicyRefusal(refusals)

    return review
