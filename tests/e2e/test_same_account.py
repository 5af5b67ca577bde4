"""One account under two names, and one account in several files: conflicts are refused before any write."""

import json
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import Command, Serve, Served
from tests.e2e.test_watch import Daemon
from worker.sandbox import SandboxAccount

A, B, C, D = "01000000001", "01000000002", "01000000003", "01000000004"


def document(name: str, numbers: str, key: str | None = None, more: str = "") -> str:
    """Return a document; `key` names the variables of its key pair."""
    credentials = (
        "" if key is None else f"credentials: {{api_key: {{env: {key}}}, api_secret: {{env: {key}_SECRET}}}}\n"
    )
    return f"version: 1\naccount: {name}\n{credentials}{more}numbers: {{{numbers}}}\n"


def account(account_id: str = "1", key: str = "NCS1", **statuses: str) -> SandboxAccount:
    """Return an account; its numbers are keywords n010…."""
    numbers = {phone.lstrip("n"): status for phone, status in statuses.items()}
    return SandboxAccount.of(numbers, account_id=account_id, api_key=key, api_secret="s" * 32)


@pytest.mark.parametrize("command_line", [("plan",), ("apply", "--yes"), ("validate",), ("drift",), ("calendar",)])
@pytest.mark.parametrize("by_value", [True, False])
def test_two_files_of_one_account_are_refused_offline(
    command: Command, serve: Serve, command_line: tuple[str, ...], *, by_value: bool
) -> None:
    """The files have the same key, or one reference that cannot be resolved. No message contains a key."""
    served = serve(account(n01000000001="INACTIVE"))
    command.environment["SENDERID_ENDPOINT"] = served.sandbox.url
    if by_value:
        command.environment |= {"ONE": "NCS1", "TWO": "NCS1", "ONE_SECRET": "s" * 32, "TWO_SECRET": "s" * 32}
    command.write("d/a.yaml", document("a", f"{A}: ACTIVE", "ONE"))
    command.write("d/b.yaml", document("b", f"{A}: INACTIVE", "TWO" if by_value else "ONE"))
    result = command(*command_line, "-f", "d")
    assert result.returncode == 65
    assert result.stderr.startswith(
        "d/b.yaml:1:1: account 'b' has the API key of 'a' at d/a.yaml:1, so both are one account"
    )
    assert "NCS1" not in result.stderr
    assert served.sandbox.wire == []


def test_accounts_not_selected_are_checked(command: Command, serve: Serve) -> None:
    served = serve(account(n01000000001="INACTIVE"))
    command.at(served.sandbox, next(iter(served.sandbox.accounts.values())))
    command.write("d/a.yaml", document("a", f"{A}: ACTIVE"))
    command.write("d/b.yaml", document("b", f"{A}: INACTIVE"))
    assert command("apply", "-f", "d", "--account", "a", "--yes").returncode == 65
    assert served.sandbox.wire == []


@pytest.fixture
def twins(command: Command, serve: Serve) -> Served:
    """Serve two keys of one account, and a third account, in a.yaml, b.yaml and c.yaml."""
    served = serve(
        account("1", "NCS1", n01000000001="INACTIVE"),
        account("1", "NCS2", n01000000001="INACTIVE"),
        account("2", "NCS3", n01000000003="INACTIVE"),
    )
    command.environment["SENDERID_ENDPOINT"] = served.sandbox.url
    for name, key in (("A", "NCS1"), ("B", "NCS2"), ("C", "NCS3")):
        command.environment |= {name: key, f"{name}_SECRET": "s" * 32}
    command.write("d/a.yaml", document("a", f"{A}: ACTIVE", "A"))
    command.write("d/b.yaml", "# the same account\n" + document("b", f"{A}: INACTIVE", "B"))
    command.write("d/c.yaml", document("c", f"{C}: ACTIVE", "C"))
    return served


def test_two_keys_of_one_account_are_refused_before_any_write(command: Command, twins: Served) -> None:
    """Only the API shows that the account is the same. Other accounts converge."""
    result = command("apply", "-f", "d", "--yes", "--format", "json")
    assert result.returncode == 1
    accounts = {entry["account"]: entry for entry in json.loads(result.stdout)["accounts"]}
    assert {name: entry["outcome"] for name, entry in accounts.items()} == {
        "a": "failed",
        "b": "failed",
        "c": "converged",
    }
    for name in "ab":
        assert accounts[name]["error"]["code"] == "DuplicateAccount"
        assert "'a' (d/a.yaml:1), 'b' (d/b.yaml:2)" in accounts[name]["error"]["message"]
    assert twins.writes == [(C, "ACTIVE")]
    assert command("apply", "-f", "d/c.yaml", "-f", "d/a.yaml", "--yes").returncode == 0


