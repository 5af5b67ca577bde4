"""The jobs of the GitLab template, as a runner runs them, against the sandbox and a GitLab over real sockets."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Command, Served
from tests.e2e.forges import PROJECT, TOKEN, Forge
from worker.sandbox import SandboxAccount

ROOT = Path(__file__).parents[2]
TEMPLATE = yaml.safe_load((ROOT / "deploy/gitlab/senderid.gitlab-ci.yml").read_text())
A, B = "01012345678", "0232345678"
HEAD, MERGE = "a" * 40, "b" * 40
FILES = f"version: 1\nnumbers: {{{A}: ACTIVE, {B}: ACTIVE}}\n"


class Pipeline:
    """Runs jobs of the template, each in one shell as a runner does."""

    def __init__(self, command: Command, forge: Forge) -> None:
        self.folder = command.folder
        self._environment = (
            {name: value for name, value in TEMPLATE["variables"].items() if name != "SENDERID_KIT_IMAGE"}
            | command.environment
            | {
                "PATH": f"{Path(sys.executable).parent}:{command.environment['PATH']}",
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
        """Run one job to its end."""
        done = subprocess.run(  # noqa: S603 - our own template
            ["/bin/bash", "-eo", "pipefail", "-c", "\n".join(TEMPLATE[job]["script"])],
            cwd=self.folder,
            env=self._environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def desire(self, text: str) -> None:
        """What the files ask for."""
        place = self.folder / TEMPLATE["variables"]["SENDERID_KIT_FILES"] / "main.yaml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


@pytest.fixture
def forge() -> Iterator[Forge]:
    """A GitHub and a GitLab."""
    started = Forge()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def served(serve: Callable[..., Served], command: Command) -> Served:
    """The API of an account with one number off, whose keys the jobs have."""
    account = SandboxAccount.of({A: "INACTIVE", B: "ACTIVE"}, account_id="12925149")
    started = serve(account)
    command.at(started.sandbox, account)
    return started


@pytest.fixture
def pipeline(command: Command, forge: Forge, served: Served) -> Pipeline:  # noqa: ARG001 - the jobs talk to it
    """A pipeline of a merge request."""
    made = Pipeline(command, forge)
    made.desire(FILES)
    return made


def merge(pipeline: Pipeline, forge: Forge, **run: Any) -> None:
    """Keep the plan as the pipeline's artifact, and merge the request."""
    number = 100 + len(forge.pipelines)
    forge.files[number] = (pipeline.folder / "senderid-plan.json").read_bytes()
    forge.pipelines.append({"id": number, "sha": HEAD, "project_id": int(PROJECT)} | run)
    forge.pulls[:] = [{"iid": 7, "state": "merged", "merge_commit_sha": MERGE, "sha": HEAD}]


def test_a_plan_is_one_note_however_often_it_is_made(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    """The note is found behind a hundred others and brought up to date; what it says is masked."""
    forge.comments = [
        {"id": index, "author": {"id": 9}, "body": "<!-- senderid plan senderid -->"} for index in range(120)
    ]
    first = pipeline("senderid-plan")
    assert first.returncode == 0, first.stderr
    pipeline.desire(f"version: 1\nnumbers: {{{A}: INACTIVE, {B}: ACTIVE}}\n")
    assert pipeline("senderid-plan").returncode == 0
    assert len(forge.comments) == 121
    assert "### No changes" in forge.comments[-1]["body"]
    assert A not in first.stdout + first.stderr
    assert served.writes == []


def test_the_reviewed_plan_is_applied_and_told(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    """After the merge exactly the plan of the request is carried out, and its result noted there."""
    assert pipeline("senderid-plan").returncode == 0
    merge(pipeline, forge)
    done = pipeline("senderid-apply")
    assert done.returncode == 0, done.stderr
    assert served.writes == [(A, "ACTIVE")]
    assert "### Converged: 1 changed" in forge.comments[1]["body"]
    assert A not in done.stdout + done.stderr


def test_what_was_not_reviewed_is_not_applied(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    """A fork's pipeline, another commit's, or files that changed since: nothing is sent."""
    assert pipeline("senderid-plan").returncode == 0
    assert "not the merge of one merge request" in pipeline("senderid-apply").stderr
    merge(pipeline, forge, project_id=78)
    merge(pipeline, forge, sha="c" * 40)
    assert "has no plan of its last commit" in pipeline("senderid-apply").stderr
    merge(pipeline, forge)
    pipeline.desire(FILES + "# merged meanwhile\n")
    refused = pipeline("senderid-apply")
    assert refused.returncode == 1
    assert "something else was merged meanwhile" in refused.stderr
    assert served.writes == []


def test_what_the_files_ask_for_is_applied_by_hand(pipeline: Pipeline, served: Served) -> None:
    """The job that is started by hand applies the files."""
    assert pipeline("senderid-apply-files").returncode == 0
    assert served.writes == [(A, "ACTIVE")]


def test_drift_is_one_issue(pipeline: Pipeline, forge: Forge) -> None:
    """Drift opens an issue, brings it up to date, closes it once it is over, and opens the same one again."""
    states = []
    calm = FILES.replace(f"{A}: ACTIVE", f"{A}: INACTIVE")
    for text in (FILES, FILES, calm, calm, FILES):
        pipeline.desire(text)
        assert pipeline("senderid-drift").returncode == 0
        states.append([each["state"] for each in forge.issues])
    assert states == [["opened"], ["opened"], ["closed"], ["closed"], ["opened"]]
    assert forge.issues[0]["description"].startswith("<!-- senderid drift senderid -->\n### Drift")


def test_broken_files_stop_every_job(pipeline: Pipeline, forge: Forge, served: Served) -> None:
    """Files with problems fail validation, planning and looking for drift; nobody is asked or told anything."""
    pipeline.desire("version: 1\nnumbers: [}\n")
    assert pipeline("senderid-validate").returncode == 65
    assert pipeline("senderid-plan").returncode == 65
    assert pipeline("senderid-drift").returncode == 65
    assert (forge.calls, served.sandbox.wire) == ([], [])
