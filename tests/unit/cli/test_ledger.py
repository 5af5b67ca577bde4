"""What a run records about itself: desired-state revision, user, settings, and the path of the ledger."""

import getpass
import os
import pwd
import re
import shutil
import subprocess
import sys
import tomllib
from array import array
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.support.ledgers import clock
from worker.cli import ledger
from worker.cli.ledger import LedgerOptions, ledger_database, ledger_path, read_only
from worker.config.revision import with_commits
from worker.config.settings import LedgerSettings, Settings
from worker.model.accounts import AccountMemory, DesiredAccount, SourceFile
from worker.model.errors import LedgerError


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - git


def _commits(*sources: Path | str) -> list[str | None]:
    accounts = [DesiredAccount("a", str(source), {}, array("I")) for source in sources]
    return [account.commit for account in with_commits(accounts)]


def test_missing_extra_is_named_as_the_project_defines_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "worker.ledger.postgres.database", None)
    settings = Settings(ledger=LedgerSettings(url="postgresql://host/senderid"))
    with pytest.raises(LedgerError, match=re.escape("pip install '.[fleet]'")):
        ledger_database(settings)
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert "fleet" in project["project"]["optional-dependencies"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a checkout with one file in a folder and one at its root."""
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


def test_committed_file_has_its_full_commit_hash(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory does not matter."""
    commit = _git(checkout, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert _commits(checkout / "d" / "a.yaml", checkout / "top.yaml") == [commit, commit]
    monkeypatch.chdir(checkout)
    assert _commits("d/a.yaml", "./top.yaml") == [commit, commit]


def test_each_file_of_a_split_account_has_its_commit(checkout: Path, tmp_path: Path) -> None:
    """A part outside of the checkout has none."""
    (tmp_path / "else.yaml").write_text("")
    file = checkout / "d" / "a.yaml"
    parts = (SourceFile(str(file), 3), SourceFile(str(tmp_path / "else.yaml")))
    (account,) = with_commits([DesiredAccount("a", str(file), {}, array("I"), parts=parts)])
    assert account.commit == _git(checkout, "rev-parse", "HEAD")
    assert [(part.line, part.commit) for part in account.parts] == [(3, account.commit), (1, None)]


def test_file_that_differs_from_its_commit_is_dirty(checkout: Path) -> None:
    """Changed, staged, untracked and ignored files are dirty. Changes of other files do not matter."""
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


def test_reading_the_commit_does_not_write_the_index(checkout: Path) -> None:
    """`git status` refreshes the index by default."""
    os.utime(checkout / "d" / "a.yaml")
    index = checkout / ".git" / "index"
    original = index.read_bytes(), index.stat().st_mtime_ns
    assert _commits(checkout / "d" / "a.yaml") == [_git(checkout, "rev-parse", "HEAD")]
    assert (index.read_bytes(), index.stat().st_mtime_ns) == original


def test_file_name_is_neither_pattern_nor_option(checkout: Path) -> None:
    commit = _git(checkout, "rev-parse", "HEAD")
    names = ["*.yaml", ":(top)x.yaml", "-v.yaml", "발신번호.yaml", "a b.yaml"]
    for name in names:
        (checkout / "d" / name).write_text(name)
    assert _commits(*(checkout / "d" / name for name in names)) == [f"{commit}-dirty"] * 5
    assert _commits(checkout / "d" / "a.yaml") == [commit]


def test_file_without_usable_checkout_has_no_commit(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This includes standard input, a repository without commits, a broken one, and a host without git."""
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


def test_git_timeout_leaves_the_commit_empty(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def time_out(*_: object, timeout: float, **__: object) -> None:
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.setattr(subprocess, "run", time_out)
    assert _commits(checkout / "top.yaml") == [None]


def test_ledger_path_comes_from_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the home folder. The default is in the XDG state folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert ledger_path(Settings()) == tmp_path / "state" / "senderid" / "ledger.db"
    assert ledger_path(Settings(ledger=LedgerSettings(path="~/l.db"))) == tmp_path / "l.db"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a user with only a numeric id, as in containers."""

    def fail(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", fail)
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("path", [None, "~/ledger.db"])
def test_user_without_home_must_set_the_ledger_path(path: str | None) -> None:
    """No folder named `~` is created."""
    with pytest.raises(LedgerError, match=r"no home folder: .*SENDERID_LEDGER__PATH"):
        ledger_path(Settings(ledger=LedgerSettings(path=path)))
    assert ledger_path(Settings(ledger=LedgerSettings(path="/s/l.db"))) == Path("/s/l.db")


@pytest.mark.usefixtures("homeless")
async def test_reading_without_home_warns_once(capsys: pytest.CaptureFixture[str]) -> None:
    ledger._warn.cache_clear()
    for _ in range(2):
        assert await read_only(Settings()).recall("key") == AccountMemory()
    assert capsys.readouterr().err.count("this user has no home folder") == 1


async def _recorded_run(settings: Settings) -> tuple[Any, ...]:
    async with LedgerOptions("apply", 3.0).open(settings, "run-1", clock()) as ledger_:
        connection = ledger_._connection
        assert connection is not None
        row: tuple[Any, ...] = connection.execute("SELECT command, started_by, pid, settings FROM runs").fetchone()
        return row


async def test_run_records_command_user_process_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undecodable bytes in names are replaced."""
    settings = Settings(ledger=LedgerSettings(path=str(tmp_path / "\udcff.db")))
    monkeypatch.setattr(getpass, "getuser", lambda: "ann\udcff")
    command, user, pid, stored_settings = await _recorded_run(settings)
    assert (command, user, pid) == ("apply", "ann\ufffd", os.getpid())
    path = str(tmp_path / "\ufffd.db")
    assert msgspec.json.decode(stored_settings, type=Settings) == replace(settings, ledger=LedgerSettings(path=path))


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("no user")])
async def test_user_without_name_is_recorded_by_uid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """In a container the user often has no passwd entry."""

    def fail() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", fail)
    _, user, *_ = await _recorded_run(Settings(ledger=LedgerSettings(path=str(tmp_path / "l.db"))))
    assert user == f"uid {os.getuid()}"


async def test_unreadable_ledger_warns_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each account is planned as if the ledger were empty."""
    (tmp_path / "l.db").write_text("no ledger")
    ledger._warn.cache_clear()
    reader = read_only(Settings(ledger=LedgerSettings(path=str(tmp_path / "l.db"))))
    assert [await reader.recall("vendor 1"), await reader.recall("vendor 2")] == [AccountMemory(), AccountMemory()]
    stderr = capsys.readouterr().err
    assert stderr.count("warning:") == 1
    assert "it is not a ledger" in stderr


def test_git_variables_of_a_hook_are_ignored(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git sets GIT_DIR, GIT_WORK_TREE and GIT_INDEX_FILE for its hooks. The commit is that of the file's checkout."""
    commit = _git(checkout, "rev-parse", "HEAD")
    other_repository = tmp_path / "other"
    other_repository.mkdir()
    _git(other_repository, "init", "-q")
    _git(other_repository, "commit", "-q", "--allow-empty", "-m", "another")
    monkeypatch.setenv("GIT_DIR", str(other_repository / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other_repository))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other_repository / ".git" / "index"))
    assert _commits(checkout / "top.yaml") == [commit]


@pytest.mark.parametrize("value", ["", "state", "./state", "../state"])
def test_relative_xdg_state_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    """The XDG specification requires it: the ledger must not depend on the working directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", value)
    assert ledger_path(Settings()) == tmp_path / ".local" / "state" / "senderid" / "ledger.db"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert ledger_path(Settings()) == tmp_path / "state" / "senderid" / "ledger.db"
