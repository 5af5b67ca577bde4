"""The script of the GitHub Action, against the sandbox and a simulated GitHub over real sockets."""

import json
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from tests.e2e.conftest import Command, Served
from tests.support.forges import BOT, REPOSITORY, TOKEN, Fault, Forge
from worker.cli.ci.claims import Claim
from worker.model.plans import Action, Change
from worker.plan.planfile import SavedPlan, seal, unseal
from worker.sandbox import SandboxAccount

ROOT = Path(__file__).parents[2]
A, B = "01012345678", "0212345678"
HEAD, MERGE = "a" * 40, "b" * 40
MARKER = "<!-- senderid plan senderid -->"
NUMBERS = {A: "INACTIVE", B: "ACTIVE"}
DESIRED = f"version: 1\nnumbers:\n  {A}: {{status: ACTIVE, note: call {A} or +82 10 1234 5678}}\n  {B}: ACTIVE\n"
_FULL = re.compile(r"(?:010|\+82\W{0,2}10)\W{0,2}1234\W{0,2}5678|02\W{0,2}1234\W{0,2}5678")


class Job:
    """A job of a workflow: its environment and the results of its step. No ledger is kept between jobs."""

    def __init__(self, command: Command, forge: Forge) -> None:
        self.folder = command.folder
        self._command = command
        self._forge = forge
        installed = command.folder / "runner" / "senderid"
        installed.mkdir(parents=True)
        (installed / "bin").symlink_to(command.quick or Path(sys.executable).parent)
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
        """Run the step of the action."""
        command = self._command
        command.write("event.json", json.dumps(self.event))
        outputs, summary = command.write("outputs", ""), command.write("summary", "")
        result = subprocess.run(  # noqa: S603 - our own script
            [str(ROOT / "deploy/github/run.sh")],
            cwd=command.folder,
            env=command.environment
            | self.environment
            | {"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary), "INPUT_COMMAND": verb}
            | {"XDG_STATE_HOME": tempfile.mkdtemp(prefix="state.", dir=command.folder)}
            | inputs,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in result.stderr, result.stderr
        return Step(result.returncode, result.stdout + result.stderr, summary.read_text(), outputs.read_text())


class Step:
    """The results of a step."""

    def __init__(self, status: int, log: str, summary: str, outputs: str) -> None:
        self.status = status
        self.log = log
        self.summary = summary
        self.outputs = dict(line.split("=", 1) for line in outputs.splitlines())


@pytest.fixture
def job(command: Command, forge: Forge, served: Served) -> Job:  # noqa: ARG001 - the jobs talk to it
    """Return a job of a pull request with the keys of the account and a file."""
    command.write("desired.yaml", DESIRED)
    return Job(command, forge)


def store_plan(forge: Forge, step: Step, **run: Any) -> None:
    """Store the plan as an artifact, as the workflow does."""
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


def test_plan_updates_its_one_comment(job: Job, forge: Forge, served: Served) -> None:
    """The comment is found after a hundred comments of others, which are unchanged."""
    others = [{"id": index, "user": {"login": "someone"}, "body": f"{MARKER}\nmine"} for index in range(120)]
    forge.comments = list(others)
    first = job("plan")
    assert (first.status, first.outputs["changes"], first.outputs["exit-status"]) == (0, "true", "2")
    assert len(forge.comments) == 121
    comment = forge.comments[-1]
    assert comment["body"].startswith(f"{MARKER}\n### Safe to merge.\n\n**Plan: 1 to activate, 0 to deactivate")
    run = f"https://github.com/{REPOSITORY}/actions/runs/42"
    assert comment["body"].rstrip().endswith(f"[The run]({run}), [the report]({run}#artifacts)")
    report = Path(first.outputs["report"]).read_text()
    assert report.startswith("<!doctype html>")
    assert B not in report
    job.folder.joinpath("desired.yaml").write_text(DESIRED.replace(f"{B}: ACTIVE", f"{B}: INACTIVE"))
    second = job("plan", INPUT_ALLOW="max-deactivations\nmin-active\n")
    assert second.status == 0
    assert len(forge.comments) == 121
    assert "1 to activate, 1 to deactivate" in comment["body"]
    assert forge.comments[:120] == others
    assert "1 to activate, 1 to deactivate" in second.summary
    assert second.outputs["fingerprint"] != first.outputs["fingerprint"]
    assert served.writes == []


def test_plan_without_changes(job: Job, forge: Forge) -> None:
    job.folder.joinpath("desired.yaml").write_text(f"version: 1\nnumbers: {{{A}: INACTIVE, {B}: ACTIVE}}\n")
    step = job("plan")
    assert (step.status, step.outputs["changes"]) == (0, "false")
    assert "### No changes. 2 numbers are as desired." in forge.comments[0]["body"]


def test_refused_plan_fails_and_names_the_option(job: Job, forge: Forge) -> None:
    job.folder.joinpath("desired.yaml").write_text(f"version: 1\nnumbers: {{{B}: INACTIVE}}\n")
    step = job("plan")
    assert step.status == 4
    assert "--allow min-active" in forge.comments[0]["body"]
    assert "--allow min-active" in step.summary


def test_mask_hides_numbers_everywhere(job: Job, forge: Forge) -> None:
    step = job("plan")
    observed = [step.log, step.summary, *(comment["body"] for comment in forge.comments)]
    store_plan(forge, step)
    merge(forge)
    applied = job("apply")
    observed += [applied.log, applied.summary, *(comment["body"] for comment in forge.comments)]
    drift = job("drift")
    job.folder.joinpath("desired.yaml").write_text(f"version: 1\nnumbers: {{{A}: ACTIVE, +82-10-1234-5678: ON}}\n")
    broken = job("plan")
    assert (applied.status, drift.status, broken.status) == (0, 0, 65)
    observed += [drift.log, drift.summary, broken.log, broken.summary]
    assert "010****5678" in applied.log
    assert [text for text in observed if _FULL.search(text)] == []


def test_merge_applies_the_reviewed_plan(job: Job, forge: Forge, served: Served) -> None:
    step = job("plan")
    store_plan(forge, step)
    merge(forge)
    applied = job("apply", HEAD_REPOSITORY="")
    assert applied.status == 0, applied.log
    assert served.writes == [(A, "ACTIVE")]
    assert forge.tokens_elsewhere == [None]
    assert [comment["body"].split("\n")[0] for comment in forge.comments] == [
        MARKER,
        "<!-- senderid apply senderid -->",
    ]
    assert "### Converged: 1 changed" in forge.comments[1]["body"]
    assert "### Converged: 1 changed" in applied.summary


def test_unreviewed_plan_sends_nothing(job: Job, forge: Forge, served: Served) -> None:
    step = job("plan")
    assert "not the merge of one pull request" in job("apply").summary
    merge(forge)
    assert "has no plan of its last commit" in job("apply").summary
    store_plan(forge, step, head_repository_id=2)
    store_plan(forge, step, head_sha="c" * 40)
    refused = job("apply")
    assert "has no plan of its last commit" in refused.summary
    assert "::error title=senderid::Nothing was written." in refused.log
    store_plan(forge, step)
    job.folder.joinpath("desired.yaml").unlink()
    gone = job("apply")
    assert "'desired.yaml' is not there" in gone.summary
    assert gone.status == 1
    assert served.writes == []


def test_file_may_change_its_comments_after_the_review(job: Job, forge: Forge, served: Served) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    job.folder.joinpath("desired.yaml").write_text(DESIRED + "# merged meanwhile\n")
    assert job("apply").status == 0
    assert served.writes == [(A, "ACTIVE")]


def forge_plan(forge: Forge, **changed: Any) -> None:
    """Replace the saved plan by a correctly sealed one with other fields of its account."""
    saved = unseal(forge.files[100], now=datetime.now(UTC), max_age_seconds=1e6)
    account = structs.replace(saved.accounts[0], **changed)
    forge.files[100] = seal(
        SavedPlan.of(
            [account],
            id=saved.id,
            created_at=saved.created_at,
            version=saved.version,
            allow=["max-deactivations", "min-active"],
        )
    )


@pytest.mark.parametrize("revision", [{}, {"sha256": "0" * 64}], ids=["of the same file", "of another revision"])
def test_forged_plan_writes_only_what_the_files_desire(
    job: Job, forge: Forge, served: Served, revision: dict[str, str]
) -> None:
    """The plan is correctly sealed and of the right commit."""
    store_plan(forge, job("plan"))
    forge_plan(forge, changes=(Change(B, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "made up"),), **revision)
    merge(forge)
    assert job("apply").status != 0
    assert served.writes == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"source": "other.yaml"}, "is not among the desired-state files of this job"),
        ({"account": "other"}, "has no account 'other'"),
        ({"endpoint": "coolsms"}, "its credentials or its endpoint are not those of its file"),
    ],
)
def test_forged_account_is_refused(
    job: Job, forge: Forge, served: Served, changed: dict[str, str], reason: str
) -> None:
    text = f"endpoint: {served.sandbox.url}\n{DESIRED}"
    job.folder.joinpath("desired.yaml").write_text(text)
    job.folder.joinpath("other.yaml").write_text(text)
    store_plan(forge, job("plan"))
    forge_plan(forge, **changed)
    merge(forge)
    refused = job("apply")
    assert refused.status == 1
    assert reason in refused.summary
    assert served.writes == []


