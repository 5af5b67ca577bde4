"""No secret, salt or signature leaks, for every kind of failure at debug level.

The search covers all outputs of a run: stdout and stderr, documents, plan files, the ledger with its journal, lock
files, and the command line of the running process. It finds the texts in plain, hex, base64 and URL encoding.
"""

import base64
import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from itertools import cycle, product
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tests.e2e.conftest import SENDERID, Command, Serve, Served
from worker.sandbox import Fault, Sandbox, SandboxAccount

_CANARY = "Canary/of+the=secret&{}%"
"""A secret with characters that URLs and base64 encode."""
_HASTE = {
    "SENDERID_RETRY__ATTEMPTS": "1",
    "SENDERID_RETRY__BASE_SECONDS": "0.01",
    "SENDERID_TIMEOUT__TOTAL_SECONDS": "1",
    "SENDERID_RATE_LIMIT__PER_SECONDS": "0.1",
    "SENDERID_LOG__LEVEL": "debug",
}
_FAULTS = [fault for fault in Fault if fault is not Fault.FLOOD]
"""80 MB more of the same, which takes a while."""


def _spellings(text: str) -> Iterator[bytes]:
    """Return the forms in which a text may appear, including base64 at any offset."""
    raw = text.encode()
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield quote(text, safe="").encode()
    yield quote_plus(text).encode()
    yield text.encode("unicode_escape")
    yield json.dumps(text)[1:-1].encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # the first and last characters depend on the adjacent text
            yield encode(b"\0" * offset + raw)[4 if offset else 0 :].rstrip(b"=")[:-2]


class _Watched:
    """A command, and sandboxes that record every credentials header and all outputs of the command."""

    def __init__(self, command: Command, serve: Serve) -> None:
        self.command = command
        self._serve = serve
        self.headers: list[str] = []
        self.secrets: list[str] = []
        self.outputs: dict[str, bytes] = {}
        self._kept = 0
        command.environment |= _HASTE

    def served(self, *accounts: SandboxAccount, **options: Any) -> Served:
        served = self._serve(*accounts, rate_limit=None, **options)
        authenticate = served.sandbox._authenticate

        def record_header(request: Any, record: Any) -> SandboxAccount:
            self.headers.append(request.headers.get("Authorization", ""))
            return authenticate(request, record)

        setattr(served.sandbox, "_authenticate", record_header)  # noqa: B010 - mypy knows it as a method
        self.secrets += [account.api_secret for account in accounts]
        return served

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> int:
        """Run the command and return its exit status."""
        original = dict(self.command.environment)
        self.command.environment |= environment
        try:
            result = self.command(*arguments, stdin=stdin)
        finally:
            self.command.environment = original
        self.record(result.stdout, result.stderr, " ".join(arguments))
        return result.returncode

    def record(self, out: str, err: str, name: str) -> None:
        """Record outputs and every file of the folder."""
        self._kept += 1
        name = f"{self._kept} {name}"
        self.outputs[f"{name}: outputs"] = f"{out}\n{err}".encode()
        for path in self.command.folder.rglob("*"):
            if path.is_file():
                self.outputs[f"{name}: {path.relative_to(self.command.folder)}"] = path.read_bytes()

    def check(self) -> None:
        """Check that no output contains a secret."""
        signed = [re.findall(r"(?:salt|signature)=([^,\s]+)", header) for header in self.headers]
        assert all(len(pair) == 2 for pair in signed)
        hidden = {*self.secrets, *(text for pair in signed for text in pair)}
        needles = {spelling for text in hidden for spelling in _spellings(text)}
        assert all(len(needle) > 8 for needle in needles)
        everything = b"\n".join(self.outputs.values())
        if any(needle in everything for needle in needles):
            leaks = [name for name, data in self.outputs.items() if any(needle in data for needle in needles)]
            pytest.fail(f"given away in {leaks}")
        assert b"HMAC-SHA256" not in everything


@pytest.fixture
def watched(command: Command, serve: Serve) -> _Watched:
    """Return a command whose outputs are searched."""
    return _Watched(command, serve)


def _account(number: int, numbers: int = 1) -> SandboxAccount:
    return SandboxAccount.of(
        {f"010{number:04}{index:04}": "INACTIVE" for index in range(numbers)},
        account_id=f"{number}",
        api_key=f"NCS{number:013}",
        api_secret=_CANARY.format(f"{number:04}"),
    )