@pytest.mark.parametrize("unreadable", [None, "A"])
def test_ledger_identity_refuses_an_account_whose_other_name_is_not_read(
    command: Command, twins: Served, unreadable: str | None
) -> None:
    assert command("apply", "-f", "d", "--account", "a", "--yes").returncode == 0
    if unreadable is not None:
        del command.environment[unreadable]
    options = () if unreadable else ("--account", "b")
    result = command("apply", "-f", "d", *options, "--exclude", C, "--yes", "--format", "json")
    assert result.returncode == 1
    (other,) = (entry for entry in json.loads(result.stdout)["accounts"] if entry["account"] == "b")
    assert other["error"]["code"] == "DuplicateAccount"
    assert "'b' (d/b.yaml:2), 'a' (d/a.yaml:1)" in other["error"]["message"]
    assert twins.writes == [(A, "ACTIVE")]
    assert command("plan", "-f", "d", "--account", "b").returncode == 1
    assert command("apply", "-f", "d/b.yaml", "--yes").returncode == 0, "no file of this run describes the other"


def test_ledger_identity_is_read_again(command: Command, twins: Served) -> None:
    """A document that now is of another account does not refuse the run."""
    assert command("apply", "-f", "d", "--account", "a", "--yes").returncode == 0
    command.environment["A"] = "NCS3"
    del command.environment["C"], command.environment["C_SECRET"]
    initial_count = len(twins.sandbox.wire)
    assert command("plan", "-f", "d", "--account", "b").returncode == 0
    assert len(twins.sandbox.wire) == initial_count + 3, "one without a number that its file lists is read twice"
    command.environment |= {"ELSE": "NCS1", "ELSE_SECRET": "s" * 32}
    command.write("d/a.yaml", document("a", f"{A}: ACTIVE", "ELSE"))
    assert command("plan", "-f", "d", "--account", "b").returncode == 0
    assert len(twins.sandbox.wire) == initial_count + 4


def test_plan_file_omits_accounts_with_two_names(command: Command, twins: Served) -> None:
    assert command("plan", "-f", "d", "--out", "p.json").returncode == 1
    saved = json.loads((command.folder / "p.json").read_text())
    assert [account["account"] for account in saved["accounts"]] == ["c"]
    assert [(account["account"], account["error"]["code"]) for account in saved["left_out"]] == [
        ("a", "DuplicateAccount"),
        ("b", "DuplicateAccount"),
    ]
    assert command("apply", "p.json").returncode == 1
    assert twins.writes == [(C, "ACTIVE")]
    (run,) = json.loads(command("history", "last", "--format", "json").stdout)["runs"]
    assert [
        (account["account"], account["outcome"], account["source"]) for account in run["accounts"] if account["error"]
    ] == [
        ("a", "failed", "p.json"),
        ("b", "failed", "p.json"),
    ]


def test_plan_file_accounts_with_one_key_are_refused_offline(command: Command, twins: Served) -> None:
    assert command("plan", "-f", "d/a.yaml", "-f", "d/c.yaml", "--out", "p.json").returncode == 0
    command.environment["C"] = "NCS1"
    initial_count = len(twins.sandbox.wire)
    result = command("apply", "p.json")
    assert result.returncode == 65
    assert "p.json: accounts 'a' and 'c' have the same API key" in result.stderr
    assert len(twins.sandbox.wire) == initial_count


_HEAD = "unmanaged: deactivate\nsafety: {min_active: 1, max_deactivations: 1}\n"


@pytest.fixture
def split(command: Command, serve: Serve) -> Served:
    """Serve an account in two files of a folder, with one unmanaged number."""
    served = serve(account(n01000000001="INACTIVE", n01000000002="INACTIVE", n01000000003="ACTIVE"))
    command.at(served.sandbox, next(iter(served.sandbox.accounts.values())))
    command.write("d/head.yaml", document("main", f"{A}: ACTIVE", more=_HEAD))
    command.write("d/team.yaml", document("main", f"{B}: ACTIVE"))
    return served


def test_split_account_is_one_plan_and_one_entry(command: Command, split: Served) -> None:
    process = command("apply", "-f", "d", "--yes", "--format", "json")
    assert process.returncode == 0, process.stderr
    (result,) = json.loads(process.stdout)["accounts"]
    assert result["account"] == "main"
    assert sorted(split.writes) == [(A, "ACTIVE"), (B, "ACTIVE"), (C, "INACTIVE")]
    (run,) = json.loads(command("history", "--format", "json").stdout)["runs"]
    (entry,) = json.loads(command("history", run["run_id"], "--format", "json").stdout)["runs"][0]["accounts"]
    assert entry["source"] == "d/head.yaml, d/team.yaml"
    assert len(entry["sha256"]) == 64
    assert command("plan", "-f", "d", "--detailed-exitcode").returncode == 0