def test_expired_plan_is_refused(job: Job, forge: Forge, served: Served) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    late = job("apply", INPUT_MAX_AGE="0s")
    assert late.status == 65
    assert "plan again" in late.log
    assert served.writes == []


def test_manual_apply_works_without_a_reviewed_plan(job: Job, served: Served) -> None:
    job.event = {}
    step = job("apply", INPUT_FROM="files", HEAD_REPOSITORY="")
    assert step.status == 0, step.log
    assert served.writes == [(A, "ACTIVE")]


def test_drift_updates_its_one_issue(job: Job, forge: Forge, served: Served) -> None:
    """The issue is opened, updated, closed and reopened."""
    job.event = {}
    apart = (job.folder / "desired.yaml").read_text()
    calm = apart.replace("status: ACTIVE", "status: INACTIVE")
    states = []
    for text in (apart, apart, calm, calm, apart):
        (job.folder / "desired.yaml").write_text(text)
        assert job("drift").status == 0
        states.append([issue["state"] for issue in forge.issues])
    assert states == [["open"], ["open"], ["closed"], ["closed"], ["open"]]
    assert forge.issues[0]["title"] == "Sender numbers drifted"
    assert forge.issues[0]["body"].startswith("<!-- senderid drift senderid -->\n### Drift: 1 to activate")
    assert served.writes == []


