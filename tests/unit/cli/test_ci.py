"""What pipelines need besides the command, without a forge: annotations, names, errors."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from worker.cli.ci.__main__ import _open_plan, main
from worker.cli.ci.annotations import annotations
from worker.cli.ci.claims import Claim, sent_nothing
from worker.cli.ci.github import _only_file
from worker.cli.ci.http import Api, CiError
from worker.cli.ci.verify import Reader, any_changed, in_repository, is_superseded, is_within, mismatch
from worker.model.accounts import Group, SourceFile
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import Problem
from worker.model.plans import Action, Change
from worker.model.safety import Safety
from worker.plan.planfile import SavedAccount, SavedPlan, seal


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("config/desired", True),
        ("config/desired/main.yaml", True),
        ("./config/desired/a/../b.yaml", True),
        ("config/desired-old/main.yaml", False),
        ("config/desired/../main.yaml", False),
        ("config", False),
        ("/etc/passwd", False),
    ],
)
def test_file_of_a_job_is_in_its_folders(path: str, *, inside: bool) -> None:
    """A folder whose name only starts like one of them is another one."""
    assert is_within(path, ["other", "config/desired"]) == inside


def test_a_problem_is_an_annotation_at_its_line() -> None:
    """Problems and warnings become errors and warnings of GitHub, and other lines nothing."""
    lines = annotations(
        ["a.yaml:3:5: wrong\n", "a.yaml:4:1: warning: odd\n", "2 problems; nothing was sent.\n", "{}\n"]
    )
    assert list(lines) == ["::error file=a.yaml,line=3,col=5::wrong", "::warning file=a.yaml,line=4,col=1::odd"]


def test_last_annotation_counts_the_problems_left() -> None:
    """GitHub shows ten annotations a step: the tenth gives the number of the others."""
    lines = list(annotations(f"a.yaml:{line}:1: wrong" for line in range(1, 31)))
    assert len(lines) == 10
    assert lines[-1] == "::error::and 21 more, in the log of this step"
    assert len(list(annotations(f"a.yaml:{line}:1: wrong" for line in range(1, 11)))) == 10


@pytest.mark.slow
@given(
    st.text(min_size=1).filter(lambda text: "\n" not in text and "\r" not in text),
    st.integers(1, 10**6),
    st.text(min_size=1).filter(lambda text: not set(text) & set("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")),
)
def test_any_problem_is_one_command(name: str, line: int, message: str) -> None:
    """Whatever a file and a problem are called, the annotation is one line, and a runner reads the same back."""
    (annotation,) = annotations([str(Problem(name, line, 1, message)) + "\n"])
    assert len(annotation.split("\n")) == 1
    found = re.fullmatch(r"::(error|warning) file=([^,:\r\n]*),line=(\d+),col=(\d+)::(.*)", annotation, re.DOTALL)
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
    ("environment", "message"),
    [
        ({}, "no token"),
        ({"FORGE_TOKEN": "t"}, "GITHUB_REPOSITORY is not set"),
        ({"FORGE_TOKEN": "t", "GITLAB_CI": "true"}, "CI_PROJECT_ID is not set"),
        ({"FORGE_TOKEN": "t", "GITHUB_REPOSITORY": "a/b", "GITHUB_API_URL": "file:///etc"}, "not one of HTTP"),
        ({"FORGE_TOKEN": "t", "GITHUB_REPOSITORY": "a/b"}, "does not belong to a pull or merge request"),
        (
            {"FORGE_TOKEN": "t", "GITLAB_CI": "1", "CI_PROJECT_ID": "1", "CI_API_V4_URL": "http://x"},
            "does not belong to a pull or merge",
        ),
    ],
)
def test_what_is_missing_is_named(
    environment: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert isinstance(done.exception, CiError)
    assert message in str(done.exception)


def test_an_issue_is_open_plan_or_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An issue without a title and a text, that is not to be closed either, is wrong usage."""
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    done = CliRunner().invoke(main, ["issue"], env={"FORGE_TOKEN": "t", "GITLAB_CI": ""})
    assert done.exit_code == 2


