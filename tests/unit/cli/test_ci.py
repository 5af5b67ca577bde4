"""Pipeline helpers that need no forge: annotations, names, claims and the check of a plan against its files."""

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
def test_path_is_within_one_of_the_folders(path: str, *, inside: bool) -> None:
    """A folder whose name only starts with the name of a root is outside of it."""
    assert is_within(path, ["other", "config/desired"]) == inside


def test_problem_becomes_annotation_at_its_line() -> None:
    """Problems and warnings become GitHub errors and warnings. Other lines are dropped."""
    lines = annotations(
        ["a.yaml:3:5: wrong\r\n", "a.yaml:4:1: warning: odd\n", "2 problems; nothing was sent.\n", "{}\n"]
    )
    assert list(lines) == ["::error file=a.yaml,line=3,col=5::wrong", "::warning file=a.yaml,line=4,col=1::odd"]


def test_tenth_annotation_counts_the_remaining_problems() -> None:
    """GitHub shows at most ten annotations a step."""
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
def test_annotation_of_any_problem_is_one_line_and_round_trips(name: str, line: int, message: str) -> None:
    """File names and messages with any characters are escaped, and a runner decodes the same text."""
    (annotation,) = annotations([str(Problem(name, line, 1, message)) + "\n"])
    assert len(annotation.split("\n")) == 1
    match = re.fullmatch(r"::(error|warning) file=([^,:\r\n]*),line=(\d+),col=(\d+)::(.*)", annotation, re.DOTALL)
    assert match is not None
    decoded = [_unescaped(part) for part in (match[2], match[5])]
    assert f"{decoded[0]}:{match[3]}:{match[4]}: {'warning: ' * (match[1] == 'warning')}{decoded[1]}" == str(
        Problem(name, line, 1, message)
    )


def _unescaped(text: str) -> str:
    codes = {"%3A": ":", "%2C": ",", "%0D": "\r", "%0A": "\n", "%25": "%"}
    return re.sub("%3A|%2C|%0D|%0A|%25", lambda code: codes[code[0]], text)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a-->", "a\n", "x" * 65, "../a"])