def test_safety_limits_of_a_split_account_count_once(command: Command, split: Served) -> None:
    assert command("apply", "-f", "d", "--yes").returncode == 0
    command.write("d/head.yaml", document("main", f"{A}: INACTIVE, {D}: ACTIVE", more=_HEAD))
    command.write("d/team.yaml", document("main", f"{B}: INACTIVE"))
    initial_count = len(split.writes)
    result = command("apply", "-f", "d", "--yes")
    assert result.returncode == 4
    assert "max-deactivations" in result.stdout
    assert len(split.writes) == initial_count


def test_partial_split_account_is_refused_when_it_would_deactivate(command: Command, split: Served) -> None:
    result = command("apply", "-f", "d/head.yaml", "--yes", "--allow", "all")
    assert result.returncode == 65
    assert result.stderr.startswith("d/head.yaml:1:1: d/team.yaml:2 also describes account 'main'")
    assert "-f d\n" in result.stderr
    assert command("plan", "-f", "d/team.yaml").returncode == 65
    assert split.sandbox.wire == []


def test_plan_file_names_all_files_of_a_split_account(command: Command, split: Served) -> None:
    assert command("plan", "-f", "d", "--out", "p.json").returncode == 0
    (saved,) = json.loads((command.folder / "p.json").read_text())["accounts"]
    assert (saved["source"], [part["source"] for part in saved["parts"]]) == ("d/head.yaml", ["d/team.yaml"])
    assert command("apply", "p.json").returncode == 0
    assert len(split.writes) == 3


def test_account_option_keeps_all_files_of_a_split_account(command: Command, split: Served) -> None:
    assert command("apply", "-f", "d", "--account", "main", "--yes").returncode == 0
    assert len(split.writes) == 3


@pytest.fixture
def watched(command: Command) -> Iterator[Callable[..., Daemon]]:
    """Start a daemon over the folder, and stop it by a signal."""
    daemons: list[Daemon] = []

    def start(*more: str, outcome: str = "converged") -> Daemon:
        daemons.append(Daemon(command, "-f", "d", "--every", "1s", "--log-format", "json", *more))
        daemons[0].until("watch.pass", outcome=outcome)
        return daemons[0]

    yield start
    for daemon in daemons:
        daemon.end()
        daemon.process.communicate()


def test_watch_refuses_a_second_name_in_the_files(
    command: Command, serve: Serve, watched: Callable[..., Daemon]
) -> None:
    served = serve(account(n01000000001="INACTIVE", n01000000002="INACTIVE"))
    command.at(served.sandbox, next(iter(served.sandbox.accounts.values())))
    command.write("d/z.yaml", document("z", f"{A}: ACTIVE"))
    daemon = watched()
    command.write("d/a.yaml", document("a", f"{A}: INACTIVE"))
    daemon.process.send_signal(signal.SIGHUP)
    broken = daemon.until("watch.file_broken")
    assert broken["file"] == "d/a.yaml"
    assert "account 'a' has the API key of 'z' at d/z.yaml:1" in broken["error_message"]
    daemon.until("watch.pass")
    daemon.until("watch.pass")
    assert served.writes == [(A, "ACTIVE")]
    command.write("d/a.yaml", document("z", f"{B}: ACTIVE"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until("watch.file_mended", file="d/a.yaml")
    daemon.until("number", phone=B, outcome="changed")
    assert served.writes == [(A, "ACTIVE"), (B, "ACTIVE")]


def test_watch_refuses_a_second_key_that_only_the_api_shows(
    command: Command, twins: Served, watched: Callable[..., Daemon]
) -> None:
    """This includes passes over one of the two names."""
    text = (command.folder / "d/b.yaml").read_bytes()
    (command.folder / "d/b.yaml").unlink()
    daemon = watched()
    command.write("d/b.yaml", text)
    daemon.until("account.failed", account="b", error_code="DuplicateAccount")
    twins.sandbox.accounts["NCS1"].switch(A, "INACTIVE")
    for _ in "ab":  # the order of the two is random
        daemon.until("watch.backoff", attempts=3)
    daemon.until("watch.pass")
    assert sorted(twins.writes) == [(A, "ACTIVE"), (C, "ACTIVE")]
    (command.folder / "d/b.yaml").unlink()
    daemon.until("number", account="a", phone=A, outcome="changed")


def test_watch_reads_the_other_name_of_its_account(
    command: Command, twins: Served, watched: Callable[..., Daemon]
) -> None:
    """Two daemons with one name each would undo each other's changes for ever."""
    assert command("apply", "-f", "d", "--account", "b", "--yes").returncode == 0
    twins.sandbox.accounts["NCS2"].switch(A, "ACTIVE")
    assert command("apply", "-f", "d", "--account", "b", "--yes", "--allow", "min-active").returncode == 0
    daemon = watched("--account", "a", outcome="failed")
    assert (A, "ACTIVE") not in twins.writes
    (command.folder / "d/b.yaml").unlink()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until("number", account="a", phone=A, outcome="changed")
