"""What a run says of itself in its ledger: which file, which user, which revision of the desired state."""

import getpass
import os
import pwd
import shutil
import subprocess
from array import array
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.support.ledgers import clock
from worker.cli import ledger
from worker.cli.ledger import LedgerOptions, ledger_path, read_only
from worker.config.revision import with_commits
from worker.config.settings import LedgerSettings, Settings
from worker.model.accounts import AccountMemory, DesiredAccount, SourceFile
from worker.model.errors import LedgerError


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - git


def _commits(*sources: Path | str) -> list[str | None]:
    accounts = [DesiredAccount("a", str(source), {}, array("I")) for source in sources]
    return [account.commit for account in with_commits(accounts)]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a file in a folder, and another at its top."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "checkout"
    (folder / "d").mkdir(parents=True)
    _git(folder, "init", "-q")
    (folder / "d" / "a.yaml").write_text("a")
    (folder / "top.yaml").write_text("top")
    (folder / ".gitignore").write_text("ignored.yaml\n")
    _git(folder, "add", ".")
    _git(folder, "commit", "-qm", "first")
    return folder


def test_a_file_of_a_checkout_has_its_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole hash, from inside and outside of the checkout, for each file of it."""
    commit = _git(checkout, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert _commits(checkout / "d" / "a.yaml", checkout / "top.yaml") == [commit, commit]
    monkeypatch.chdir(checkout)
    assert _commits("d/a.yaml", "./top.yaml") == [commit, commit]


def test_each_file_of_a_split_account_has_its_own_commit(checkout: Path, tmp_path: Path) -> None:
    """A part of the same checkout has its commit, and one that lies elsewhere has none."""
    (tmp_path / "else.yaml").write_text("")
    file = checkout / "d" / "a.yaml"
    parts = (SourceFile(str(file), 3), SourceFile(str(tmp_path / "else.yaml")))
    (account,) = with_commits([DesiredAccount("a", str(file), {}, array("I"), parts=parts)])
    assert account.commit == _git(checkout, "rev-parse", "HEAD")
    assert [(part.line, part.commit) for part in account.parts] == [(3, account.commit), (1, None)]


def test_a_file_that_is_not_as_it_was_committed_is_dirty(checkout: Path) -> None:
    """Changed, staged, not added and ignored files are not in the commit; changes elsewhere say nothing of this one."""
    commit = _git(checkout, "rev-parse", "HEAD")
    file = checkout / "d" / "a.yaml"
    (checkout / "top.yaml").write_text("changed")
    (checkout / "d" / "other.yaml").write_text("new")
    assert _commits(file) == [commit]
    assert _commits(checkout / "top.yaml") == [f"{commit}-dirty"]
    assert _commits(checkout / "d" / "other.yaml") == [f"{commit}-dirty"]
    (checkout / "ignored.yaml").write_text("ignored")
    assert _commits(checkout / "ignored.yaml") == [f"{commit}-dirty"]
    file.write_text("changed")
    _git(checkout, "add", "d/a.yaml")
    assert _commits(file) == [f"{commit}-dirty"]
    _git(checkout, "commit", "-qm", "second")
    assert _commits(file) == [_git(checkout, "rev-parse", "HEAD")] != [commit]


def test_reading_leaves_a_checkout_unchanged(checkout: Path) -> None:
    """Git refreshes its index when asked, and may not do so here."""
    os.utime(checkout / "d" / "a.yaml")
    index = checkout / ".git" / "index"
    before = index.read_bytes(), index.stat().st_mtime_ns
    assert _commits(checkout / "d" / "a.yaml") == [_git(checkout, "rev-parse", "HEAD")]
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_odd_names_are_names(checkout: Path) -> None:
    """A name is neither a pattern nor an option of git's."""
    commit = _git(checkout, "rev-parse", "HEAD")
    names = ["*.yaml", ":(top)x.yaml", "-v.yaml", "발신번호.yaml", "a b.yaml"]
    for name in names:
        (checkout / "d" / name).write_text(name)
    assert _commits(*(checkout / "d" / name for name in names)) == [f"{commit}-dirty"] * 5
    assert _commits(checkout / "d" / "a.yaml") == [commit]