def test_pipeline_name_with_special_characters_is_refused(name: str) -> None:
    """Names become part of comments and paths, so only letters, digits, `-` and `_` are allowed."""
    result = CliRunner().invoke(main, ["issue", "--name", name, "--close", "x"])
    assert result.exit_code == 2
    assert "letters, digits" in result.output


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
def test_missing_environment_is_named_before_any_request(
    environment: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    result = CliRunner().invoke(main, ["comment", "--body", str(body)], env=environment)
    assert isinstance(result.exception, CiError)
    assert message in str(result.exception)


def test_issue_without_title_or_close_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    result = CliRunner().invoke(main, ["issue"], env={"FORGE_TOKEN": "t", "GITLAB_CI": ""})
    assert result.exit_code == 2


def test_error_of_unreachable_host_does_not_contain_token() -> None:
    waits: list[float] = []
    with pytest.raises(CiError, match=r"GET /x: no response \(.*refused.*gave up after 5 attempts") as caught:
        Api("http://127.0.0.1:9", {"Authorization": "Bearer secret"}, sleep=waits.append).get("/x")
    assert "secret" not in str(caught.value)
    assert waits == [1, 2, 4, 8]


@pytest.mark.parametrize("archive", [b"", b"PK", b"x" * 100])
def test_artifact_that_is_not_an_archive_is_refused(archive: bytes) -> None:
    with pytest.raises(CiError, match="not an archive of one plan"):
        _only_file(archive)


def test_describe_prints_changes_and_fingerprint(tmp_path: Path) -> None:
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


def _account(**fields: Any) -> SavedAccount:
    defaults = {
        "account": "main",
        "account_id": "12925149",
        "source": "a.yaml",
        "endpoint": "solapi",
        "credentials": None,
        "safety": Safety(),
        "changes": (_write("01000000001", "ACTIVE"),),
        "groups": (Group("desk", ("01000000001", "01000000002")),),
    }
    return SavedAccount(**(defaults | fields))


def _reader(**files: str) -> Reader:
    return lambda source: (
        files[source.removesuffix(".yaml")].encode() if source.removesuffix(".yaml") in files else None
    )


@pytest.mark.parametrize("roots", [["a.yaml"], ["."], ["./a.yaml", "b"]])
def test_plan_from_the_given_files_matches(roots: list[str]) -> None:
    """Account, pin, credentials, endpoint and groups equal those of the file."""
    assert mismatch(_account(), roots, _reader(a=DESIRED)) is None


@pytest.mark.parametrize(
    ("fields", "reason"),
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
def test_plan_that_does_not_match_its_files_is_refused(fields: dict[str, Any], reason: str) -> None:
    """A seal does not authenticate its author, so accounts and groups are checked against the files."""
    assert reason in (mismatch(_account(**fields), ["."], _reader(a=DESIRED, broken="version: 2")) or "")


def test_endpoint_that_differs_from_the_file_is_refused() -> None:
    """If the file names no endpoint, the settings determine it."""
    text = f"endpoint: coolsms\n{DESIRED}"
    assert "its endpoint" in (mismatch(_account(), ["."], _reader(a=text)) or "")
    assert mismatch(_account(endpoint="coolsms"), ["."], _reader(a=text)) is None
    assert mismatch(_account(endpoint="coolsms"), ["."], _reader(a=DESIRED)) is None


_UNLISTED = _write("01000000009", "INACTIVE")


@pytest.mark.parametrize(
    ("newer", "changes", "expected"),
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
        (
            DESIRED.replace("0001: ACTIVE", "0001: {status: ACTIVE, acknowledge: {reason: x, until: 2999-01-01}}"),
            (_write("01000000001", "ACTIVE"),),
            True,
        ),
        (DESIRED.replace("Mon 09", "Mon 08"), (_write("01000000004", "INACTIVE"),), True),
        (DESIRED + "  010-0000-0009: INACTIVE\n", (_UNLISTED,), True),
        (DESIRED + "unmanaged: deactivate\n", (_UNLISTED,), True),
        (DESIRED + "ignore: [010-0000-0009]\n", (_UNLISTED,), True),
        (DESIRED + "ignore: [070*]\n", (_UNLISTED,), False),
        ("version: 2", (_write("01000000001", "ACTIVE"),), True),
        (DESIRED.replace("account: main", "account: other"), (_write("01000000001", "ACTIVE"),), True),
        ("version: 2", (), False),
    ],
)
def test_plan_is_superseded_if_newer_files_desire_another_status(
    newer: str, changes: tuple[Change, ...], *, expected: bool
) -> None:
    """Only numbers that the plan writes count. Other numbers and notes may differ."""
    assert is_superseded(_account(changes=changes), _reader(a=DESIRED), _reader(a=newer), list) is expected


@pytest.mark.parametrize("roots", [["."], ["a.yaml"]])
def test_defaults_of_the_folder_belong_to_the_files(roots: list[str]) -> None:
    """The shared file may be new or deleted since the plan: each number is compared when the plan is applied."""
    account = _account(parts=(SourceFile("senderid.yaml"),))
    assert mismatch(account, roots, _reader(a=DESIRED, senderid="version: 1")) is None
    assert mismatch(account, roots, _reader(a=DESIRED)) is None
    assert "'a.yaml' is invalid" in (mismatch(_account(), roots, _reader(a=DESIRED, senderid="version: 2")) or "")
    outside = _account(parts=(SourceFile("/etc/senderid.yaml"),))
    assert "'/etc/senderid.yaml' is not among" in (mismatch(outside, roots, _reader(a=DESIRED)) or "")


@pytest.mark.parametrize(
    ("newer", "expected"),
    [("defaults: {owner: x}", False), ("defaults: {protected: true}", True), ("schedules: {}", False)],
)
def test_plan_is_superseded_if_newer_defaults_desire_another_status(newer: str, *, expected: bool) -> None:
    reader = _reader(a=DESIRED, senderid=f"version: 1\n{newer}")
    assert is_superseded(_account(), _reader(a=DESIRED), reader, list) is expected
    assert is_superseded(_account(), reader, _reader(a=DESIRED), list) is expected


def test_plan_is_superseded_if_newer_commit_deletes_its_file() -> None:
    assert is_superseded(_account(), _reader(a=DESIRED), _reader(), list)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("version: 1\naccount: main\nnumbers: {010-0000-0009: ACTIVE}\n", True),
        ("version: 1\naccount: main\nnumbers: {010-0000-0009: INACTIVE}\n", True),
        ("version: 1\naccount: main\nnumbers: {010-0000-0008: ACTIVE}\n", False),
        ("version: 1\naccount: other\nnumbers: {010-0000-0009: ACTIVE}\n", False),
        ("version: 1\naccount: main\nnumbers: [", True),
        ("version: 1\nnumbers: [", False),
    ],
)
def test_plan_for_unlisted_number_is_superseded_if_a_new_file_lists_it(other: str, *, expected: bool) -> None:
    """A new part of a split account is a file that the plan does not name."""
    text = DESIRED + "unmanaged: deactivate\n"
    parts = [("accounts/new.yaml", other.encode())]
    account = _account(changes=(_UNLISTED,))
    assert is_superseded(account, _reader(a=text), _reader(a=text), lambda: parts) is expected
    known = [(account.source, b"version: 2")]
    assert not is_superseded(account, _reader(a=text), _reader(a=text), lambda: known), (
        "its own files are read by `newer`"
    )


