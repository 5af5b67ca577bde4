"""A blocking connection to PostgreSQL that executes the statements of an SQLite ledger.

Each connection has an event loop of its own, which runs only while a statement does.
"""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from worker.model.errors import LedgerError
from worker.model.messages import Message

if TYPE_CHECKING:
    from asyncpg.prepared_stmt import PreparedStatement

__all__ = ["POOLED", "PostgresConnection", "PostgresCursor", "translated"]

T = TypeVar("T")

_CLOSE_SECONDS: Final = 5.0
"""Time limit in seconds for a connection to close in an orderly way."""
_QUOTED: Final = re.compile('"[^"]*"')
_NUMBERED: Final = re.compile(r"\?(\d+)")
_NAMED: Final = re.compile(r"(?<![:\w]):([a-z_]+)")
_JSON_VALUE: Final = re.compile(r"json_extract\(value, '\$\[(\d+)\]'\)")
_JSON_ROWS: Final = re.compile(r"json_each\((\$\d+)\)")
POOLED: Final = Message(
    "a pooler in transaction mode shares sessions between connections, which breaks leases: connect to the server, or "
    "use session mode"
)
_ONE_BY_ONE: Final = {"BEGIN IMMEDIATE": "BEGIN", "BEGIN": "BEGIN", "COMMIT": "COMMIT", "ROLLBACK": "ROLLBACK"}
"""Statements that control transactions. They cannot be prepared."""


@lru_cache(maxsize=500)
def translated(sql: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement in PostgreSQL's SQL, and the names of its parameters in order if they have names.

    Placeholders become `$1`. `json_each(?1)` becomes the elements of an array, and `json_extract(value, '$[0]')` the
    text at a position of such an element.
    """
    names: dict[str, int] = {}
    count = 0

    def numbered(_: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"${count}"

    def named(match: re.Match[str]) -> str:
        return f"${names.setdefault(match[1], len(names) + 1)}"

    sql = _NUMBERED.sub(r"$\1", sql) if _NUMBERED.search(sql) else _NAMED.sub(named, re.sub(r"\?", numbered, sql))
    sql = _JSON_VALUE.sub(r"(value ->> \1)", sql)
    return _JSON_ROWS.sub(r"json_array_elements(CAST(\1 AS json))", sql), tuple(names)


def _without_values(text: str) -> str:
    """Return an error message of PostgreSQL without values, such as phone numbers and notes."""
    return _QUOTED.sub("…", text.partition(":")[0])


def _reason(error: OSError) -> str:
    """Return the text of an error of the network or of a file such as a certificate, with the path of the file."""
    text = error.strerror or str(error) or type(error).__name__
    return text if error.filename is None else f"{text}: {error.filename}"


class PostgresCursor:
    """The rows of a statement, which are in memory."""

    def __init__(self, rows: Sequence[tuple[Any, ...]], names: Sequence[str] = (), rowcount: int = 0) -> None:
        self._rows = iter(rows)
        self.description = tuple((name,) for name in names)
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        """Return the next row; None after the last one."""
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        """Return the remaining rows."""
        return list(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows


class PostgresConnection:
    """A connection that one thread at a time may use. `options` are those of `asyncpg.connect`.

    `unusable` returns the error for a text of the server or of the network.

    Raises:
        LedgerError: the server cannot be reached, or refuses the connection.
    """

    def __init__(self, options: Mapping[str, Any], unusable: Callable[[str], LedgerError]) -> None:
        self.unusable = unusable
        self._deadline: float | None = None
        self._statements: dict[str, tuple[PreparedStatement[Any], tuple[str, ...]]] = {}
        self._loop = asyncio.new_event_loop()
        try:
            self._connection: asyncpg.Connection[Any] = self._run(asyncpg.connect(**options))
        except BaseException:
            self._loop.close()
            raise

    @property
    def in_transaction(self) -> bool:
        """Return True inside a transaction."""
        return not self._connection.is_closed() and self._connection.is_in_transaction()

    @property
    def server_version(self) -> int:
        """The major version of the server."""
        return self._connection.get_server_version().major

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /) -> PostgresCursor:
        """Execute a statement. Outside a transaction, it is committed immediately.

        Raises:
            LedgerError: the statement failed, or the connection is lost.
            TimeoutError: the deadline has passed.
        """
        control = _ONE_BY_ONE.get(sql)
        if control is not None:
            self._run(self._connection.execute(control))
            return PostgresCursor(())
        return self._run(self._fetch(sql, parameters))

    def executemany(self, sql: str, parameters: Any, /) -> PostgresCursor:
        """Execute a statement once for each sequence of parameters, outside or inside a transaction."""
        self._run(self._connection.executemany(translated(sql)[0], list(parameters)))
        return PostgresCursor(())

    def expire_in(self, seconds: float | None) -> None:
        """End the statements that run after `seconds` with TimeoutError; None: never."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def script(self, sql: str) -> None:
        """Execute several statements without parameters."""
        self._run(self._connection.execute(sql))

    def abort(self) -> None:
        """Make the current statement, and every later one, fail. Any thread may call this method."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._connection.terminate)

    def close(self) -> None:
        """Close the connection."""
        if self._loop.is_closed():
            return
        self.expire_in(_CLOSE_SECONDS)
        with suppress(LedgerError, TimeoutError):
            self._run(self._connection.close())
        self._loop.close()

    async def _fetch(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> PostgresCursor:
        if sql not in self._statements:
            text, names = translated(sql)
            self._statements[sql] = await self._connection.prepare(text), names
        statement, names = self._statements[sql]
        values = [parameters[name] for name in names] if isinstance(parameters, Mapping) else parameters
        rows = await statement.fetch(*values)
        changed = (statement.get_statusmsg() or "").rpartition(" ")[2]
        columns = [attribute.name for attribute in statement.get_attributes()]
        return PostgresCursor(list(map(tuple, rows)), columns, int(changed) if changed.isdigit() else 0)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._deadline is not None:
            # asyncpg's own time limits do not include the wait for an earlier statement to be cancelled
            work = asyncio.wait_for(work, max(self._deadline - time.monotonic(), 0.001))
        try:
            return self._wait_for(work)
        except (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError):
            raise self.unusable(POOLED) from None
        except asyncpg.DataError as error:
            raise self.unusable(_without_values(str(error.args[0]))) from None
        except asyncpg.PostgresError as error:
            # the detail of an error may show the values of a row
            raise self.unusable(str(error.args[0])) from None
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise self.unusable(str(error) or type(error).__name__) from None
        except OSError as error:
            if isinstance(error, TimeoutError) and self._deadline is not None:
                raise
            raise self.unusable(_reason(error)) from None

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._loop.run_until_complete(work)
        # another loop runs in this thread, so wait for a thread of its own
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._loop.run_until_complete, work).result()
