"""What pipelines need besides the command, without a forge: annotations, names, errors."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from worker.credentials import CredentialsRef, SecretRef
from worker.documents import Action, Change
from worker.errors import Problem
from worker.forge.__main__ import _check, main
from worker.forge.annotations import annotations
from worker.forge.api import Api, Failed
from worker.forge.asked import unasked
from worker.forge.github import _only_file
from worker.model import Group
from worker.plan import SavedAccount, SavedPlan, seal
from worker.settings import Safety


def test_a_problem_is_an_annotation_at_its_line() -> None:
    """Problems and warnings become errors and warnings of GitHub, and other lines nothing."""
    told = annotations(["a.yaml:3:5: wrong\n", "a.yaml:4:1: warning: odd\n", "2 problems; nothing was sent.\n", "{}\n"])
    assert list(told) == ["::error file=a.yaml,line=3,col=5::wrong", "::warning file=a.yaml,line=4,col=1::odd"]


def test_of_many_problems_the_last_annotation_tells_how_many_are_left() -> None:
    """GitHub shows ten of a step: the tenth says how many more there are."""
    told = list(annotations(f"a.yaml:{line}:1: wrong" for line in range(1, 31)))
    assert len(told) == 10
    assert told[-1] == "::error::and 21 more, in the log of this step"
    assert len(list(annotations(f"a.yaml:{line}:1: wrong" for line in range(1, 11)))) == 10


@given(
    st.text(min_size=1).filter(lambda text: "\n" not in text and "\r" not in text),
    st.integers(1, 10**6),
    st.text(min_size=1).filter(lambda text: not set(text) & set("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")),
)
def test_any_problem_is_one_command(name: str, line: int, message: str) -> None:
    """Whatever a file and a problem are called, the annotation is one line, and a runner reads the same back."""
    (told,) = annotations([str(Problem(name, line, 1, message)) + "\n"])
    assert len(told.split("\n")) == 1
    found = re.fullmatch(r"::(error|warning) file=([^,:\r\n]*),line=(\d+),col=(\d+)::(.*)", told, re.DOTALL)
    assert found is not None
    decoded = [_unescaped(part) for part in (found[2], found[5])]
    assert f"{decoded[0]}:{found[3]}:{found[4]}: {'warning: ' * (found[1] == 'warning')}{decoded[1]}" == str(
        Problem(name, line, 1, message)
    )


def _unescaped(text: str) -> str:
    codes = {"%3A": ":", "%2C": ",", "%0D": "\r", "%0A": "\n", "%25": "%"}
    return re.sub("%3A|%2C|%0D|%0A|%25", lambda code: codes[code[0]], text)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a-->", "a\n", "x" * 65, "../a"])
def test_a_name_that_could_be_more_is_refused(name: str) -> None:
    """A name stands in a comment and in paths: nothing but letters, digits and what joins them is one."""
    done = CliRunner().invoke(main, ["issue", "--name", name, "--close", "x"])
    assert done.exit_code == 2
    assert "letters, digits" in done.output


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "there is no token"),
        ({"FORGE_TOKEN": "t"}, "GITHUB_REPOSITORY is not set"),
        ({"FORGE_TOKEN": "t", "GITLAB_CI": "true"}, "CI_PROJECT_ID is not set"),
        ({"FORGE_TOKEN": "t", "GITHUB_REPOSITORY": "a/b", "GITHUB_API_URL": "file:///etc"}, "not one of HTTP"),
        ({"FORGE_TOKEN": "t", "GITHUB_REPOSITORY": "a/b"}, "no pull or merge request"),
        ({"FORGE_TOKEN": "t", "GITLAB_CI": "1", "CI_PROJECT_ID": "1", "CI_API_V4_URL": "http://x"}, "no pull or merge"),
    ],
)
def test_what_is_missing_is_named(
    environment: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of a pipeline, or with half of one, it is said what is missing, and nothing is asked."""
    for name in (
        "FORGE_TOKEN",
        "GITHUB_REPOSITORY",
        "GITHUB_API_URL",
        "GITHUB_EVENT_PATH",
        "GITLAB_CI",
        "CI_PROJECT_ID",
    ):
        monkeypatch.delenv(name, raising=False)
    body = tmp_path / "body.md"
    body.write_text("x")
    done = CliRunner().invoke(main, ["comment", "--body", str(body)], env=environment)
    assert isinstance(done.exception, Failed)
    assert told in str(done.exception)


def test_an_issue_is_opened_or_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An issue without a title and a text, that is not to be closed either, is wrong usage."""
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    done = CliRunner().invoke(main, ["issue"], env={"FORGE_TOKEN": "t", "GITLAB_CI": ""})
    assert done.exit_code == 2


def test_a_host_that_does_not_answer_is_told() -> None:
    """Without a connection there is a sentence, without the token."""
    with pytest.raises(Failed, match=r"GET /x: no answer \(.*refused") as caught:
        Api("http://127.0.0.1:9", {"Authorization": "Bearer secret"}).get("/x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("archive", [b"", b"PK", b"x" * 100])
def test_an_artifact_that_is_no_archive_is_refused(archive: bytes) -> None:
    """What was kept as the plan must be an archive of one file."""
    with pytest.raises(Failed, match="no archive of one plan"):
        _only_file(archive)


def test_a_saved_plan_is_described(tmp_path: Path) -> None:
    """The outputs of a step are whether there are changes, and the fingerprint."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"fingerprint": "f" * 64, "accounts": [{"changes": []}, {"changes": [1]}]}))
    assert CliRunner().invoke(main, ["describe", str(plan)]).output == f"changes=true\nfingerprint={'f' * 64}\n"
    plan.write_text(json.dumps({"fingerprint": "f", "accounts": []}))
    assert CliRunner().invoke(main, ["describe", str(plan)]).output == "changes=false\nfingerprint=f\n"


