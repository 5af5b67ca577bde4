"""What pipelines need besides the command, without a forge: annotations, names, errors."""

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import Problem
from worker.forge.__main__ import _check, main
from worker.forge.annotations import annotations
from worker.forge.api import Api, Failed
from worker.forge.github import _only_file


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


def test_a_plan_is_of_the_files_that_are_here(tmp_path: Path) -> None:
    """A plan whose files are the same passes; one of a file that is gone or other, or no plan at all, does not."""
    file = tmp_path / "a.yaml"
    file.write_text("a")
    same = sha256(b"a").hexdigest()
    _check(json.dumps({"accounts": [{"source": str(file), "sha256": same}, {"source": "x", "sha256": None}]}).encode())
    for source, digest in ((file, "0" * 64), (tmp_path / "gone", same)):
        with pytest.raises(Failed, match="something else was merged"):
            _check(json.dumps({"accounts": [{"source": str(source), "sha256": digest}]}).encode())
    for data in (b"", b"[]", b'{"accounts": [1]}', b'{"accounts": [{}]}'):
        with pytest.raises(Failed, match="no saved plan"):
            _check(data)
