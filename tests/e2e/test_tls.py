"""TLS: requests go to a verified peer only."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from worker.sandbox import SandboxAccount

PHONE = "01012345678"
_DESIRED = f"version: 1\naccount: main\nnumbers:\n  {PHONE}: INACTIVE\n"


class Certificate(NamedTuple):
    """A server certificate, which `configure` puts into a context, and the authority that the client trusts."""

    configure: Callable[[ssl.SSLContext], object]
    trusted: trustme.CA


def _served(serve: Callable[..., Any], authority: trustme.CA, host: str) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return serve(SandboxAccount.of({PHONE: "ACTIVE", "0212345678": "ACTIVE"}), ssl_context=context)


def test_ssl_cert_file_is_trusted(command: Any, serve: Callable[..., Any], tmp_path: Path) -> None:
    authority = trustme.CA()
    served = _served(serve, authority, "127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (account,) = served.sandbox.accounts.values()
    command.at(served.sandbox, account).environment["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    command.write("main.yaml", _DESIRED)
    result = command("plan", "-f", "main.yaml", "--detailed-exitcode")
    assert result.returncode == 2, result.stderr
    assert [request.status for request in served.sandbox.wire] == [200]


def _self_signed(folder: Path) -> Certificate:
    authority = trustme.CA()
    pem = folder / "self-signed.pem"
    pem.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    return Certificate(lambda context: context.load_cert_chain(pem), trustme.CA())


def _expired(_: Path) -> Certificate:
    authority, now = trustme.CA(), datetime.now(UTC)
    issued = authority.issue_cert("127.0.0.1", not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))
    return Certificate(issued.configure_cert, authority)


def _wrong_host(_: Path) -> Certificate:
    authority = trustme.CA()
    return Certificate(authority.issue_cert("somebody.example").configure_cert, authority)


def _unnamed_authority(_: Path) -> Certificate:
    return Certificate(trustme.CA().issue_cert("127.0.0.1").configure_cert, trustme.CA())


@pytest.mark.parametrize(
    ("create", "reason"),
    [
        (_self_signed, "self-signed certificate"),
        (_expired, "certificate has expired"),
        (_wrong_host, "certificate is not valid for '127.0.0.1'"),
        (_unnamed_authority, "unable to get local issuer certificate"),
    ],
)
@pytest.mark.parametrize("verb", [("plan",), ("apply", "--yes")])
def test_unverified_peer_does_not_receive_a_request(
    command: Any,
    serve: Callable[..., Any],
    tmp_path: Path,
    create: Callable[[Path], Certificate],
    *,
    reason: str,
    verb: tuple[str, ...],
) -> None:
    context, certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), create(tmp_path)
    certificate.configure(context)
    served = serve(SandboxAccount.of({PHONE: "ACTIVE", "0212345678": "ACTIVE"}), ssl_context=context)
    certificate.trusted.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (account,) = served.sandbox.accounts.values()
    command.at(served.sandbox, account).environment["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    command.write("main.yaml", _DESIRED)
    result = command(*verb, "-f", "main.yaml")
    assert result.returncode == 1
    output = " ".join(result.stdout.split())
    assert "certificate cannot be verified" in output
    assert reason in output
    assert "check the endpoint" in output
    assert "SSL_CERT_FILE" in output
    assert served.sandbox.wire == []


@pytest.mark.parametrize("writable", [True, False])
def test_unwritable_key_log_is_ignored_with_a_warning(
    command: Any, serve: Callable[..., Any], tmp_path: Path, *, writable: bool
) -> None:
    """Python refuses every TLS connection if it cannot open the file of SSLKEYLOGFILE."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    served = _served(serve, authority, "127.0.0.1")
    (account,) = served.sandbox.accounts.values()
    path = tmp_path / ("keys" if writable else "gone/keys")
    command.at(served.sandbox, account).environment |= {
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        "SSLKEYLOGFILE": str(path),
    }
    command.write("main.yaml", _DESIRED)
    result = command("plan", "-f", "main.yaml")
    assert result.returncode == 0
    warning = f"warning: SSLKEYLOGFILE is ignored: {path} cannot be written"
    assert (warning in result.stderr, path.exists()) == (not writable, writable)


def test_missing_ssl_cert_file_is_named(command: Any, serve: Callable[..., Any], tmp_path: Path) -> None:
    """OpenSSL ignores a missing file silently."""
    served = _served(serve, trustme.CA(), "127.0.0.1")
    (account,) = served.sandbox.accounts.values()
    command.at(served.sandbox, account).environment["SSL_CERT_FILE"] = str(tmp_path / "gone.pem")
    command.write("main.yaml", _DESIRED)
    for arguments in (("plan", "-f", "main.yaml"), ("doctor",)):
        result = command(*arguments)
        assert result.returncode == 1
        assert "gone.pem,whichdoesnotexist" in "".join(result.stdout.split())  # a long path is wrapped at the width
