"""The status page as a process, after runs on the sandbox and beside the daemon."""

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.e2e.conftest import Command, Serve, Served
from worker.sandbox import SandboxAccount

A, B = "01000000001", "01000000002"
TOKEN = "a-token-of-24-characters"
WEEKLY = f"""version: 1
numbers:
  {A}: {{status: ACTIVE, schedule: [{{weekly: "Mon 09:00-18:00", status: INACTIVE, reason: night shift}}]}}
  {B}: INACTIVE
"""
NUMBERS = {A: "INACTIVE", B: "ACTIVE"}


@pytest.fixture
def applied(serve: Serve, account: SandboxAccount, command: Command) -> Served:
    """Apply changes to the account."""
    served = serve(account)
    command.at(served.sandbox, account).write("main.yaml", f"version: 1\nnumbers:\n  {A}: ACTIVE\n  {B}: INACTIVE\n")
    assert command("apply", "-f", "main.yaml", "--yes", "--allow", "all").returncode == 0
    return served


@pytest.fixture
def start(command: Command) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start commands, and stop those still running after the test."""
    running: list[subprocess.Popen[str]] = []

    def processes(*arguments: str) -> "subprocess.Popen[str]":
        running.append(command.popen(*arguments))
        return running[-1]

    yield processes
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def get(url: str, **headers: str) -> tuple[int, str]:
    """Return status and text of a page."""
    try:
        with urlopen(Request(url, headers=headers), timeout=20) as response:  # noqa: S310 - ours
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def _url(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.usefixtures("applied")
def test_serve_works_without_credentials(command: Command, start: Callable[..., Any]) -> None:
    names = ("SENDERID_ENDPOINT", "SOLAPI_API_KEY", "SOLAPI_API_SECRET")
    secret = [command.environment.pop(name) for name in names][-1]
    process = start("serve", "--listen", "127.0.0.1:0")
    url = _url(process)
    status, home = get(url)
    assert (status, "1 account, as of" in home) == (200, True)
    link = re.search(r'href="(/accounts/[^"]*)"', home)
    assert link is not None
    assert "010-0000-0001" in get(url + link[1])[1]
    number = get(f"{url}/numbers/{A}")[1]
    assert "verified" in number
    assert secret not in home + number
    assert get(url + "/healthz") == (200, "ok\n")
    assert get(url, Host="evil.example")[0] == 421
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert process.stderr.read() == ""


def test_signal_is_the_exit_status(start: Callable[..., Any]) -> None:
    """This holds while a browser is connected too."""
    process = start("serve", "--listen", "127.0.0.2:0")
    url = _url(process)
    assert get(url)[0] == 200
    with urlopen(url + "/events", timeout=20) as stream:  # noqa: S310 - ours
        assert stream.readline() == b"event: hello\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert process.stderr.read() == ""


@pytest.mark.usefixtures("applied")
def test_every_failed_account_has_its_row_and_page(command: Command, start: Callable[..., Any]) -> None:
    command.environment["WRONG"] = "x" * 32
    for name in ("one", "two", "three"):
        command.environment[f"KEY_{name}"] = f"NCS-{name}"
        keys = f"credentials: {{api_key: {{env: KEY_{name}}}, api_secret: {{env: WRONG}}}}"
        command.write(f"{name}.yaml", f"version: 1\n{keys}\nnumbers:\n  {A}: INACTIVE\n")
    files = [f"-f{name}.yaml" for name in ("main", "one", "two", "three")]
    assert command("apply", *files, "--yes").returncode == 1
    url = _url(start("serve", "--listen", "127.0.0.1:0"))
    home = get(url)[1]
    assert "4 accounts, as of" in home
    links = re.findall(r'<th scope="row"><a href="(/accounts/[^"]*)"><bdi>(\w+)<', home)
    assert [name for _, name in links] == ["one", "three", "two", "main"]
    for link, name in links:
        page = get(url + link)[1]
        assert f"<h1><bdi>{name}</bdi></h1>" in page
        assert ("Fix the cause." in page) is (name != "main")


def test_other_hosts_need_a_token(command: Command, start: Callable[..., Any]) -> None:
    refused = command("serve", "--listen", "0.0.0.0:0")
    assert refused.returncode == 64
    assert "--token-file" in refused.stderr
    command.write("short", "too short\n")
    for name in ("short", "nowhere", "."):
        wrong = command("serve", "--token-file", name)
        assert (wrong.returncode, f"web.token_file {name}" in wrong.stderr) == (64, True)
    command.write("token", TOKEN + "\n")
    url = _url(start("serve", "--listen", "0.0.0.0:0", "--token-file", "token")).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    assert get(url)[0] == 401
    assert get(url, Authorization=f"Bearer {TOKEN}")[0] == 200


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("-f", "-"), 64, "standard input cannot be read again"),
        (("-f", "wrong.yaml"), 65, "wrong.yaml"),
        (("--listen", "nowhere"), 64, "write an address and a port"),
    ],
)
def test_errors_have_their_exit_statuses(
    command: Command, arguments: tuple[str, ...], status: int, message: str
) -> None:
    command.write("wrong.yaml", "version: 7\n")
    result = command("serve", *arguments)
    assert (result.returncode, message in result.stderr) == (status, True), result.stderr


def test_scheduled_changes_follow_the_files(command: Command, start: Callable[..., Any]) -> None:
    command.write("main.yaml", WEEKLY)
    url = _url(start("serve", "--listen", "127.0.0.1:0", "-f", "main.yaml"))
    assert "night shift" in get(url + "/calendar")[1]
    command.write("main.yaml", WEEKLY.replace("night shift", "day shift"))
    assert "day shift" in get(url + "/calendar")[1]


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0"])
def test_daemon_shows_drift_and_quota(start: Callable[..., Any], account: SandboxAccount, listen: str) -> None:
    """Without a token, other hosts get metrics and health checks but no page."""
    process = start("watch", "-f", "main.yaml", "--every", "1h", "--dry-run", "--listen", listen)
    account.switch(A, "INACTIVE")
    url = ""
    for line in process.stderr:
        if '"watch.listening"' in line:
            url = re.findall(r'"url":\s*"([^"]*)"', line)[0].replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        if '"watch.pass"' in line:
            break
    assert [get(url + path)[0] for path in ("/metrics", "/healthz", "/readyz")] == [200, 200, 200]
    status, home = get(url)
    if listen.startswith("0"):
        assert (status, "--token-file" in home) == (403, True)
        return
    assert status == 200
    assert "<b>Live</b>" in home
    assert "1 of 1 accounts is out of sync" in home
    assert "/ 80" in get(url + "/quota")[1]


def first_page(start: Callable[..., Any], *arguments: str) -> str:
    """Return the first page of the ledger, from a server that only reads it."""
    process = start("serve", "--listen", "127.0.0.1:0", *arguments)
    home = get(_url(process))[1]
    process.terminate()
    return home


@pytest.mark.usefixtures("applied")
def test_failed_apply_followed_by_a_good_pass_is_not_failed_any_more(
    command: Command, start: Callable[..., Any]
) -> None:
    """The failure becomes history. The good pass writes nothing and records no run."""
    secret = command.environment["SOLAPI_API_SECRET"]
    command.environment["SOLAPI_API_SECRET"] = "x" * 32
    assert command("apply", "-f", "main.yaml", "--yes").returncode == 1
    failed = first_page(start)
    assert "1 of 1 accounts needs attention" in failed
    assert "Fix the cause." in failed
    command.environment["SOLAPI_API_SECRET"] = secret
    watch = start("watch", "-f", "main.yaml", "--every", "1h")
    for line in watch.stderr:
        if '"watch.pass"' in line:
            break
    watch.terminate()
    assert watch.wait(20) == 143
    home = first_page(start)
    assert "The account is in sync" in home
    assert "last failed" in home
    assert "The daemon has stopped" in home


def test_account_without_writes_is_listed(
    serve: Serve, account: SandboxAccount, command: Command, start: Callable[..., Any]
) -> None:
    """The account is listed before its first read, and after a read that found nothing to do."""
    in_sync = f"version: 1\nunmanaged: ignore\nnumbers:\n  {A}: {account.statuses[A]}\n"
    command.at(serve(account).sandbox, account).write("main.yaml", in_sync)
    assert "1 of 1 accounts has not been read" in first_page(start, "-f", "main.yaml")
    assert command("apply", "-f", "main.yaml", "--yes").returncode == 0
    for arguments in ((), ("-f", "main.yaml")):
        assert "The account is in sync" in first_page(start, *arguments)


def test_held_and_missing_numbers_need_attention(
    serve: Serve, account: SandboxAccount, command: Command, start: Callable[..., Any]
) -> None:
    active = next(phone for phone, status in account.statuses.items() if status == "ACTIVE")
    command.at(serve(account).sandbox, account).write(
        "main.yaml",
        f"version: 1\ngroups:\n  desk: {{min_active: 1, members: ['{active}']}}\n"
        f"numbers:\n  {active}: INACTIVE\n  01099999999: ACTIVE\n",
    )
    assert command("apply", "-f", "main.yaml", "--yes", "--allow", "all").returncode == 3
    home = first_page(start)
    assert "1 of 1 accounts needs attention" in home
    for kind in ("held", "missing"):
        assert re.search(rf"<summary>[^\n]*{kind}</span> <b>1 number</b>", home), kind


@pytest.mark.usefixtures("applied")
def test_killed_daemon_is_visible_within_two_intervals_without_scripts(start: Callable[..., Any]) -> None:
    """The page comes from a server that only reads the ledger."""
    url = _url(start("serve", "--listen", "127.0.0.1:0"))
    watch = start("watch", "-f", "main.yaml", "--every", "2s")
    for line in watch.stderr:
        if '"watch.pass"' in line:
            break
    deadline = time.monotonic() + 30
    while "<b>Live</b>" not in get(url)[1]:
        assert time.monotonic() < deadline
    watch.kill()
    killed = time.monotonic()
    while "The daemon is silent" not in get(url)[1]:
        assert time.monotonic() < killed + 4