def test_unreachable_host_is_an_error_without_the_token() -> None:
    waits: list[float] = []
    with pytest.raises(CiError, match=r"GET /x: no response \(.*refused.*gave up after 5 attempts") as caught:
        Api("http://127.0.0.1:9", {"Authorization": "Bearer secret"}, sleep=waits.append).get("/x")
    assert "secret" not in str(caught.value)
    assert waits == [1, 2, 4, 8]


@pytest.mark.parametrize("archive", [b"", b"PK", b"x" * 100])
def test_an_artifact_that_is_no_archive_is_refused(archive: bytes) -> None:
    """What was kept as the plan must be an archive of one file."""
    with pytest.raises(CiError, match="not an archive of one plan"):
        _only_file(archive)


def test_a_saved_plan_is_described(tmp_path: Path) -> None:
    """The outputs of a step are whether there are changes, and the fingerprint."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"fingerprint": "f" * 64, "accounts": [{"changes": []}, {"changes": [1]}]}))
    assert CliRunner().invoke(main, ["describe", str(plan)]).output == f"changes=true\nfingerprint={'f' * 64}\n"
    plan.write_text(json.dumps({"fingerprint": "f", "accounts": []}))
    assert CliRunner().invoke(main, ["describe", str(plan)]).output == "changes=false\nfingerprint=f\n"


_SEALED = seal(SavedPlan.of((), id="1d", created_at="2026-11-25T00:00:00Z", version="0.1.0", allow=()))

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


def _write(phone: str, desired: str) -> Change:
    active = desired == "ACTIVE"
    action = Action.ACTIVATE if active else Action.DEACTIVATE
    return Change(phone, action, "INACTIVE" if active else "ACTIVE", desired, "listed")


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


def _reader(**files: str) -> Reader:
    return lambda source: (
        files[source.removesuffix(".yaml")].encode() if source.removesuffix(".yaml") in files else None
    )


@pytest.mark.parametrize("roots", [["a.yaml"], ["."], ["./a.yaml", "b"]])
def test_a_plan_of_its_files_matches(roots: list[str]) -> None:
    """Account, pin, credentials, endpoint and groups are those of a file of the job."""
    assert mismatch(_account(), roots, _reader(a=DESIRED)) is None


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"account": "other"}, "has no account 'other'"),
        ({"account_id": "1"}, "another account"),
        ({"credentials": CredentialsRef(SecretRef(env="A"), SecretRef(env="B"))}, "its credentials or its endpoint"),
        ({"groups": ()}, "its groups"),
        ({"source": "b.yaml"}, "'b.yaml' is not there"),
        ({"source": "broken.yaml"}, "'broken.yaml' is invalid"),
        ({"source": "../a.yaml"}, "'../a.yaml' is not among the desired-state files"),
        ({"source": "a\0b.yaml"}, "is not there"),
        ({"parts": (SourceFile("b.yaml"),)}, "'b.yaml' is not there"),
        ({"parts": (SourceFile("/etc/a.yaml"),)}, "'/etc/a.yaml' is not among the desired-state files"),
    ],
)
def test_plan_that_does_not_match_its_files_is_refused(other: dict[str, Any], reason: str) -> None:
    """A seal proves nothing about who wrote it: the files decide which accounts and groups a plan may name."""
    assert reason in (mismatch(_account(**other), ["."], _reader(a=DESIRED, broken="version: 2")) or "")


def test_another_endpoint_than_that_of_the_file_is_found_out() -> None:
    """A file that names an endpoint decides it; one that names none leaves it to the settings."""
    text = f"endpoint: coolsms\n{DESIRED}"
    assert "its endpoint" in (mismatch(_account(), ["."], _reader(a=text)) or "")
    assert mismatch(_account(endpoint="coolsms"), ["."], _reader(a=text)) is None
    assert mismatch(_account(endpoint="coolsms"), ["."], _reader(a=DESIRED)) is None


_UNLISTED = _write("01000000009", "INACTIVE")


@pytest.mark.parametrize(
    ("newer", "changes", "is_overtaken"),
    [
        (DESIRED, (_write("01000000001", "ACTIVE"),), False),
        (DESIRED.replace("0001: ACTIVE", "0001: INACTIVE"), (_write("01000000001", "ACTIVE"),), True),
        (DESIRED.replace("0001: ACTIVE", "0001: INACTIVE"), (_write("01000000002", "INACTIVE"),), False),
        (DESIRED.replace("0001: ACTIVE", "0001: {status: ACTIVE, note: x}"), (_write("01000000001", "ACTIVE"),), False),
        (
            DESIRED.replace("0001: ACTIVE", "0001: {status: ACTIVE, protected: true}"),
            (_write("01000000001", "ACTIVE"),),
            True,
        ),
        (DESIRED.replace("Mon 09", "Mon 08"), (_write("01000000004", "INACTIVE"),), True),
        (DESIRED + "  010-0000-0009: INACTIVE\n", (_UNLISTED,), True),
        (DESIRED + "unmanaged: deactivate\n", (_UNLISTED,), True),
        ("version: 2", (_write("01000000001", "ACTIVE"),), True),
        (DESIRED.replace("account: main", "account: other"), (_write("01000000001", "ACTIVE"),), True),
        ("version: 2", (), False),
    ],
)
def test_newer_files_overtake_a_plan_where_they_ask_for_something_else(
    newer: str, changes: tuple[Change, ...], *, is_overtaken: bool
) -> None:
    """What counts is what the plan writes: other numbers and notes may differ."""
    assert is_superseded(_account(changes=changes), _reader(a=DESIRED), _reader(a=newer), list) is is_overtaken


def test_a_plan_whose_file_is_gone_in_the_newer_commit_is_overtaken() -> None:
    """A file that was deleted asks for nothing any more."""
    assert is_superseded(_account(), _reader(a=DESIRED), _reader(), list)


@pytest.mark.parametrize(
    ("other", "is_overtaken"),
    [
        ("version: 1\naccount: main\nnumbers: {010-0000-0009: ACTIVE}\n", True),
        ("version: 1\naccount: main\nnumbers: {010-0000-0009: INACTIVE}\n", True),
        ("version: 1\naccount: main\nnumbers: {010-0000-0008: ACTIVE}\n", False),
        ("version: 1\naccount: other\nnumbers: {010-0000-0009: ACTIVE}\n", False),
        ("version: 1\naccount: main\nnumbers: [", True),
        ("version: 1\nnumbers: [", False),
    ],
)
def test_a_newer_file_that_lists_an_unlisted_number_overtakes_a_plan(other: str, *, is_overtaken: bool) -> None:
    """A part that is added to a split account is a file that the plan does not name."""
    text = DESIRED + "unmanaged: deactivate\n"
    parts = [("accounts/new.yaml", other.encode())]
    account = _account(changes=(_UNLISTED,))
    assert is_superseded(account, _reader(a=text), _reader(a=text), lambda: parts) is is_overtaken
    known = [(account.source, b"version: 2")]
    assert not is_superseded(account, _reader(a=text), _reader(a=text), lambda: known), (
        "its own files are read by `newer`"
    )


def test_other_newer_files_are_read_only_for_unlisted_numbers() -> None:
    """A listed number is asked for by the files of the plan alone."""
    reader = _reader(a=DESIRED)
    account = _account(changes=(_write("01000000001", "ACTIVE"),))
    assert not is_superseded(account, reader, reader, lambda: pytest.fail("read"))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"accounts": [1]}', _SEALED.replace(b"0.1.0", b"0.1.1")])
def test_what_is_no_plan_is_not_open_plan(data: bytes) -> None:
    """Neither other files nor a plan that was changed after it was written."""
    with pytest.raises(CiError, match="not a valid plan"):
        _open_plan(data)


@pytest.mark.parametrize(
    ("roots", "names", "is_changed"),
    [
        (["numbers"], ["numbers/main.yaml"], True),
        (["./numbers/"], ["numbers/kr/main.yaml"], True),
        (["numbers"], ["numbers.md", "config/desired/main.yaml"], False),
        (["a.yaml", "b.yaml"], ["b.yaml"], True),
        (["."], ["README.md"], True),
        (["numbers"], [], False),
    ],
)
def test_a_change_lies_in_the_files_or_folders(
    roots: list[str], names: list[str], *, is_changed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the folder is written."""
    monkeypatch.chdir(tmp_path)
    assert any_changed(names, roots) is is_changed