def test_other_newer_files_are_read_only_for_unlisted_numbers() -> None:
    """The files of the plan alone determine the status of a listed number."""
    reader = _reader(a=DESIRED)
    account = _account(changes=(_write("01000000001", "ACTIVE"),))
    assert not is_superseded(account, reader, reader, lambda: pytest.fail("read"))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"accounts": [1]}', _SEALED.replace(b"0.1.0", b"0.1.1")])
def test_invalid_or_modified_plan_is_not_opened(data: bytes) -> None:
    with pytest.raises(CiError, match="not a valid plan"):
        _open_plan(data)


@pytest.mark.parametrize(
    ("roots", "names", "is_changed"),
    [
        (["numbers"], ["numbers/main.yaml"], True),
        (["./numbers/"], ["numbers/kr/main.yaml"], True),
        (["numbers"], ["numbers.md", "config/desired/main.yaml"], False),
        (["a.yaml", "b.yaml"], ["b.yaml"], True),
        (["a.yaml", "b.yaml"], ["senderid.yaml"], True),
        (["kr/a.yaml"], ["senderid.yaml"], False),
        (["."], ["README.md"], True),
        (["numbers"], [], False),
    ],
)
def test_changed_file_is_matched_with_files_and_folders(
    roots: list[str], names: list[str], *, is_changed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert any_changed(names, roots) is is_changed


def test_symlinked_folder_is_resolved_in_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder may be a symlink, and the repository may be in a subfolder of the working directory."""
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


def test_claim_is_read_from_second_line_of_comment() -> None:
    """The line ends of the forge do not matter."""
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
def test_claim_with_invalid_id_or_url_is_refused(plan: str, job: str) -> None:
    """The id comes from an artifact and is untrusted."""
    with pytest.raises(ValueError, match="not a plan's id"):
        _ = Claim(plan, "00ff", job).line


def _finished(**fields: object) -> str:
    return json.dumps({"event": "run.finished", **fields}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("log", "status", "proven"),
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
def test_claim_is_released_only_if_log_or_status_proves_no_write(log: list[str], status: int, *, proven: bool) -> None:
    assert sent_nothing(log, status) is proven