@pytest.mark.parametrize("author", [{"HEAD_REPOSITORY": "eve/numbers"}, {"GITHUB_ACTOR": "dependabot[bot]"}])
def test_fork_request_is_only_validated(job: Job, forge: Forge, served: Served, author: dict[str, str]) -> None:
    step = job("plan", FORGE_TOKEN="", SOLAPI_API_KEY="", SOLAPI_API_SECRET="", **author)
    assert step.status == 0
    assert "its files are validated, and nothing is planned" in step.summary
    assert (step.outputs["changes"], step.outputs["exit-status"]) == ("", "0")
    assert (forge.calls, served.sandbox.wire) == ([], [])


def test_problems_are_annotations(job: Job, served: Served) -> None:
    """File names and messages cannot become workflow commands."""
    name = "::error,title=x::%0A,a b.yaml"
    (job.folder / name).write_text("version: 1\nnumbers:\n  010-1234-5678: MAYBE\n  010-0000-0000: ON\n")
    step = job("validate", INPUT_FILES=name)
    assert step.status == 65
    output = step.log.partition("::stop-commands::")[2].split("\n")
    token = output[0]
    assert output.count(f"::{token}::") == 1
    after_token = output[output.index(f"::{token}::") + 1 :]
    escaped = "%3A%3Aerror%2Ctitle=x%3A%3A%250A%2Ca b.yaml"
    commands = [line for line in after_token if line.startswith("::")]
    assert len(commands) == 2
    assert all(
        re.fullmatch(rf"::error file={re.escape(escaped)},line=\d+,col=\d+::[^\r\n]+", command) for command in commands
    )
    assert served.sandbox.wire == []


def test_inputs_are_not_evaluated(job: Job, forge: Forge) -> None:
    trap = job.folder / "trap"
    step = job("plan", INPUT_FILES=f"$(touch {trap}); touch {trap}`touch {trap}`", INPUT_ALLOW=f"$(touch {trap})")
    assert step.status in {64, 65}
    assert not trap.exists()
    assert forge.writes == []
    assert job("plan", INPUT_NAME="x --> <script>").status != 0
    assert forge.writes == []


def test_module_of_the_repository_is_not_imported(job: Job, forge: Forge) -> None:
    (job.folder / "worker" / "forge").mkdir(parents=True)
    for name in ("__init__.py", "forge/__init__.py", "forge/__main__.py", "../json.py"):
        (job.folder / "worker" / name).write_text("raise SystemExit(99)\n")
    assert job("plan").status == 0
    assert [comment["user"]["login"] for comment in forge.comments] == [BOT]