def _fleet(watched: _Watched, accounts: list[SandboxAccount], secrets: Path) -> None:
    """Write a file for each account. Half of the secrets are in the environment, half in files."""
    for number, account in enumerate(accounts):
        (secrets / f"{number}").write_text(account.api_secret + "\n")
        watched.command.environment |= {f"KEY{number}": account.api_key, f"SECRET{number}": account.api_secret}
        secret = f"{{env: SECRET{number}}}" if number % 2 else f"{{file: {secrets / str(number)}}}"
        numbers = "".join(f"  {phone}: ACTIVE\n" for phone in account.numbers)
        watched.command.write(
            f"config/desired/a{number}.yaml",
            f"version: 1\ncredentials: {{api_key: {{env: KEY{number}}}, api_secret: {secret}}}\nnumbers:\n{numbers}",
        )


@pytest.fixture
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for secrets."""
    return tmp_path_factory.mktemp("secrets")


def test_faults_reveal_no_secret(watched: _Watched, secrets: Path) -> None:
    """The faults happen in a plan, an apply and a saved plan."""
    accounts = [_account(number) for number in range(len(_FAULTS))]
    served = watched.served(*accounts)
    watched.command.environment["SENDERID_ENDPOINT"] = served.sandbox.url
    _fleet(watched, accounts, secrets)
    served.sandbox.script(None, "GET", _FAULTS)
    assert watched.run("plan", "--format", "json", "--output", "plan.out") == 1
    for account, fault in zip(accounts, _FAULTS, strict=True):
        served.sandbox.script(next(iter(account.numbers)), "PUT", [fault, fault, fault])
    watched.run("plan", "--allow", "fleet-wide", "--out", "plan.json")
    assert watched.run("apply", "--yes", "--allow", "fleet-wide", "--format", "json", "--output", "result.out") == 1
    assert watched.run("apply", "plan.json", "--allow", "replay", "--log-format", "console") == 1
    met = {request.fault for request in served.sandbox.wire if request.method == "PUT"}
    assert met >= set(_FAULTS), "a fault was not met"
    assert len(watched.headers) > 3 * len(_FAULTS)
    watched.check()


def test_invalid_settings_and_files_reveal_no_secret(watched: _Watched, secrets: Path) -> None:
    account = _account(1)
    served = watched.served(account)
    secret = account.api_secret
    watched.command.at(served.sandbox, account).write("d.yaml", "version: 1\nnumbers: {01000010000: ACTIVE}\n")
    (secrets / "twice").write_text(f"{secret}\n{secret}\n")
    (secrets / "folder").mkdir()
    literal = f"version: 1\ncredentials: {{api_key: '{secret}', api_secret: '{secret}'}}\nnumbers: {{}}\n"
    named = "version: 1\ncredentials: {{api_key: {{env: SOLAPI_API_KEY}}, api_secret: {}}}\nnumbers: {{}}\n"
    assert watched.run("validate", "-f", "-", stdin=literal) == 65
    assert watched.run("plan", "-f", "-", stdin=literal) == 65
    for source in (f"{{file: {secrets / 'twice'}}}", f"{{file: {secrets / 'folder'}}}", "{env: UNSET}"):
        assert watched.run("plan", "-f", "-", stdin=named.format(source)) == 1
    assert watched.run("plan", "-f", "d.yaml", SOLAPI_API_KEY="NCSUNKNOWN") == 1
    assert watched.run("plan", "-f", "d.yaml", SOLAPI_API_KEY=secret) == 1
    assert watched.run("apply", "-y", "-f", "d.yaml", SOLAPI_API_SECRET=secret + "\x1b") in {1, 65}
    assert watched.run("plan", "-f", "d.yaml", SOLAPI_API_SECRET="ü" + secret) == 1
    assert watched.run("plan", "-f", "d.yaml", SOLAPI_API_SECRET="x" + secret) == 1
    assert watched.run("doctor", SOLAPI_API_SECRET=secret[:-1]) == 1
    watched.secrets.append(secret[:-1])
    assert watched.run("doctor") == 0
    assert watched.run("export") == 0
    for nowhere in ("http://127.0.0.1:1", "https://127.0.0.1:1", served.sandbox.url.replace("http", "https")):
        for verb in (("plan", "-f", "d.yaml"), ("apply", "-y", "-f", "d.yaml"), ("export",), ("doctor",)):
            assert watched.run(*verb, SENDERID_ENDPOINT=nowhere) == 1
    watched.check()


_BUGGY = """
import sys
from worker.solapi import {module}
def bug(self, *arguments, **more):
    secret = self._signer if hasattr(self, "_signer") else self
    raise {error}("the secret is " + {secret!r})
{module}.{target} = bug
from worker.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("module", "target", "error", "verb"),
    [
        (*target, error, verb)
        for target, (error, verb) in zip(
            cycle([("signing", "Signer.header"), ("client", "AccountReader._read_once")]),
            product(
                ["RuntimeError", "OSError", "KeyError", "UnicodeError"],
                [("apply", "-y", "-f", "d.yaml"), ("doctor",), ("export",)],
            ),
            strict=False,
        )
    ],
)
def test_bugs_reveal_no_secret(
    watched: _Watched, module: str, target: str, *, error: str, verb: tuple[str, ...]
) -> None:
    """A bug is reported by its type and location."""
    account = _account(1)
    served = watched.served(account)
    watched.command.at(served.sandbox, account).write("d.yaml", "version: 1\nnumbers: {01000010000: ACTIVE}\n")
    program = (
        sys.executable,
        "-c",
        _BUGGY.format(module=module, target=target, error=error, secret=account.api_secret),
    )
    with watched.command.popen(*verb, program=program) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in out + err
    watched.record(out, err, "bug")
    watched.check()


