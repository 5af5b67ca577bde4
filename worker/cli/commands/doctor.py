"""`senderid doctor`: check the prerequisites of a run."""

import asyncio
import os
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

import click

from worker.cli import load, options
from worker.cli.exit_status import ExitStatus
from worker.cli.output import emit
from worker.model.diagnosis import AccountChecks, Check, Diagnosis
from worker.model.errors import AccountRejected, ClockSkewed, CredentialsMissing, LedgerError, WorkerError
from worker.model.messages import Message, join, system_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from worker.cli.runner import Session
    from worker.config.settings import Settings
    from worker.model.accounts import DesiredAccount
    from worker.model.ports import AccountTarget, Log
    from worker.solapi.client import AccountReader
    from worker.solapi.transport import Route

__all__ = ["command"]

_WORST_FIRST: Final[tuple[Literal["fail", "warn", "ok"], ...]] = ("fail", "warn", "ok")
_SHOWN_IF_OK: Final = frozenset({"signature", "clock", "rate limit"})
"""The checks whose details are in the row of an account without problems."""
_SKEW_WARNING: Final = 60.0
"""Clock difference in seconds above which a warning is shown. The server refuses more than 900 s."""
_IN_SYNC_SECONDS: Final = 1.0
"""Offset in seconds below which a clock is in sync: the Date of a response has whole seconds."""


@click.command("doctor")
@options.more_files
@options.account_files
@options.settings
@options.document
@options.logging
def command(
    *,
    more: tuple[str, ...],
    paths: tuple[str, ...],
    accounts: tuple[str, ...],
    settings_path: str | None,
    output_format: str,
    output: str | None,
    no_color: bool,
    log_format: str | None,
    log_level: str | None,
) -> int:
    """Check credentials, network, TLS, signature, clock, rate limits and local state, one row each.

    Checks the default credentials or, with -f, every account of the files. PATH is the same as -f PATH.

    Reads each account once and writes nothing. Exit status 0, or 1 if a check fails.
    """
    settings = load.load_settings(settings_path, {"log.format": log_format, "log.level": log_level or "warning"})

    has_files = bool(paths or more or accounts)
    desired = load.load_accounts(settings, [*paths, *more], accounts) if has_files else ()

    from worker.cli import runner
    from worker.reconcile.fleet import DefaultTarget
    from worker.render import json_document

    async def verb(run: "Session") -> int:
        networks = _Networks(run.transport.route, settings.timeout.connect_seconds)
        checked_accounts = await _check_each(run, desired, networks)
        checks = () if has_files else await _check_account(run, DefaultTarget(), networks, run.log)
        checks += await asyncio.to_thread(lambda: tuple(_ledger(settings)))
        rows = (*map(_row, checked_accounts), *checks)
        if output_format == "json":
            emit(json_document.encode(Diagnosis(checks, checked_accounts)), output)
        else:
            emit(_table(rows), output)
        has_failures = any(row.status == "fail" for row in rows)
        return ExitStatus.ERROR if has_failures else ExitStatus.OK

    return runner.run(verb, settings, no_color=no_color)


class _Networks:
    """The network checks of endpoints, each of which is checked once. `seconds` is the timeout of a connection."""

    def __init__(self, route: "Route", seconds: float) -> None:
        self._route = route
        self._seconds = seconds
        self._tasks: dict[str, asyncio.Task[tuple[Check, ...]]] = {}

    async def check(self, url: str) -> tuple[Check, ...]:
        """Return the checks of the endpoint `url`."""
        if url not in self._tasks:
            self._tasks[url] = asyncio.create_task(_network(url, self._route, self._seconds))
        return (*_proxy(url, self._route), *await self._tasks[url])


async def _check_each(
    run: "Session", accounts: "Sequence[DesiredAccount]", networks: _Networks
) -> tuple[AccountChecks, ...]:
    """Return the checks of each account, in order. At most `accounts_concurrency` of them are checked concurrently."""
    slots = asyncio.Semaphore(run.settings.accounts_concurrency)

    async def one(account: "DesiredAccount") -> AccountChecks:
        async with slots:
            log = run.log.bind(account=account.name)
            return AccountChecks(account.name, await _check_account(run, account, networks, log))

    return tuple(await asyncio.gather(*map(one, accounts)))


async def _check_account(
    run: "Session", account: "AccountTarget", networks: _Networks, log: "Log"
) -> tuple[Check, ...]:
    from worker.config.urls import parse_endpoint
    from worker.solapi.client import AccountReader

    network = await networks.check(parse_endpoint(account.endpoint or run.settings.endpoint).url)
    try:
        with run.fleet.client(AccountReader, account, log) as client:
            credentials = Check("credentials", "ok", Message("API key and secret found"))
            is_reachable = not any(check.status == "fail" for check in network)
            return (credentials, *network, *(await _read_account(client) if is_reachable else ()))
    except CredentialsMissing as error:
        return (Check("credentials", "fail", str(error)), *network)


async def _read_account(client: "AccountReader") -> tuple[Check, ...]:
    try:
        observed = await client.observe()
    except WorkerError as error:
        return (_failed_read(error), _clock(client.clock_offset, is_refused=isinstance(error, ClockSkewed)))
    if observed.account_id is None:
        signature = Check(
            "signature", "warn", Message("accepted; the response is an empty object: no numbers and no account id")
        )
    else:
        numbers = Message.plural(
            "account {account_id}: {count} number, {active} ACTIVE",
            "account {account_id}: {count} numbers, {active} ACTIVE",
            len(observed.numbers),
            account_id=observed.account_id,
            active=observed.active,
        )
        signature = Check("signature", "ok", Message("accepted; {numbers}", numbers=numbers))
    return (
        signature,
        _clock(client.clock_offset, is_refused=False),
        _rate_limit(client.rate_limit_headers),
    )