def test_failed_comment_fails_the_plan(job: Job, served: Served) -> None:
    """Otherwise an older comment would be reviewed."""
    step = job("plan", FORGE_TOKEN="another")
    assert step.status == 1
    assert "The plan is not on the pull request." in step.log
    assert "the token is invalid" in step.log
    assert "**Plan: " in step.summary
    assert served.writes == []


def test_second_apply_of_a_plan_is_refused(job: Job, forge: Forge, served: Served, account: SandboxAccount) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    assert job("apply").status == 0
    account.switch(A, "INACTIVE")
    second = job("apply", GITHUB_RUN_ATTEMPT="2")
    assert second.status == 4
    assert f"job https://github.com/{REPOSITORY}/actions/runs/42/attempts/1 has applied this plan" in second.summary
    assert "allow replay" in second.summary
    assert served.writes == [(A, "ACTIVE")]
    assert len(forge.comments) == 2
    assert "### Converged: 1 changed" in forge.comments[1]["body"]


def test_allow_replay_applies_a_claimed_plan(job: Job, forge: Forge, served: Served, account: SandboxAccount) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    assert job("apply").status == 0
    account.switch(A, "INACTIVE")
    assert job("apply", INPUT_ALLOW="all").status == 0
    assert served.writes == [(A, "ACTIVE"), (A, "ACTIVE")]
    assert job("apply").status == 4


@pytest.mark.parametrize(
    ("unfit", "status"), [({"SOLAPI_API_KEY": ""}, 1), ({"INPUT_MAX_AGE": "0s"}, 65)], ids=["no key", "too old"]
)
def test_apply_without_writes_releases_the_claim(
    job: Job, forge: Forge, served: Served, unfit: dict[str, str], status: int
) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    first = job("apply", **unfit)
    assert first.status == status
    assert served.writes == []
    assert "The claim is released" in first.log
    assert job("apply").status == 0
    assert served.writes == [(A, "ACTIVE")]


def test_log_level_does_not_hide_the_write_count(job: Job, forge: Forge, served: Served) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    assert job("apply", SENDERID_LOG__LEVEL="error").status == 0
    assert job("apply").status == 4
    assert served.writes == [(A, "ACTIVE")]


def test_failed_claim_writes_nothing(job: Job, forge: Forge, served: Served) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    forge.faults = [Fault("POST", "/comments", 500)] * 5
    failed = job("apply")
    assert failed.status == 1
    assert "Nothing was written." in failed.summary
    assert "gave up after 5 attempts" in failed.summary
    assert served.writes == []
    assert job("apply").status == 0


def test_failed_result_comment_keeps_status_and_claim(job: Job, forge: Forge, served: Served) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    forge.faults = [Fault("PATCH", f"/comments/{forge.comments[0]['id'] + 1}", 503)] * 5
    result = job("apply")
    assert result.status == 0
    assert "::warning title=senderid::senderid apply ended with 0, but the comment with the result" in result.log
    assert "### Applying the reviewed plan" in forge.comments[1]["body"]
    refused = job("apply")
    assert refused.status == 4
    assert "or crashed while applying it" in refused.summary
    assert served.writes == [(A, "ACTIVE")]


def test_failed_summary_keeps_the_status(job: Job, forge: Forge, served: Served) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    result = job("apply", GITHUB_STEP_SUMMARY="/nowhere/summary", GITHUB_OUTPUT="/nowhere/outputs")
    assert result.status == 0
    assert "but the summary could not be written" in result.log
    assert served.writes == [(A, "ACTIVE")]
    job.folder.joinpath("desired.yaml").write_text("version: 2\n")
    assert job("validate", GITHUB_STEP_SUMMARY="/nowhere/summary", GITHUB_OUTPUT="/nowhere/outputs").status == 65


def test_older_claim_wins(job: Job, forge: Forge, served: Served) -> None:
    """The job with the later claim withdraws it."""
    store_plan(forge, job("plan"))
    merge(forge)
    saved = unseal(forge.files[100], now=datetime.now(UTC), max_age_seconds=1e6)
    rival = f"<!-- senderid apply senderid -->\n{Claim(saved.id, 'a1', 'https://github.com/rival').line}\n"
    forge.rivals = [rival]
    refused = job("apply")
    assert refused.status == 4
    assert "job https://github.com/rival has applied this plan" in refused.summary
    assert [comment["body"] for comment in forge.comments[1:]] == [rival]
    assert served.writes == []


