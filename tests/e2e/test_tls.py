"""The command over TLS: it goes where it can verify, and nowhere else."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from worker.sandbox import SandboxAccount

PHONE = "01012345678"
_DESIRED = f"version: 1\naccount: main\nnumbers:\n  {PHONE}: INACTIVE\n"


def _served(serve: Callable[..., Any], authority: trustme.CA, host: str) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return serve(SandboxAccount.of({PHONE: "ACTIVE", "0212345678": "ACTIVE"}), ssl_context=context)


def test_an_authority_of_ones_own_is_trusted_where_it_is_named(
    command: Any, serve: Callable[..., Any], tmp_path: Path
) -> None:
    """With SSL_CERT_FILE naming the authority, the plan is made over TLS."""
    authority = trustme.CA()
    served = _served(serve, authority, "127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (account,) = served.sandbox.accounts.values()
    command.at(served.sandbox, account).environment["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    command.write("main.yaml", _DESIRED)
    done = command("plan", "-f", "main.yaml", "--detailed-exitcode")
    assert done.returncode == 2, done.stderr
    assert [request.status for request in served.sandbox.wire] == [200]


@pytest.mark.parametrize(("host", "named"), [("127.0.0.1", False), ("somebody.example", True)])
def test_what_cannot_be_verified_gets_nothing(
    command: Any, serve: Callable[..., Any], tmp_path: Path, host: str, *, named: bool
) -> None:
    """An authority that nobody named, and a certificate for another host, end the account before anything is sent."""
    authority = trustme.CA()
    served = _served(serve, authority, host)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (account,) = served.sandbox.accounts.values()
    command.at(served.sandbox, account)
    if named:
        command.environment["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    command.write("main.yaml", _DESIRED)
    done = command("plan", "-f", "main.yaml")
    assert done.returncode == 1
    assert "certificate cannot be verified" in done.stdout + done.stderr
    assert served.sandbox.wire == []