DESIRED = """\
version: 1
account: main
account_id: "12925149"
groups: {desk: {members: [010-0000-0001, 010-0000-0002]}}
numbers:
  010-0000-0001: ACTIVE
  010-0000-0002: {status: INACTIVE}
  010-0000-0003: {status: INACTIVE, protected: true}
  010-0000-0004: {schedule: [{weekly: "Mon 09:00-10:00", status: INACTIVE}]}
  010-0000-0005: {status: ACTIVE, schedule: [{from: 2026-12-01, until: 2026-12-02, status: INACTIVE}]}
"""


def _write(phone: str, wanted: str) -> Change:
    active = wanted == "ACTIVE"
    action = Action.ACTIVATE if active else Action.DEACTIVATE
    return Change(phone, action, "INACTIVE" if active else "ACTIVE", wanted, "listed")


def _account(**other: Any) -> SavedAccount:
    given = {
        "account": "main",
        "account_id": "12925149",
        "source": "a.yaml",
        "endpoint": "solapi",
        "credentials": None,
        "safety": Safety(),
        "changes": (_write("01000000001", "ACTIVE"),),
        "groups": (Group("desk", ("01000000001", "01000000002")),),
    }
    return SavedAccount(**(given | other))


def _plan(*accounts: SavedAccount) -> bytes:
    return seal(SavedPlan.of(accounts, id="1d", created_at="2026-11-25T00:00:00Z", version="0.1.0", allow=()))


def test_a_plan_is_of_the_files_that_are_here(tmp_path: Path) -> None:
    """A plan whose files are the same passes; one of a file that is gone or other, or no plan at all, does not."""
    file = tmp_path / "a.yaml"
    file.write_text(DESIRED)
    same = sha256(DESIRED.encode()).hexdigest()
    _check(_plan(_account(source=str(file), sha256=same)))
    for source, digest in ((file, "0" * 64), (file, None), (tmp_path / "gone", same), (tmp_path / "a\0b", same)):
        with pytest.raises(Failed, match="something else was merged"):
            _check(_plan(_account(source=str(source), sha256=digest)))
    for data in (
        b"",
        b"[]",
        b'{"accounts": [1]}',
        b'{"accounts": [{"source": 1}]}',
        _plan().replace(b"0.1.0", b"0.1.1"),
    ):
        with pytest.raises(Failed, match="no plan that can be applied"):
            _check(data)
    with pytest.raises(Failed, match="its file does not ask for all that it writes"):
        _check(_plan(_account(source=str(file), sha256=same, changes=(_write("01000000001", "INACTIVE"),))))


@pytest.mark.parametrize(
    ("phone", "wanted"),
    [
        ("01000000001", "ACTIVE"),
        ("01000000002", "INACTIVE"),
        ("01000000004", "INACTIVE"),
        ("01000000005", "ACTIVE"),
        ("01000000005", "INACTIVE"),
    ],
)
def test_a_plan_may_write_what_its_file_asks_for(phone: str, wanted: str) -> None:
    """What is listed, and what a schedule wants at some time, is asked for."""
    assert unasked(_account(changes=(_write(phone, wanted),)), DESIRED.encode()) is None


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"changes": (_write("01000000001", "INACTIVE"),)}, "does not ask"),
        ({"changes": (_write("01000000003", "INACTIVE"),)}, "does not ask"),
        ({"changes": (_write("01000000004", "ACTIVE"),)}, "does not ask"),
        ({"changes": (_write("01000000009", "INACTIVE"),)}, "does not ask"),
        ({"account": "other"}, "no such account"),
        ({"account_id": "1"}, "another account"),
        ({"credentials": CredentialsRef(SecretRef(env="A"), SecretRef(env="B"))}, "reached otherwise"),
        ({"groups": ()}, "groups"),
    ],
)
def test_a_plan_that_its_file_does_not_ask_for_is_found_out(other: dict[str, Any], told: str) -> None:
    """Whoever can seal a plan can seal any: what it writes, where and by which groups must come from its file."""
    assert told in (unasked(_account(**other), DESIRED.encode()) or "")


def test_numbers_that_are_not_listed_may_be_switched_off_where_the_file_says_so() -> None:
    """With `unmanaged: deactivate` an unlisted number may become INACTIVE, and nothing else."""
    text = f"{DESIRED}unmanaged: deactivate\n".encode()
    assert unasked(_account(changes=(_write("01000000009", "INACTIVE"),)), text) is None
    assert unasked(_account(changes=(_write("01000000009", "ACTIVE"),)), text) is not None


def test_a_plan_of_an_invalid_file_is_none() -> None:
    """What cannot be read asks for nothing."""
    assert unasked(_account(), b"version: 2") == "its file is invalid"
