"""The jobs of the GitLab template, run as a runner does, against the sandbox and a simulated GitLab."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Command, Served
from tests.support.forges import PROJECT, TOKEN, Fault, Forge
from worker.sandbox import SandboxAccount

ROOT = Path(__file__).parents[2]
TEMPLATE = yaml.safe_load((ROOT / "deploy/gitlab/senderid.gitlab-ci.yml").read_text())
A, B = "01012345678", "0232345678"
HEAD, MERGE = "a" * 40, "b" * 40
NUMBERS = {A: "INACTIVE", B: "ACTIVE"}
DESIRED = f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE}}\n"


class Pipeline:
    """Run jobs of the template, each in one shell as a runner does. No ledger is kept between jobs."""

    def __init__(self, command: Command, forge: Forge) -> None:
        self.folder = command.folder
        self._environment = (
            {name: value for name, value in TEMPLATE["variables"].items() if name != "SENDERID_KIT_IMAGE"}
            | command.environment
            | {
                "PATH": f"{command.quick}:{command.environment['PATH']}",
                "GITLAB_CI": "true",
                "CI_API_V4_URL": forge.url,
                "CI_PROJECT_ID": PROJECT,
                "CI_COMMIT_SHA": MERGE,
                "CI_COMMIT_BRANCH": "main",
                "CI_JOB_URL": "https://gitlab.example/jobs/1",
                "CI_MERGE_REQUEST_IID": "7",
                "SENDERID_KIT_TOKEN": TOKEN,
            }
        )

    def __call__(self, job: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one job and wait for its end."""
        result = subprocess.run(  # noqa: S603 - our own template
            ["/bin/bash", "-eo", "pipefail", "-c", "\n".join(TEMPLATE[job]["script"])],
            cwd=self.folder,
            env=self._environment | {"XDG_STATE_HOME": tempfile.mkdtemp(prefix="state.", dir=self.folder)} | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def desire(self, text: str) -> None:
        """Write the desired-state file."""
        path = self.folder / TEMPLATE["variables"]["SENDERID_KIT_FILES"] / "main.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def pipeline(command: Command, forge: Forge, served: Served) -> Pipeline:  # noqa: ARG001 - the jobs talk to it
    """Return a pipeline of a merge request."""
    runner = Pipeline(command, forge)
    runner.desire(DESIRED)
    return runner


def merge(pipeline: Pipeline, forge: Forge, **run: Any) -> None:
    """Store the plan as the artifact of the pipeline, and merge the request."""
    number = 100 + len(forge.pipelines)
    forge.files[number] = (pipeline.folder / "senderid-plan.json").read_bytes()
    forge.pipelines.append({"id": number, "sha": HEAD, "project_id": int(PROJECT)} | run)
    forge.pulls[:] = [{"iid": 7, "state": "merged", "merge_commit_sha": MERGE, "sha": HEAD}]


def test_plan_updates_its_one_note(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    """The note is found after a hundred notes of other users."""
    forge.comments = [
        {"id": index, "author": {"id": 9}, "body": "<!-- senderid plan senderid -->"} for index in range(120)
    ]
    first = pipeline("senderid-plan")
    assert first.returncode == 0, first.stderr
    pipeline.desire(f"version: 1\nnumbers: {{{A}: INACTIVE, {B}: ACTIVE}}\n")
    assert pipeline("senderid-plan").returncode == 0
    assert len(forge.comments) == 121
    assert "### No changes" in forge.comments[-1]["body"]
    assert "/artifacts/file/senderid-report.html)" in forge.comments[-1]["body"]
    report = pipeline.folder.joinpath("senderid-report.html").read_text()
    assert report.startswith("<!doctype html>")
    assert A not in report
    assert A not in first.stdout + first.stderr
    assert served.writes == []


def test_merge_applies_the_reviewed_plan(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    assert pipeline("senderid-plan").returncode == 0
    merge(pipeline, forge)
    result = pipeline("senderid-apply")
    assert result.returncode == 0, result.stderr
    assert served.writes == [(A, "ACTIVE")]
    assert "### Converged: 1 changed" in forge.comments[1]["body"]
    assert A not in result.stdout + result.stderr


def test_allow_variable_covers_plan_and_apply(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    pipeline.desire(f"version: 1\nnumbers: {{{A}: INACTIVE, {B}: INACTIVE}}\n")
    assert pipeline("senderid-plan").returncode == 4
    assert pipeline("senderid-plan", SENDERID_KIT_ALLOW="min-active max-deactivations").returncode == 0
    merge(pipeline, forge)
    assert pipeline("senderid-apply").returncode == 0
    assert served.writes == [(B, "INACTIVE")]


def test_unreviewed_plan_sends_nothing(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    assert pipeline("senderid-plan").returncode == 0
    assert "not the merge of one merge request" in pipeline("senderid-apply").stderr
    merge(pipeline, forge, project_id=78)
    merge(pipeline, forge, sha="c" * 40)
    assert "has no plan of its last commit" in pipeline("senderid-apply").stderr
    merge(pipeline, forge)
    (pipeline.folder / TEMPLATE["variables"]["SENDERID_KIT_FILES"] / "main.yaml").unlink()
    refused = pipeline("senderid-apply")
    assert refused.returncode == 1
    assert "is not there" in refused.stderr
    assert served.writes == []


def test_second_apply_of_a_plan_is_refused(
    pipeline: Pipeline, forge: Forge, served: Served, account: SandboxAccount
) -> None:
    assert pipeline("senderid-plan").returncode == 0
    merge(pipeline, forge)
    assert pipeline("senderid-apply").returncode == 0
    account.switch(A, "INACTIVE")
    second = pipeline("senderid-apply", CI_JOB_URL="https://gitlab.example/jobs/2")
    assert second.returncode == 4
    assert "job https://gitlab.example/jobs/1 has applied this plan" in second.stderr
    assert served.writes == [(A, "ACTIVE")]
    assert len(forge.comments) == 2
    assert pipeline("senderid-apply", SENDERID_KIT_ALLOW="min-active all").returncode == 0
    assert served.writes == [(A, "ACTIVE"), (A, "ACTIVE")]


def test_apply_without_writes_releases_the_claim(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    assert pipeline("senderid-plan").returncode == 0
    merge(pipeline, forge)
    first = pipeline("senderid-apply", SOLAPI_API_SECRET="")
    assert first.returncode == 1
    assert "The claim is released" in first.stdout
    assert pipeline("senderid-apply").returncode == 0
    assert served.writes == [(A, "ACTIVE")]


def test_failed_claim_writes_nothing(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    assert pipeline("senderid-plan").returncode == 0
    merge(pipeline, forge)
    forge.faults = [Fault("POST", "/notes", 502)] * 5
    failed = pipeline("senderid-apply")
    assert failed.returncode == 1
    assert "gave up after 5 attempts" in failed.stderr
    assert served.writes == []


def test_failed_result_note_keeps_status_and_claim(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    assert pipeline("senderid-plan").returncode == 0
    merge(pipeline, forge)
    forge.faults = [Fault("PUT", f"/notes/{forge.comments[0]['id'] + 1}", 500)] * 5
    result = pipeline("senderid-apply")
    assert result.returncode == 0
    assert "Warning: senderid apply ended with 0, but its note could not be written" in result.stderr
    assert pipeline("senderid-apply").returncode == 4
    assert served.writes == [(A, "ACTIVE")]


def test_newer_commit_refuses_the_apply(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    assert pipeline("senderid-plan").returncode == 0
    merge(pipeline, forge)
    forge.head = "c" * 40
    forge.newer = {"config/desired/main.yaml": DESIRED.replace(f"{A}: ACTIVE", f"{A}: INACTIVE").encode()}
    refused = pipeline("senderid-apply")
    assert refused.returncode == 4
    assert "this job is superseded" in refused.stderr
    assert served.writes == []
    forge.newer = {"config/desired/main.yaml": DESIRED.encode()}
    assert pipeline("senderid-apply").returncode == 0


def test_newer_file_of_a_split_account_refuses_the_apply(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    text = f"version: 1\naccount: main\nunmanaged: deactivate\nnumbers: {{{A}: ACTIVE}}\n"
    pipeline.desire(text)
    assert pipeline("senderid-plan").returncode == 0
    merge(pipeline, forge)
    forge.head = "c" * 40
    main = {"config/desired/main.yaml": text.encode()}
    part = {"config/desired/team.yaml": f"version: 1\naccount: main\nnumbers: {{{B}: ACTIVE}}\n".encode()}
    forge.newer = main | part
    refused = pipeline("senderid-apply")
    assert refused.returncode == 4
    assert "this job is superseded" in refused.stderr
    assert served.writes == []
    forge.newer = main
    assert pipeline("senderid-apply").returncode == 0
    assert served.writes == [(A, "ACTIVE"), (B, "INACTIVE")]


def test_files_variable_reaches_every_job_and_rule(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    (pipeline.folder / "numbers").mkdir()
    (pipeline.folder / "numbers/main.yaml").write_text(DESIRED)
    assert pipeline("senderid-plan", SENDERID_KIT_FILES="numbers").returncode == 0
    merge(pipeline, forge)
    assert pipeline("senderid-apply", SENDERID_KIT_FILES="numbers").returncode == 0
    assert served.writes == [(A, "ACTIVE")]
    (rule,) = TEMPLATE["senderid-apply"]["rules"]
    assert rule["changes"] == ["$SENDERID_KIT_FILES", "$SENDERID_KIT_FILES/**/*", "config/worker.yaml"]


def test_failed_issue_keeps_the_status_of_drift(pipeline: Pipeline, forge: Forge) -> None:
    forge.faults = [Fault("POST", "/issues", 500)] * 5
    assert pipeline("senderid-drift").returncode == 2
    pipeline.desire(DESIRED.replace(f"{A}: ACTIVE", f"{A}: INACTIVE"))
    forge.faults = [Fault("GET", "/issues", 500)] * 5
    calm = pipeline("senderid-drift")
    assert calm.returncode == 0
    assert "Warning: there is no drift, but the issue could not be closed" in calm.stderr


def test_manual_apply_works_without_a_reviewed_plan(pipeline: Pipeline, served: Served) -> None:
    assert pipeline("senderid-apply-files").returncode == 0
    assert served.writes == [(A, "ACTIVE")]


def test_drift_updates_its_one_issue(pipeline: Pipeline, forge: Forge) -> None:
    states = []
    calm = DESIRED.replace(f"{A}: ACTIVE", f"{A}: INACTIVE")
    for text in (DESIRED, DESIRED, calm, calm, DESIRED):
        pipeline.desire(text)
        assert pipeline("senderid-drift").returncode == 0
        states.append([issue["state"] for issue in forge.issues])
    assert states == [["opened"], ["opened"], ["closed"], ["closed"], ["opened"]]
    assert forge.issues[0]["description"].startswith("<!-- senderid drift senderid -->\n### Drift")


def test_invalid_files_fail_every_job(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    pipeline.desire("version: 1\nnumbers: [}\n")
    assert pipeline("senderid-validate").returncode == 65
    assert pipeline("senderid-plan").returncode == 65
    assert pipeline("senderid-drift").returncode == 65
    assert (forge.calls, served.sandbox.wire) == ([], [])