def test_claim_of_another_user_is_ignored(job: Job, forge: Forge, served: Served) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    saved = unseal(forge.files[100], now=datetime.now(UTC), max_age_seconds=1e6)
    body = f"<!-- senderid apply senderid -->\n{Claim(saved.id, 'a1', 'https://github.com/eve').line}\n"
    forge.comments.append({"id": 1, "user": {"login": "eve"}, "body": body})
    unknown = job("apply", FORGE_AUTHOR="another[bot]")
    assert unknown.status == 1
    assert "the input author" in unknown.summary
    assert served.writes == []
    assert job("apply").status == 0
    assert served.writes == [(A, "ACTIVE")]


def test_retries_do_not_create_a_second_comment(job: Job, forge: Forge, served: Served) -> None:
    """The retries follow a secondary rate limit, and a POST whose response was lost."""
    forge.faults = [Fault("GET", "/comments", 403), Fault("POST", "/comments", 502, takes_effect=True)]
    assert job("plan").status == 0
    assert len(forge.comments) == 1
    store_plan(forge, job("plan"))
    merge(forge)
    forge.faults = [
        Fault("GET", "/pulls", 429),
        Fault("POST", "/comments", 403),
        Fault("POST", "/comments", 503, takes_effect=True),
    ]
    result = job("apply")
    assert result.status == 0
    assert "403, rate limit; waiting 0 s before attempt 2 of 5" in result.log
    assert len(forge.comments) == 2
    assert served.writes == [(A, "ACTIVE")]


def test_waits_are_logged(job: Job, forge: Forge) -> None:
    forge.faults = [Fault("GET", "/comments", 403)]
    step = job("plan")
    assert step.status == 0
    assert "403, rate limit; waiting 0 s before attempt 2 of 5" in step.log
    forge.faults = [Fault("GET", "b" * 40, 429)]
    job.event = {"before": "d" * 40}
    assert "429, rate limit; waiting 0 s before attempt 2 of 5" in job("changed").log


@pytest.mark.parametrize("pull", [None, [], {"number": 7}, {"merged_at": "x", "merge_commit_sha": MERGE, "head": None}])
def test_unexpected_response_is_an_error(job: Job, forge: Forge, served: Served, pull: Any) -> None:
    store_plan(forge, job("plan"))
    forge.pulls = [pull]
    failed = job("apply")
    assert failed.status == 1
    assert "Nothing was written." in failed.summary
    assert "run the job again" in failed.summary or "apply from the files by hand" in failed.summary
    assert "Traceback" not in failed.log
    assert served.writes == []


def test_inputs_are_stripped(job: Job, forge: Forge, served: Served) -> None:
    store_plan(forge, job("plan", INPUT_FILES="  desired.yaml \n"))
    merge(forge)
    assert job("apply").status == 0
    second = job("apply", INPUT_ALLOW="max-deactivations\t\n  replay \n\n")
    assert (second.status, len(forge.comments)) == (0, 3), "it is claimed once more"
    assert served.writes == [(A, "ACTIVE")]


def test_plain_403_is_not_retried(job: Job, forge: Forge) -> None:
    forge.faults = [Fault("POST", "/comments", 403, headers={})]
    step = job("plan")
    assert step.status == 1
    assert "check the job's permissions" in step.log
    assert len(forge.writes) == 1


def test_newer_commit_refuses_the_apply(job: Job, forge: Forge, served: Served) -> None:
    store_plan(forge, job("plan"))
    merge(forge)
    forge.head = "c" * 40
    for newer in (DESIRED.replace("status: ACTIVE", "status: INACTIVE"), "version: 2\n", None):
        forge.newer = {} if newer is None else {"desired.yaml": newer.encode()}
        refused = job("apply")
        assert refused.status == 4
        assert "this job is superseded" in refused.summary
    assert served.writes == []
    forge.newer = {"desired.yaml": f"{DESIRED}  0311234567: ACTIVE\n".encode()}
    assert job("apply").status == 0
    assert served.writes == [(A, "ACTIVE")]


