"""A status page for tests: ledgers of some accounts, and the pages over them on a loop of their own."""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.ledgers import database_at
from worker.ledger import Database, SqliteFile
from worker.ledger.database import transaction
from worker.web import Access, StatusPages, serve

__all__ = ["AT", "FIRST", "Response", "record_run", "request", "serve_pages"]

FIRST = "20261124T000000Z-000001"
AT = "2026-11-24T00:00:00.000Z"
NOW = datetime(2026, 11, 24, 0, 30, tzinfo=UTC)


def record_run(
    place: Path | Database,
    *names: str,
    run: str = FIRST,
    phones: Sequence[str] = ("01000000001",),
    outcome: str | None = "converged",
    bad: str | None = None,
    message: str = "",
    code: str = "Broken",
    at: str = AT,
    key: str | None = None,
) -> Database:
    """Add a run over accounts with these names to the ledger after one more run the path of the ledger.

    Each account has the same numbers, all `changed`. If `bad` is set, it is the outcome of the first number, with a
    `message`. `code` is the error code of all accounts with a `message`. `key` is the
    key of all accounts; by default it is built from their names.
    """
    database = database_at(place)
    with closing(database.connect(program="0", now=lambda: AT)) as connection, transaction(connection):
        connection.execute(
            "INSERT INTO runs VALUES (?, 'apply', 'ann', 'box', 1, '0', '{}', ?, ?, ?, NULL)", (run, at, at, outcome)
        )
        for name in names:
            counts = {"changed": len(phones) - bool(bad)} | ({bad: 1} if bad else {})
            connection.execute(
                "INSERT INTO entries (run, key, account, endpoint, safety, source, fingerprint, started_at,"
                " finished_at, outcome, counts, settled, error_code, error_message) VALUES"
                " (?, ?, ?, 'solapi', '{}', 'a.yaml', 'f', ?, ?, ?, ?, ?, ?, ?)",
                (
                    run,
                    key or f"https://api.solapi.com {name}",
                    name,
                    at,
                    at,
                    outcome,
                    json.dumps(counts),
                    outcome is not None,
                    code if message else None,
                    message or None,
                ),
            )
            (entry,) = connection.execute("SELECT max(id) FROM entries").fetchone()
            for index, phone in enumerate(phones):
                outcome_of_number = bad if bad and not index else "changed"
                connection.execute(
                    "INSERT INTO outcomes VALUES (?, ?, 'activate', 'ACTIVE', 'INACTIVE', 'ACTIVE', ?, 1, 5, NULL, ?, "
                    "?, NULL)",
                    (entry, phone, outcome_of_number, "Odd" if bad and not index else None, message or None),
                )
                connection.execute(
                    "INSERT INTO attempts VALUES (?, ?, 1, 'ACTIVE', 'verified', ?, ?, 200, NULL, NULL, NULL)",
                    (entry, phone, at, at),
                )
                connection.execute(
                    "INSERT INTO written VALUES (?, ?, 'ACTIVE', ?, ?) "
                    "ON CONFLICT (key, phone) DO UPDATE SET run = excluded.run, at = excluded.at",
                    (key or f"https://api.solapi.com {name}", phone, run, at),
                )
    return database


@contextmanager
def serve_pages(ledger: Path | Database, token: str | None = None, **more: Any) -> Iterator[str]:
    """Serve the pages of a ledger on a thread. Yield their URL. `more` goes to the site."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    database = SqliteFile(ledger) if isinstance(ledger, Path) else ledger
    site: list[StatusPages] = []

    async def start() -> Any:
        site.append(StatusPages(database, Access(token, host="127.0.0.1"), **({"now": lambda: NOW} | more)))
        context = serve(None, port=0, pages=site[0].respond)
        return context, await context.__aenter__()

    async def stop(context: Any) -> None:
        site[0].close()
        await context.__aexit__(None, None, None)

    context, url = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield url
    finally:
        asyncio.run_coroutine_threadsafe(stop(context), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class Response(NamedTuple):
    """An HTTP response: status, headers by lower-case names, and body."""

    status: int
    headers: dict[str, str]
    body: str


def request(url: str, path: str = "/", method: str = "GET", body: str | None = None, **headers: str) -> Response:
    """Send a request and return the response. An underscore in a header name stands for a hyphen."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, fields)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, text)
