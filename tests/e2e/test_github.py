"""The GitHub Action's own script, against the sandbox and a GitHub over real sockets."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from tests.e2e.conftest import Command, Served
from tests.e2e.forges import BOT, REPOSITORY, TOKEN, Forge
from worker.documents import Action, Change
from worker.plan import SavedPlan, seal, unseal
from worker.sandbox import SandboxAccount

ROOT = Path(__file__).parents[2]
A, B = "01012345678", "0212345678"
HEAD, MERGE = "a" * 40, "b" * 40
MARKER = "<!-- senderid plan senderid -->"
FILES = f"version: 1\nnumbers:\n  {A}: {{status: ACTIVE, note: call {A} or +82 10 1234 5678}}\n  {B}: ACTIVE\n"
_FULL = re.compile(r"(?:010|\+82\W{0,2}10)\W{0,2}1234\W{0,2}5678|02\W{0,2}1234\W{0,2}5678")


class Job:
    """A job of a workflow: its environment, and what its step leaves behind."""

    def __init__(self, command: Command, forge: Forge) -> None:
        self.folder = command.folder
        self._command = command
        self._forge = forge
        installed = command.folder / "runner" / "senderid"
        installed.parent.mkdir()
        installed.symlink_to(Path(sys.executable).parents[1])
        self.event: dict[str, Any] = {"pull_request": {"number": 7}}
        self.environment = {
            "RUNNER_TEMP": str(command.folder / "runner"),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": "42",
            "GITHUB_SHA": MERGE,
            "GITHUB_REF_NAME": "main",
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_API_URL": forge.url,
            "GITHUB_EVENT_PATH": str(command.folder / "event.json"),
            "HEAD_REPOSITORY": REPOSITORY,
            "FORGE_TOKEN": TOKEN,
            "INPUT_FILES": "desired.yaml",
            "INPUT_MASK": "010****5678",
        }

    def __call__(self, verb: str, **inputs: str) -> "Step":
        """Run the action's step."""
        command = self._command
        command.write("event.json", json.dumps(self.event))
        outputs, summary = command.write("outputs", ""), command.write("summary", "")
        done = subprocess.run(  # noqa: S603 - our own script
            [str(ROOT / "deploy/github/run.sh")],
            cwd=command.folder,
            env=command.environment
            | self.environment
            | {"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary), "INPUT_COMMAND": verb}
            | inputs,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Step(done.returncode, done.stdout + done.stderr, summary.read_text(), outputs.read_text())


class Step:
    """What a step left behind."""

    def __init__(self, status: int, log: str, summary: str, outputs: str) -> None:
        self.status = status
        self.log = log
        self.summary = summary
        self.outputs = dict(line.split("=", 1) for line in outputs.splitlines())


@pytest.fixture
def forge() -> Iterator[Forge]:
    """A GitHub and a GitLab."""
    started = Forge()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def account() -> SandboxAccount:
    """An account with one number off."""
    return SandboxAccount.of({A: "INACTIVE", B: "ACTIVE"}, account_id="12925149")


@pytest.fixture
def served(serve: Callable[..., Served], account: SandboxAccount) -> Served:
    """Its API."""
    return serve(account)


@pytest.fixture
def job(command: Command, forge: Forge, served: Served, account: SandboxAccount) -> Job:
    """A job of a pull request that has the account's keys and a file."""
    command.at(served.sandbox, account).write("desired.yaml", FILES)
    return Job(command, forge)


def keep(forge: Forge, step: Step, **run: Any) -> None:
    """What the workflow does with the plan: keep it as an artifact."""
    number = 100 + len(forge.artifacts)
    forge.files[number] = Path(step.outputs["plan"]).read_bytes()
    forge.artifacts.append(
        {
            "id": number,
            "name": f"senderid-plan-{HEAD}",
            "expired": False,
            "created_at": f"2026-11-25T00:00:{len(forge.artifacts):02}Z",
            "workflow_run": {"repository_id": 1, "head_repository_id": 1, "head_sha": HEAD} | run,
        }
    )


def merge(forge: Forge) -> None:
    """Merge the pull request."""
    forge.pulls.append(
        {"number": 7, "merged_at": "2026-11-25T00:01:00Z", "merge_commit_sha": MERGE, "head": {"sha": HEAD}}
    )


def test_a_plan_is_one_comment_however_often_it_is_made(job: Job, forge: Forge, served: Served) -> None:
    """The first run writes a comment, the next brings it up to date, behind a hundred of others, left alone."""
    others = [{"id": index, "user": {"login": "someone"}, "body": f"{MARKER}\nmine"} for index in range(120)]
    forge.comments = list(others)
    first = job("plan")
    assert (first.status, first.outputs["changes"], first.outputs["exit-status"]) == (0, "true", "2")
    assert len(forge.comments) == 121
    ours = forge.comments[-1]
    assert ours["body"].startswith(f"{MARKER}\n### Plan: 1 to activate, 0 to deactivate")
    assert ours["body"].rstrip().endswith(f"[The run](https://github.com/{REPOSITORY}/actions/runs/42)")
    job.folder.joinpath("desired.yaml").write_text(FILES.replace(f"{B}: ACTIVE", f"{B}: INACTIVE"))
    second = job("plan", INPUT_ALLOW="max-deactivations\nmin-active\n")
    assert second.status == 0
    assert len(forge.comments) == 121
    assert "1 to activate, 1 to deactivate" in ours["body"]
    assert forge.comments[:120] == others
    assert "1 to activate, 1 to deactivate" in second.summary
    assert second.outputs["fingerprint"] != first.outputs["fingerprint"]
    assert served.writes == []


def test_a_plan_without_changes_says_so(job: Job, forge: Forge) -> None:
    """Where everything is as desired the comment says it, and the output is false."""
    job.folder.joinpath("desired.yaml").write_text(f"version: 1\nnumbers: {{{A}: INACTIVE, {B}: ACTIVE}}\n")
    step = job("plan")
    assert (step.status, step.outputs["changes"]) == (0, "false")
    assert "### No changes. 2 numbers are as desired." in forge.comments[0]["body"]


def test_a_refused_plan_fails_and_is_told(job: Job, forge: Forge) -> None:
    """A plan that a safety rule refuses is a comment with the option that lets it through, and a step that failed."""
    job.folder.joinpath("desired.yaml").write_text(f"version: 1\nnumbers: {{{B}: INACTIVE}}\n")
    step = job("plan")
    assert step.status == 4
    assert "--allow min-active" in forge.comments[0]["body"]
    assert "--allow min-active" in step.summary


def test_no_number_in_full_appears_anywhere(job: Job, forge: Forge) -> None:
    """With a mask nothing that the public sees has a number in full: log, summary, comment, result."""
    step = job("plan")
    seen = [step.log, step.summary, *(each["body"] for each in forge.comments)]
    keep(forge, step)
    merge(forge)
    applied = job("apply")
    seen += [applied.log, applied.summary, *(each["body"] for each in forge.comments)]
    drift = job("drift")
    job.folder.joinpath("desired.yaml").write_text(f"version: 1\nnumbers: {{{A}: ACTIVE, +82-10-1234-5678: ON}}\n")
    broken = job("plan")
    assert (applied.status, drift.status, broken.status) == (0, 0, 65)
    seen += [drift.log, drift.summary, broken.log, broken.summary]
    assert "010****5678" in applied.log
    assert [text for text in seen if _FULL.search(text)] == []


def test_the_reviewed_plan_is_applied_and_told(job: Job, forge: Forge, served: Served) -> None:
    """After the merge exactly the plan of the pull request is carried out; its result is a comment of its own there."""
    step = job("plan")
    keep(forge, step)
    merge(forge)
    applied = job("apply", HEAD_REPOSITORY="")
    assert applied.status == 0, applied.log
    assert served.writes == [(A, "ACTIVE")]
    assert forge.tokens_elsewhere == [None]
    assert [each["body"].split("\n")[0] for each in forge.comments] == [
        MARKER,
        "<!-- senderid apply senderid -->",
    ]
    assert "### Converged: 1 changed" in forge.comments[1]["body"]
    assert "### Converged: 1 changed" in applied.summary


def test_what_was_not_reviewed_is_not_applied(job: Job, forge: Forge, served: Served) -> None:
    """No merge, no artifact, a fork's, another commit's, a file that changed since: nothing is sent, and told why."""
    step = job("plan")
    assert "not the merge of one pull request" in job("apply").summary
    merge(forge)
    assert "has no plan of its last commit" in job("apply").summary
    keep(forge, step, head_repository_id=2)
    keep(forge, step, head_sha="c" * 40)
    refused = job("apply")
    assert "has no plan of its last commit" in refused.summary
    assert "::error title=senderid::Nothing was written." in refused.log
    keep(forge, step)
    job.folder.joinpath("desired.yaml").write_text(FILES + "# merged meanwhile\n")
    moved = job("apply")
    assert "something else was merged meanwhile" in moved.summary
    assert moved.status == 1
    assert served.writes == []


def test_a_plan_that_somebody_made_up_is_not_applied(job: Job, forge: Forge, served: Served) -> None:
    """Of the right head and files, sealed as it should be: what the files do not ask for is not written."""
    step = job("plan")
    keep(forge, step)
    saved = unseal(forge.files[100], now=datetime.now(UTC), max_age_seconds=1e6)
    write = Change(B, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "made up")
    account = structs.replace(saved.accounts[0], changes=(write,))
    forge.files[100] = seal(
        SavedPlan.of(
            [account],
            id=saved.id,
            created_at=saved.created_at,
            version=saved.version,
            allow=["max-deactivations", "min-active"],
        )
    )
    merge(forge)
    refused = job("apply")
    assert refused.status == 1
    assert "its file does not ask for all that it writes" in refused.summary
    assert served.writes == []


def test_a_plan_that_expired_is_not_applied(job: Job, forge: Forge, served: Served) -> None:
    """A plan that is older than it may be is refused, with what to do."""
    keep(forge, job("plan"))
    merge(forge)
    late = job("apply", INPUT_MAX_AGE="0s")
    assert late.status == 65
    assert "plan again" in late.log
    assert served.writes == []


def test_what_the_files_ask_for_is_applied_by_hand(job: Job, served: Served) -> None:
    """Started by hand, apply needs no reviewed plan."""
    job.event = {}
    step = job("apply", INPUT_FROM="files", HEAD_REPOSITORY="")
    assert step.status == 0, step.log
    assert served.writes == [(A, "ACTIVE")]


def test_drift_is_one_issue(job: Job, forge: Forge, served: Served) -> None:
    """Drift opens an issue, brings it up to date, closes it once it is over, and opens the same one again."""
    job.event = {}
    apart = (job.folder / "desired.yaml").read_text()
    calm = apart.replace("status: ACTIVE", "status: INACTIVE")
    states = []
    for text in (apart, apart, calm, calm, apart):
        (job.folder / "desired.yaml").write_text(text)
        assert job("drift").status == 0
        states.append([each["state"] for each in forge.issues])
    assert states == [["open"], ["open"], ["closed"], ["closed"], ["open"]]
    assert forge.issues[0]["title"] == "Sender numbers drifted"
    assert forge.issues[0]["body"].startswith("<!-- senderid drift senderid -->\n### Drift: 1 to activate")
    assert served.writes == []


@pytest.mark.parametrize("who", [{"HEAD_REPOSITORY": "eve/numbers"}, {"GITHUB_ACTOR": "dependabot[bot]"}])
def test_a_request_without_secrets_is_validated(job: Job, forge: Forge, served: Served, who: dict[str, str]) -> None:
    """A fork's pull request is validated and told so: nothing is asked of the account, and no comment is tried."""
    step = job("plan", FORGE_TOKEN="", SOLAPI_API_KEY="", SOLAPI_API_SECRET="", **who)
    assert step.status == 0
    assert "its files are validated, and nothing is planned" in step.summary
    assert (step.outputs["changes"], step.outputs["exit-status"]) == ("", "0")
    assert (forge.calls, served.sandbox.wire) == ([], [])


def test_problems_are_annotations_at_their_lines(job: Job, served: Served) -> None:
    """Each problem of a file becomes an annotation, whatever the file is called; nothing in it becomes a command."""
    name = "::error,title=x::%0A,a b.yaml"
    (job.folder / name).write_text("version: 1\nnumbers:\n  010-1234-5678: MAYBE\n  010-0000-0000: ON\n")
    step = job("validate", INPUT_FILES=name)
    assert step.status == 65
    shown = step.log.partition("::stop-commands::")[2].split("\n")
    token = shown[0]
    assert shown.count(f"::{token}::") == 1
    told = shown[shown.index(f"::{token}::") + 1 :]
    escaped = "%3A%3Aerror%2Ctitle=x%3A%3A%250A%2Ca b.yaml"
    commands = [line for line in told if line.startswith("::")]
    assert len(commands) == 2
    assert all(
        re.fullmatch(rf"::error file={re.escape(escaped)},line=\d+,col=\d+::[^\r\n]+", each) for each in commands
    )
    assert served.sandbox.wire == []


def test_inputs_are_never_code(job: Job, forge: Forge) -> None:
    """Values with the shell's own characters are values: files that are not there, and options that do not exist."""
    trap = job.folder / "trap"
    step = job("plan", INPUT_FILES=f"$(touch {trap}); touch {trap}`touch {trap}`", INPUT_ALLOW=f"$(touch {trap})")
    assert step.status in {64, 65}
    assert not trap.exists()
    assert forge.writes == []
    assert job("plan", INPUT_NAME="x --> <script>").status != 0
    assert forge.writes == []


def test_a_module_in_the_repository_is_not_run(job: Job, forge: Forge) -> None:
    """A package called worker in a pull request's files does not stand in for ours."""
    (job.folder / "worker" / "forge").mkdir(parents=True)
    for name in ("__init__.py", "forge/__init__.py", "forge/__main__.py", "../json.py"):
        (job.folder / "worker" / name).write_text("raise SystemExit(99)\n")
    assert job("plan").status == 0
    assert [each["user"]["login"] for each in forge.comments] == [BOT]


def test_a_token_that_may_not_comment_is_told(job: Job, served: Served) -> None:
    """Where the comment cannot be written the step fails with what to look at, after the summary."""
    step = job("plan", FORGE_TOKEN="another")
    assert step.status == 1
    assert "the token is not known" in step.log
    assert "### Plan" in step.summary
    assert served.writes == []