@pytest.mark.parametrize("ending", ["yaml", "yml"])
def test_newer_file_of_a_split_account_refuses_the_apply(job: Job, forge: Forge, served: Served, ending: str) -> None:
    path = job.folder / "numbers/main.yaml"
    path.parent.mkdir()
    path.write_text(f"version: 1\naccount: main\nunmanaged: deactivate\nnumbers: {{{A}: ACTIVE}}\n")
    job.environment["INPUT_FILES"] = "numbers"
    store_plan(forge, job("plan"))
    merge(forge)
    forge.head = "c" * 40
    forge.newer = {
        "numbers/main.yaml": path.read_bytes(),
        f"numbers/team.{ending}": f"version: 1\naccount: main\nnumbers: {{{B}: ACTIVE}}\n".encode(),
        "other/team.yaml": b"version: 2",
        "numbers/README.md": b"",
    }
    refused = job("apply")
    assert refused.status == 4
    assert "this job is superseded" in refused.summary
    assert sorted(path for _, path in forge.calls if "/contents/" in path) == [
        f"/repos/{REPOSITORY}/contents/numbers/{name}" for name in ("main.yaml", "senderid.yaml", f"team.{ending}")
    ]
    forge.is_truncated = True
    unknown = job("apply")
    assert (unknown.status, served.writes) == (1, [])
    assert "more files than GitHub lists: apply from the files by hand" in unknown.summary
    forge.is_truncated = False
    del forge.newer[f"numbers/team.{ending}"]
    assert job("apply").status == 0
    assert served.writes == [(A, "ACTIVE"), (B, "INACTIVE")]


def test_newer_defaults_of_the_folder_refuse_the_apply(job: Job, forge: Forge, served: Served) -> None:
    """A newer commit that protects all numbers of a folder by one line in senderid.yaml supersedes the plan."""
    path = job.folder / "numbers/main.yaml"
    path.parent.mkdir()
    path.write_text(f"version: 1\naccount: main\nnumbers: {{{A}: ACTIVE}}\n")
    (job.folder / "numbers/senderid.yaml").write_text("version: 1\ndefaults: {owner: sales}\n")
    job.environment["INPUT_FILES"] = "numbers"
    store_plan(forge, job("plan"))
    merge(forge)
    forge.head = "c" * 40
    forge.newer = {
        "numbers/main.yaml": path.read_bytes(),
        "numbers/senderid.yaml": b"version: 1\ndefaults: {protected: true}\n",
    }
    refused = job("apply")
    assert (refused.status, served.writes) == (4, [])
    assert "this job is superseded" in refused.summary
    forge.newer["numbers/senderid.yaml"] = b"version: 1\ndefaults: {owner: support}\n"
    assert job("apply").status == 0
    assert served.writes == [(A, "ACTIVE")]


@pytest.mark.parametrize("inputs", [{"INPUT_NAME": "a b"}, {"INPUT_FROM": "file"}])
def test_invalid_input_is_wrong_usage(job: Job, forge: Forge, served: Served, inputs: dict[str, str]) -> None:
    """The exit status is not 2, which would mean pending changes."""
    store_plan(forge, job("plan"))
    merge(forge)
    assert job("apply", **inputs).status == 64
    assert served.writes == []


def test_failed_issue_keeps_the_status_of_drift(job: Job, forge: Forge) -> None:
    job.event = {}
    forge.faults = [Fault("POST", "/issues", 500)] * 5
    step = job("drift")
    assert step.status == 2
    assert "senderid drift ended with 2, but the issue could not be written" in step.log
    job.folder.joinpath("desired.yaml").write_text(DESIRED.replace("status: ACTIVE", "status: INACTIVE"))
    forge.faults = [Fault("GET", "/issues", 500)] * 5
    assert job("drift").status == 0


def test_changed_files_follow_the_chosen_folder(job: Job, forge: Forge) -> None:
    job.event = {"before": "d" * 40}
    forge.compared = [{"filename": "numbers/kr/main.yaml"}, {"filename": "README.md"}]
    assert job("changed", INPUT_FILES="other\n./numbers/\n").outputs == {"changed": "true"}
    assert job("changed").outputs == {"changed": "false"}
    assert job("changed", INPUT_SETTINGS="README.md").outputs == {"changed": "true"}
    failed = job("changed", FORGE_TOKEN="another")
    assert (failed.status, failed.outputs) == (1, {})


def test_number_with_another_desired_status_is_conflict(job: Job, forge: Forge, served: Served) -> None:
    job.folder.joinpath("desired.yaml").write_text(f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: INACTIVE}}\n")
    store_plan(forge, job("plan", INPUT_ALLOW="max-deactivations\nmin-active"))
    merge(forge)
    job.folder.joinpath("desired.yaml").write_text(f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE}}\n")
    result = job("apply")
    assert result.status == 3
    assert "1 conflict" in result.summary
    assert served.writes == [(A, "ACTIVE")]