def test_a_folder_links_to_where_its_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chosen folder may be a link, and the repository a folder below that of the job."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkout/.git").mkdir(parents=True)
    (tmp_path / "checkout/numbers").mkdir()
    (tmp_path / "chosen").symlink_to("checkout/numbers")
    assert any_changed(["numbers/main.yaml"], ["chosen"])
    assert any_changed(["numbers/main.yaml"], ["checkout/numbers"])
    assert any_changed(["numbers/main.yaml"], ["checkout"])
    assert not any_changed(["checkout/numbers/main.yaml"], ["checkout/numbers"])
    assert in_repository("/") is None


JOB = "https://gitlab.example/jobs/1"


def test_a_claim_is_read_back() -> None:
    """The second line of a comment has it, also where the forge changed the ends of lines."""
    claim = Claim("1d-a_B", "00ff", JOB)
    assert Claim.read(f"<!-- senderid apply senderid -->\n{claim.line}\ntext") == claim
    assert Claim.read(f"<!-- senderid apply senderid -->\r\n{claim.line}\r\n") == claim
    for body in ("", claim.line, f"marker\ntext\n{claim.line}", f"marker\n{claim.line} x"):
        assert Claim.read(body) is None


@pytest.mark.parametrize(
    ("plan", "job"),
    [
        ("", JOB),
        ("a b", JOB),
        ("-->", JOB),
        ("x" * 65, JOB),
        ("1d", "job 1"),
        ("1d", "https://x/ -->"),
        ("1d", "ftp://x"),
    ],
)
def test_what_cannot_stand_in_a_comment_is_no_claim(plan: str, job: str) -> None:
    """The id comes from an artifact, which anybody may have made."""
    with pytest.raises(ValueError, match="not a plan's id"):
        _ = Claim(plan, "00ff", job).line


def _finished(**fields: object) -> str:
    return json.dumps({"event": "run.finished", **fields}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("log", "status", "is_certain"),
    [
        ([_finished(writes=0)], 1, True),
        ([_finished(writes=0)], 4, True),
        ([_finished(writes=0)], 5, True),
        ([_finished(writes=1)], 0, False),
        ([_finished(writes=1)], 3, False),
        ([_finished()], 0, False),
        ([_finished(writes=0), _finished(writes=1)], 0, False),
        ([], 1, False),
        ([], 137, False),
        ([], 64, True),
        ([], 65, True),
        (['{"event":"notice","message":"\\"run.finished\\"","writes":0}'], 0, False),
        (['{"event":"notice","kind":"run.finished","writes":0}'], 0, False),
        (['"run.finished" is no line of a log'], 1, False),
        (['["run.finished"]'], 1, False),
        (["no JSON"], 1, False),
    ],
)
def test_only_a_log_or_a_status_that_says_so_is_certain(log: list[str], status: int, *, is_certain: bool) -> None:
    """A claim is released only where the run certainly sent no write."""
    assert sent_nothing(log, status) is is_certain
