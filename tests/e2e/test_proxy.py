"""Requests through an HTTP proxy: TLS to the API inside a tunnel, over real sockets."""

import json
import ssl
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import trustme

from tests.e2e.conftest import Command, Serve, Served
from tests.support.proxy import Proxy
from worker.sandbox import SandboxAccount

A, B, C = "01000000001", "01000000002", "01000000003"
_FILE = f"version: 1\naccount: main\nnumbers: {{{A}: INACTIVE}}\n"
_HOST = "api.sms.test"
"""The host of the API. Only the proxy can reach it."""
_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY", "http_proxy")


class _Api(NamedTuple):
    account: SandboxAccount
    served: Served
    port: int


@pytest.fixture
def api(command: Command, serve: Serve) -> _Api:
    """Serve an account over TLS, with a certificate of an authority of its own for a host without an address."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(command.folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(_HOST).configure_cert(context)
    account = SandboxAccount.of({A: "ACTIVE", B: "ACTIVE", C: "ACTIVE"})
    served = serve(account, ssl_context=context)
    command.at(served.sandbox, account)
    port = int(served.sandbox.url.rpartition(":")[2])
    command.environment |= {"SENDERID_ENDPOINT": f"https://{_HOST}:{port}", "SENDERID_RETRY__ATTEMPTS": "1"}
    command.write("config/desired/main.yaml", _FILE)
    return _Api(account, served, port)


@pytest.fixture
def proxy(api: _Api) -> Iterator[Proxy]:
    """Run a proxy to that account."""
    with Proxy(api.port) as running:
        yield running


def _settings(command: Command, **network: str) -> None:
    fields = {"ca_file": str(command.folder / "ca.pem")} | network
    command.write(
        "config/worker.yaml", f"network: {{{', '.join(f'{key}: {value}' for key, value in fields.items())}}}\n"
    )


@pytest.mark.parametrize("how", ["option", "file", "environment"])
def test_numbers_are_written_through_a_proxy(command: Command, api: _Api, proxy: Proxy, how: str) -> None:
    """The proxy sees the host of the API, but no header of a request to it."""
    _settings(command, **({"proxy": proxy.url} if how == "file" else {}))
    if how == "environment":
        command.environment["SENDERID_NETWORK__PROXY"] = proxy.url
    arguments = ["--proxy", f"{proxy.url}/"] if how == "option" else []
    result = command("apply", "--yes", *arguments)
    assert result.returncode == 0, result.stderr
    assert api.account.statuses[A] == "INACTIVE"
    assert {head.partition("\r\n")[0] for head in proxy.heads} == {f"CONNECT {_HOST}:{api.port} HTTP/1.1"}
    assert not any("uthorization" in head or "HMAC" in head for head in proxy.heads)


def test_option_overrides_the_proxy_of_the_file(command: Command, proxy: Proxy) -> None:
    _settings(command, proxy=proxy.url)
    result = command("plan", "--proxy", "none")
    assert result.returncode == 1
    assert proxy.heads == []


@pytest.mark.usefixtures("api")
def test_environment_is_never_asked_for_a_proxy(command: Command, proxy: Proxy) -> None:
    """`doctor` reports a proxy that is not used, without its value, which may have a password."""
    _settings(command)
    command.environment |= dict.fromkeys(_VARIABLES, proxy.url.replace("//", "//user:canary@"))
    assert command("plan").returncode == 1
    assert proxy.heads == []
    result = command("doctor", "--format", "json")
    (check,) = [entry for entry in json.loads(result.stdout)["checks"] if entry["name"] == "proxy"]
    assert check["status"] == "warn"
    assert "ignored environment variables: HTTPS_PROXY, https_proxy, ALL_PROXY" in check["detail"]
    assert "--proxy" in check["detail"]
    assert "canary" not in result.stdout + result.stderr


def test_doctor_checks_the_way_through_the_proxy(command: Command, proxy: Proxy) -> None:
    _settings(command, proxy=proxy.url)
    result = command("doctor", "--format", "json")
    checks = {entry["name"]: (entry["status"], entry["detail"]) for entry in json.loads(result.stdout)["checks"]}
    assert result.returncode == 0, result.stdout
    assert checks["proxy"] == ("ok", f"requests go through {proxy.url}")
    assert checks["network"] == ("ok", f"{proxy.url.removeprefix('http://')} is reachable")
    assert (checks["tls"][0], checks["signature"][0]) == ("skip", "ok")


@pytest.mark.parametrize(("credentials", "is_accepted"), [("kim:canary-pass:word", True), ("kim:canary-wrong", False)])
def test_proxy_gets_its_credentials(command: Command, api: _Api, credentials: str, *, is_accepted: bool) -> None:
    """The credentials of the proxy come by reference, and no output contains them."""
    command.environment["PROXY_LOGIN"] = credentials
    with Proxy(api.port, credentials="kim:canary-pass:word") as proxy:
        _settings(command, proxy=proxy.url, proxy_credentials="{env: PROXY_LOGIN}")
        result = command("plan", "--log-level", "debug", "--format", "json")
    output = result.stdout + result.stderr
    assert "canary" not in output
    if is_accepted:
        assert result.returncode == 0, output
    else:
        assert result.returncode == 1
        assert "the proxy requires a user and a password: check network.proxy_credentials" in output
        assert api.served.sandbox.wire == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, "the proxy does not connect to the endpoint (HTTP 403)"),
        (502, "the proxy does not connect to the endpoint (HTTP 502)"),
        (407, "the proxy requires a user and a password"),
    ],
)
@pytest.mark.parametrize("verb", [("plan",), ("apply", "--yes")])
def test_refusal_of_the_proxy_is_named(
    command: Command, api: _Api, status: int, reason: str, verb: tuple[str, ...]
) -> None:
    with Proxy(api.port, status=status) as proxy:
        _settings(command, proxy=proxy.url)
        result = command(*verb, "--format", "json")
    assert (result.returncode, api.account.statuses[A]) == (1, "ACTIVE")
    assert reason in result.stdout


@pytest.mark.usefixtures("api")
def test_proxy_that_is_not_there_is_named(command: Command) -> None:
    _settings(command, proxy="http://127.0.0.1:9")
    result = command("plan", "--format", "json")
    assert result.returncode == 1
    assert "cannot connect to the proxy 127.0.0.1:9 (Connection refused)" in result.stdout
    checks = json.loads(command("doctor", "--format", "json").stdout)["checks"]
    assert {"network": "fail"}.items() <= {entry["name"]: entry["status"] for entry in checks}.items()


@pytest.mark.parametrize("host", [_HOST, ".sms.test", "test"])
def test_excepted_host_is_reached_directly(command: Command, proxy: Proxy, host: str) -> None:
    _settings(command, proxy=proxy.url, no_proxy=f"[10.0.0.0/8, {host}]")
    assert command("plan").returncode == 1
    assert proxy.heads == []


def test_this_machine_is_reached_directly(command: Command, serve: Serve, proxy: Proxy) -> None:
    """The simulated API needs no proxy, and plain http must not leave the machine."""
    account = SandboxAccount.of(dict.fromkeys((A, B, C), "ACTIVE"))
    command.at(serve(account).sandbox, account)
    assert command("plan", "--proxy", proxy.url).returncode == 0
    assert proxy.heads == []


@pytest.mark.usefixtures("api")
def test_authority_of_the_system_alone_does_not_verify_the_endpoint(command: Command, proxy: Proxy) -> None:
    """A proxy that opens TLS has its own authority: the error names the setting for it."""
    result = command("plan", "--proxy", proxy.url, "--format", "json")
    assert result.returncode == 1
    assert "set network.ca_file or SSL_CERT_FILE to add a certificate authority" in result.stdout


@pytest.mark.parametrize(
    ("network", "status", "reason"),
    [
        ("{ca_file: gone.pem}", 64, "network.ca_file gone.pem: cannot be read: No such file or directory"),
        ("{ca_file: config/desired/main.yaml}", 64, "the file contains no certificate in PEM format"),
        ("{proxy: 'http://p:1', proxy_credentials: {env: GONE}}", 64, "the environment variable GONE is not set"),
        ("{proxy: 'http://p:1', proxy_credentials: {env: ONLY_USER}}", 64, "ONLY_USER must have USER:PASSWORD"),
        ("{proxy: 'http://canary:x@p:1'}", 65, "config/worker.yaml:1:18: proxy must not have a user or password"),
        ("{proxy: 'socks5://p:1'}", 65, "config/worker.yaml:1:18: proxy must be the URL of an HTTP proxy"),
        ("{no_proxy: sms.test}", 65, "config/worker.yaml:1:21: no_proxy must be a list of hosts"),
        ("{no_proxy: ['a b']}", 65, "config/worker.yaml:1:22: invalid host 'a b'"),
    ],
)
@pytest.mark.usefixtures("api")
def test_invalid_network_settings_are_named(command: Command, network: str, status: int, reason: str) -> None:
    command.environment["ONLY_USER"] = "canary"
    command.write("config/worker.yaml", f"network: {network}\n")
    result = command("plan")
    assert (result.returncode, result.stdout) == (status, "")
    assert reason in result.stderr
    assert "canary" not in result.stderr


@pytest.mark.parametrize("url", ["p:3128", "http://p", "http://user:canary@p:1", "https://p:1", "http://p:1/x"])
def test_invalid_proxy_is_wrong_usage(command: Command, url: str) -> None:
    result = command("plan", "--proxy", url)
    assert result.returncode == 64
    assert "canary" not in result.stderr