def test_running_process_reveals_no_secret(watched: _Watched) -> None:
    """This covers command lines, the ledger's journal, lock files and the message of another run."""
    account = _account(1, 40)
    served = watched.served(account)
    served.sandbox.script(None, "PUT", [None, Fault.UNAVAILABLE, Fault.RESET_AFTER, Fault.STALL, Fault.STALL])
    numbers = "".join(f"  {phone}: ACTIVE\n" for phone in account.numbers)
    watched.command.at(served.sandbox, account).write("d.yaml", f"version: 1\nnumbers:\n{numbers}")
    watched.command.environment |= {"SENDERID_TIMEOUT__TOTAL_SECONDS": "20", "SENDERID_CONCURRENCY": "2"}
    with watched.command.popen("apply", "-y", "-f", "d.yaml", program=(SENDERID,)) as process:
        end = time.monotonic() + 30
        while sum(request.fault is Fault.STALL for request in served.sandbox.wire) < 2:
            assert time.monotonic() < end, "it does not stall"
            time.sleep(0.01)
        assert watched.run("apply", "-y", "-f", "d.yaml") == 5
        for path in Path(f"/proc/{process.pid}/task").iterdir():
            watched.outputs[f"cmdline {path.name}"] = (path / "cmdline").read_bytes()
            watched.outputs[f"comm {path.name}"] = (path / "comm").read_bytes()
        assert any("-wal" in name for name in watched.outputs)
        assert any("lock" in name for name in watched.outputs)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 143
    watched.record(out, err, "stopped")
    assert watched.run("apply", "-y", "-f", "d.yaml") == 0
    watched.check()


def test_search_finds_every_spelling(watched: _Watched) -> None:
    served = watched.served(_account(1))
    assert isinstance(served.sandbox, Sandbox)
    salt = "0123456789abcdef"
    watched.headers.append(f"HMAC-SHA256 apiKey=k, date=d, salt={salt}, signature={'ab' * 32}")
    for text in (_account(1).api_secret, salt, "ab" * 32):
        raw = text.encode()
        for encoded in (raw, raw.hex().encode(), quote(text, safe="").encode(), *_in_base64(raw)):
            watched.outputs = {"file": b"before " + encoded + b" after"}
            with pytest.raises(pytest.fail.Exception, match="given away"):
                watched.check()
    watched.outputs = {"file": b"nothing"}
    watched.check()


def _in_base64(raw: bytes) -> Iterator[bytes]:
    for offset in range(4):
        yield base64.b64encode(b"x" * offset + raw + b"yz")


def test_short_secret_does_not_mask_log_keys(command: Command, serve: Serve) -> None:
    """A real endpoint gets no request."""
    account = SandboxAccount.of({"01000000001": "INACTIVE"}, api_key="k", api_secret="ho")
    served = serve(account)
    command.at(served.sandbox, account).write("d.yaml", "version: 1\nnumbers: {01000000001: ACTIVE}\n")
    result = command("apply", "-y", "-f", "d.yaml")
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert [line["phone"] for line in lines if line["event"] == "number"] == ["01000000001"]
    assert "[removed]" not in "".join(name for line in lines for name in line)
    del command.environment["SENDERID_ENDPOINT"]
    result = command("plan", "-f", "d.yaml")
    assert result.returncode == 1
    output = " ".join(result.stdout.split())
    assert "the environment variable SOLAPI_API_SECRET has fewer than 8 characters" in output