def test_outside_of_a_checkout_there_is_no_commit(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor for standard input, in a checkout without a commit, with a broken one, or without git."""
    (tmp_path / "a.yaml").write_text("a")
    assert _commits(tmp_path / "a.yaml") == [None]
    monkeypatch.chdir(checkout)
    assert _commits("stdin", "top.yaml") == [None, _git(checkout, "rev-parse", "HEAD")]
    (tmp_path / "new").mkdir()
    _git(tmp_path / "new", "init", "-q")
    (tmp_path / "new" / "a.yaml").write_text("a")
    assert _commits(tmp_path / "new" / "a.yaml") == [None]
    (tmp_path / "new" / ".git" / "HEAD").write_text("nonsense")
    assert _commits(tmp_path / "new" / "a.yaml") == [None]
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert shutil.which("git") is None
    assert _commits("top.yaml") == [None]


def test_git_that_does_not_answer_is_not_waited_for(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer in time the file's hash alone is its revision."""

    def slow(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.setattr(subprocess, "run", slow)
    assert _commits(checkout / "top.yaml") == [None]


def test_the_ledger_is_where_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of the settings, with ~ for the home folder, and the state folder without one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert ledger_path(Settings()) == tmp_path / "state" / "senderid" / "ledger.db"
    assert ledger_path(Settings(ledger=LedgerSettings(path="~/l.db"))) == tmp_path / "l.db"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that is a number and nothing else, as containers have them."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("path", [None, "~/ledger.db"])
def test_user_without_a_home_must_name_the_ledger(path: str | None) -> None:
    """No folder named ~ is created, and an explicit path works."""
    with pytest.raises(LedgerError, match=r"no home folder: .*SENDERID_LEDGER__PATH"):
        ledger_path(Settings(ledger=LedgerSettings(path=path)))
    assert ledger_path(Settings(ledger=LedgerSettings(path="/s/l.db"))) == Path("/s/l.db")


@pytest.mark.usefixtures("homeless")
async def test_reading_without_a_home_continues(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands that only read warn once that they have no ledger."""
    ledger._warn.cache_clear()
    for _ in range(2):
        assert await read_only(Settings()).recall("key") == AccountMemory()
    assert capsys.readouterr().err.count("this user has no home folder") == 1


async def _begun(settings: Settings) -> tuple[Any, ...]:
    async with LedgerOptions("apply", 3.0).open(settings, "run-1", clock()) as book:
        connection = book._connection
        assert connection is not None
        found: tuple[Any, ...] = connection.execute("SELECT command, started_by, pid, settings FROM runs").fetchone()
        return found


async def test_a_run_notes_who_started_it_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command, user, process and settings, whatever bytes are in their names."""
    settings = Settings(ledger=LedgerSettings(path=str(tmp_path / "\udcff.db")))
    monkeypatch.setattr(getpass, "getuser", lambda: "ann\udcff")
    command, user, pid, kept = await _begun(settings)
    assert (command, user, pid) == ("apply", "ann\ufffd", os.getpid())
    path = str(tmp_path / "\ufffd.db")
    assert msgspec.json.decode(kept, type=Settings) == replace(settings, ledger=LedgerSettings(path=path))


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("no user")])
async def test_a_user_without_a_name_has_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """In a container the user often stands in no list."""

    def nameless() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nameless)
    _, user, *_ = await _begun(Settings(ledger=LedgerSettings(path=str(tmp_path / "l.db"))))
    assert user == f"uid {os.getuid()}"


async def test_unreadable_ledger_warns_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each account is planned as if the ledger were empty; the warning is not repeated for each."""
    (tmp_path / "l.db").write_text("no ledger")
    ledger._warn.cache_clear()
    nothing = read_only(Settings(ledger=LedgerSettings(path=str(tmp_path / "l.db"))))
    assert [await nothing.recall("vendor 1"), await nothing.recall("vendor 2")] == [AccountMemory(), AccountMemory()]
    stderr = capsys.readouterr().err
    assert stderr.count("warning:") == 1
    assert "it is not a ledger" in stderr


def test_the_environment_of_a_hook_names_no_other_repository(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git sets GIT_DIR, GIT_WORK_TREE and GIT_INDEX_FILE for its hooks; the commit is that of the file's checkout."""
    commit = _git(checkout, "rev-parse", "HEAD")
    other = tmp_path / "other"
    other.mkdir()
    _git(other, "init", "-q")
    _git(other, "commit", "-q", "--allow-empty", "-m", "another")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert _commits(checkout / "top.yaml") == [commit]


@pytest.mark.parametrize("value", ["", "state", "./state", "../state"])
def test_a_relative_state_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    """As the XDG specification asks: the ledger must not depend on the folder that a command is started in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", value)
    assert ledger_path(Settings()) == tmp_path / ".local" / "state" / "senderid" / "ledger.db"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert ledger_path(Settings()) == tmp_path / "state" / "senderid" / "ledger.db"