_PROXY_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def _proxy(url: str, route: "Route") -> "Iterator[Check]":
    """Yield whether requests go through a proxy, and whether the environment has one that is not used."""
    proxy = route.proxy_for(urlsplit(url).hostname or "")
    variables = tuple(name for name in _PROXY_VARIABLES if os.environ.get(name))
    if proxy is not None:
        yield Check("proxy", "ok", Message("requests go through {proxy}", proxy=proxy))
    elif variables:
        message = Message(
            "requests go directly to the endpoint; ignored environment variables: {variables}; to use a proxy, set "
            "network.proxy in the settings or pass --proxy",
            variables=variables,
        )
        yield Check("proxy", "warn", message)


async def _network(url: str, route: "Route", seconds: float) -> tuple[Check, ...]:
    """Check that a connection can be opened and that the TLS certificate is valid. Return both results.

    With a proxy, check the connection to the proxy. The certificate is then checked with the first request.
    """
    from worker.solapi.transport import missing_authority

    proxy = route.proxy_for(urlsplit(url).hostname or "")
    parts = urlsplit(proxy or url)
    is_tls = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if is_tls else 80)
    location = f"{host}:{port}"
    try:
        await _connect(host, port, seconds, context=None)
    except OSError as error:
        reason = (
            Message("timed out")
            if isinstance(error, TimeoutError)
            else (system_text(error.strerror) if error.strerror else Message("unknown host"))
        )
        return (
            Check(
                "network", "fail", Message("cannot connect to {location}: {reason}", location=location, reason=reason)
            ),
        )
    network = Check("network", "ok", Message("{location} is reachable", location=location))
    if proxy is not None:
        return (network, Check("tls", "skip", Message("checked through the proxy by the next check")))
    if not is_tls:
        return (network, Check("tls", "skip", Message("plain http to this machine")))
    try:
        await _connect(host, port, seconds, context=route.tls or ssl.create_default_context())
    except OSError as error:
        why = getattr(error, "verify_message", "") or error.strerror or type(error).__name__
        path = missing_authority()
        detail = (
            why if path is None else Message("SSL_CERT_FILE is set to {path}, which does not exist", path=str(path))
        )
        return (
            network,
            Check(
                "tls",
                "fail",
                Message("the certificate of {host} cannot be verified: {reason}", host=host, reason=detail),
            ),
        )
    return (network, Check("tls", "ok", Message("the certificate of {host} is valid", host=host)))


async def _connect(host: str, port: int, seconds: float, context: ssl.SSLContext | None) -> None:
    async with asyncio.timeout(seconds):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _failed_read(error: WorkerError) -> Check:
    advice = (
        Message("check the API key and secret in the vendor's console")
        if isinstance(error, AccountRejected)
        else Message("try again")
    )
    return Check(
        "signature", "fail", Message("{code}: {error} ({advice})", code=error.code, error=str(error), advice=advice)
    )


def _clock(offset: float | None, *, is_refused: bool) -> Check:
    if offset is None:
        return Check("clock", "skip", Message("the server sent no date"))
    if abs(offset) < _IN_SYNC_SECONDS:
        return Check("clock", "ok", Message("clock in sync"))
    if offset > 0:
        detail = Message("the clock is {offset:.0f} s slow", offset=offset)
    else:
        detail = Message("the clock is {offset:.0f} s fast", offset=-offset)
    if is_refused:
        message = Message("{detail}, so the server refuses the request: set the clock", detail=detail)
        return Check("clock", "fail", message)
    if abs(offset) > _SKEW_WARNING:
        message = Message(
            "{detail}; the server refuses requests that differ by more than 900 s: set the clock", detail=detail
        )
        return Check("clock", "warn", message)
    return Check("clock", "ok", detail)


def _rate_limit(headers: "Mapping[str, str]") -> Check:
    if not headers:
        return Check("rate limit", "warn", Message("the server reports no limits; using the limits of the settings"))
    return Check("rate limit", "ok", ", ".join(f"{name}: {value}" for name, value in sorted(headers.items())))


def _ledger(settings: "Settings") -> "Iterator[Check]":
    from worker.cli.ledger import ledger_database

    try:
        database = ledger_database(settings)
        database.probe()
        yield Check("ledger", "ok", Message("{path} can be written", path=database.name))
        if database.is_remote:
            from worker.ledger.postgres.checks import examine

            yield from (Check(*finding) for finding in examine(database))
    except LedgerError as error:
        yield Check("ledger", "fail", str(error))


def _row(account: AccountChecks) -> Check:
    """Return the worst status of an account, with the details of all its checks of that status."""
    from worker.render.i18n import translate

    status = next(status for status in _WORST_FIRST if any(check.status == status for check in account.checks))
    if status == "ok":
        details = [check.detail for check in account.checks if check.name in _SHOWN_IF_OK]
    else:
        details = [
            Message("{check}: {detail}", check=translate(check.name), detail=check.detail)
            for check in account.checks
            if check.status == status
        ]
    return Check(account.account, status, join(details, "; "))


def _table(checks: tuple[Check, ...]) -> str:
    from worker.render.i18n import translate
    from worker.render.terminal import fit, safe, width

    names = [translate(check.name) for check in checks]
    column = max(map(width, names))
    return "".join(
        f"{check.status:<4}  {fit(name, column)}  {safe(translate(check.detail))}\n"
        for check, name in zip(checks, names, strict=True)
    )
