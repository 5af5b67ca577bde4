"""A PostgreSQL server with TLS, and one behind PgBouncer. `make postgres` runs these tests.

The server of the other tests is built without TLS.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import pytest
import trustme

from tests.e2e.conftest import Command, Served
from tests.support.ledgers import rows
from tests.support.postgres import PASSWORD, PostgresServer
from worker.ledger.postgres.database import PostgresDatabase
from worker.sandbox import SandboxAccount

NUMBERS = {"01000000001": "INACTIVE"}
FILES = {"main.yaml": "version: 1\nnumbers: {01000000001: ACTIVE}\n"}
_APPLY: Final = ("apply", "-y", "-f", "main.yaml")
_POOLER: Final = os.environ.get("SENDERID_TEST_PGBOUNCER") or shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")

pytestmark = pytest.mark.skipif("SENDERID_TEST_POSTGRES" not in os.environ, reason="make postgres runs it")


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """Start a server of its own."""
    started = PostgresServer()
    yield started
    started.remove()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def encrypted(postgres_server: PostgresServer, authority: trustme.CA, command: Command) -> PostgresServer:
    """Let the server accept TLS only, with a certificate for 127.0.0.1 of the authority."""
    certificate = authority.issue_cert("127.0.0.1")
    pem = postgres_server.folder / "server.pem"
    pem.write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
    pem.chmod(0o600)
    if postgres_server._as:
        shutil.chown(pem, "nobody", "nogroup")
    access = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
    (postgres_server.folder / "data" / "pg_hba.conf").write_text(access)
    for setting, value in {"ssl_cert_file": pem, "ssl_key_file": pem, "ssl": "on"}.items():
        postgres_server.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
    postgres_server.execute("SELECT pg_reload_conf()")
    command.environment["PGPASSWORD"] = PASSWORD
    authority.cert_pem.write_to_path(str(command.folder / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(command.folder / "other.pem"))
    return postgres_server


def test_server_with_a_valid_certificate_is_used(
    command: Command, served: Served, account: SandboxAccount, encrypted: PostgresServer
) -> None:
    del served
    url = f"{encrypted.tcp_url('postgres')}?sslmode=verify-full&sslrootcert={command.folder}/ca.pem"
    command.environment["SENDERID_LEDGER__URL"] = url
    result = command(*_APPLY)
    assert result.returncode == 0, result.stderr
    assert account.statuses == {"01000000001": "ACTIVE"}
    database = PostgresDatabase(encrypted.url("postgres"))
    assert rows(database, "SELECT outcome FROM runs") == [("converged",)]
    database.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("sslmode=verify-full&sslrootcert={folder}/other.pem", "certificate verify failed"),
        ("sslmode=verify-full&sslrootcert={folder}/missing.pem", "No such file or directory"),
        ("sslmode=disable", "no encryption"),
    ],
)
def test_server_that_cannot_be_verified_gets_no_password(
    command: Command, served: Served, encrypted: PostgresServer, options: str, reason: str
) -> None:
    """The run ends with status 1 before it sends anything to the API."""
    options = options.format(folder=command.folder)
    command.environment["SENDERID_LEDGER__URL"] = f"{encrypted.tcp_url('postgres')}?{options}"
    result = command(*_APPLY)
    assert (result.returncode, reason in result.stderr) == (1, True), result.stderr
    assert PASSWORD not in result.stdout + result.stderr
    assert served.writes == []


@pytest.fixture
def pooler(postgres_server: PostgresServer) -> Iterator[str]:
    """Start PgBouncer in transaction mode, and return a URL of the server behind it."""
    if _POOLER is None:
        pytest.skip("PgBouncer is not installed")
    folder = postgres_server.folder
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\npostgres = host={postgres_server.folder} port={postgres_server.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
        f"auth_file = {folder}/users\npool_mode = transaction\n"
    )
    with subprocess.Popen(  # noqa: S603 - our own
        [_POOLER, folder / "pgbouncer.ini"], stderr=subprocess.DEVNULL, **postgres_server._as
    ) as process:
        while True:
            assert process.poll() is None
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.01)
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        process.terminate()


def test_pooler_in_transaction_mode_is_refused(command: Command, served: Served, pooler: str) -> None:
    """The statements of one connection are then missing in another one, or exist already."""
    command.environment["SENDERID_LEDGER__URL"] = pooler
    result = command(*_APPLY)
    assert (result.returncode, "connect to the server, or use session mode" in result.stderr) == (1, True), (
        result.stderr
    )
    assert served.writes == []
    assert "use session mode" in command("doctor").stdout
