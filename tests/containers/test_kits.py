"""The steps of the GitHub Action and the jobs of the GitLab template in the built image, from a clone with a merge."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import yaml

from tests.containers.conftest import IMAGE, ROOT
from tests.containers.engine import Container, Engine, until
from tests.support.forges import PROJECT, REPOSITORY, TOKEN, Forge
from worker.config import desired

_TEMPLATE: Final = yaml.safe_load((ROOT / "deploy/gitlab/senderid.gitlab-ci.yml").read_text())
_STEPS: Final = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
_FILES: Final = "config/desired"
_CHECKOUT: Final = "/builds/acme/numbers"
_GIT: Final = ("git", "-c", "user.name=ann", "-c", "user.email=ann@example.com", "-c", "init.defaultBranch=main")


class Clone(NamedTuple):
    """A clone of a repository, checked out at the merge of a branch, which changes one number."""

    folder: Path
    head: str
    merge: str
    phone: str


class Account:
    """A simulated account at the loopback address of the machine, where the simulated forge is too."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        options = ("run", "--detach", "--no-healthcheck", IMAGE, "sandbox", "--numbers=6")
        box = Container(engine, engine.run("podman", *options).stdout.strip())
        until(lambda: "api_key" in box.log, "the sandbox listens")
        ready = json.loads(box.log.splitlines()[0])
        self.environment = {
            "SENDERID_ENDPOINT": ready["url"],
            "SOLAPI_API_KEY": ready["api_key"],
            "SOLAPI_API_SECRET": ready["api_secret"],
        }

    def run(
        self, script: str, environment: Mapping[str, str], *options: str, folder: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script as a job in a container of the image, in a folder of it."""
        variables = [f"--env={name}={value}" for name, value in {**self.environment, **environment}.items()]
        command = ("--rm", "--no-healthcheck", "--entrypoint=", f"--workdir={folder}", *options, *variables)
        return self._engine.run("podman", "run", *command, IMAGE, "bash", "-eo", "pipefail", "-c", script, check=False)

    def export(self) -> str:
        """Return the state of the account as a desired-state file."""
        result = self.run("senderid export --log-level=error", {}, folder="/tmp")  # noqa: S108 - in the container
        assert result.returncode == 0, result.stderr
        return result.stdout

    def statuses(self) -> dict[str, str]:
        """Return the status of each number."""
        (account,) = desired.load([("export.yaml", self.export().encode())]).accounts
        return {phone: str(number.status) for phone, number in account.numbers.items()}


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(  # noqa: S603 - git with arguments of the tests
        [*_GIT, "-C", str(folder), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


@pytest.fixture
def account(engine: Engine) -> Account:
    """A simulated account."""
    return Account(engine)


@pytest.fixture
def clone(account: Account, forge: Forge, tmp_path: Path) -> Clone:
    """A clone that every user may write, as the runner of GitLab makes it."""
    origin = tmp_path / "origin"
    place = origin / _FILES / "main.yaml"
    place.parent.mkdir(parents=True)
    text = account.export()
    place.write_text(text)
    _git(origin, "init", "--quiet")
    _git(origin, "add", ".")
    _git(origin, "commit", "--quiet", "--message=first")
    _git(origin, "switch", "--quiet", "--create", "change")
    phone = next(phone for phone, status in account.statuses().items() if status == "INACTIVE")
    place.write_text(text.replace(": INACTIVE", ": ACTIVE", 1))
    _git(origin, "commit", "--quiet", "--all", "--message=activate a number")
    head = _git(origin, "rev-parse", "HEAD")
    _git(origin, "switch", "--quiet", "main")
    (origin / "README.md").write_text("sender numbers\n")
    _git(origin, "add", ".")
    _git(origin, "commit", "--quiet", "--message=describe")
    _git(origin, "merge", "--quiet", "--no-ff", "--message=merge", "change")
    folder = tmp_path / "clone"
    _git(tmp_path, "clone", "--quiet", str(origin), str(folder))
    subprocess.run(["chmod", "-R", "a+rwX", str(folder)], check=True)  # noqa: S603, S607 - a folder of the test
    merge = _git(folder, "rev-parse", "HEAD")
    assert len(_git(folder, "log", "--max-count=1", "--format=%P").split()) == 2
    forge.head = merge
    forge.newer = {f"{_FILES}/main.yaml": place.read_bytes()}
    return Clone(folder, head, merge, phone)


def test_hook_of_pre_commit_validates_the_files(account: Account, clone: Clone) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    script = " ".join([hook["entry"], *hook["args"]])
    mount = f"--volume={clone.folder}:{_CHECKOUT}:ro"
    assert account.run(script, {}, mount, folder=_CHECKOUT).returncode == 0
    (clone.folder / _FILES / "other.yaml").write_text("version: 2\n")
    assert account.run(script, {}, mount, folder=_CHECKOUT).returncode == 65


def test_jobs_of_gitlab_plan_apply_and_watch_for_drift(account: Account, forge: Forge, clone: Clone) -> None:
    environment = {
        **{name: value for name, value in _TEMPLATE["variables"].items() if name != "SENDERID_KIT_IMAGE"},
        **_TEMPLATE[".senderid"]["variables"],
        "GITLAB_CI": "true",
        "CI_API_V4_URL": forge.url,
        "CI_PROJECT_ID": PROJECT,
        "CI_COMMIT_SHA": clone.merge,
        "CI_COMMIT_BRANCH": "main",
        "CI_JOB_URL": "https://gitlab.example/jobs/1",
        "CI_MERGE_REQUEST_IID": "7",
        "SENDERID_KIT_TOKEN": TOKEN,
    }
    assert environment["SENDERID_KIT_FILES"] == _FILES
    assert _TEMPLATE[".senderid"]["image"]["entrypoint"] == [""]

    def job(name: str) -> str:
        mount = f"--volume={clone.folder}:{_CHECKOUT}"
        result = account.run("\n".join(_TEMPLATE[name]["script"]), environment, mount, folder=_CHECKOUT)
        assert result.returncode == 0, f"{name}: {result.stdout}{result.stderr}"
        return result.stdout + result.stderr

    before = account.statuses()
    job("senderid-validate")
    output = job("senderid-plan")
    assert clone.phone not in output
    assert "1 to activate, 0 to deactivate" in forge.comments[0]["body"]
    assert account.statuses() == before

    forge.files[100] = (clone.folder / "senderid-plan.json").read_bytes()
    forge.pipelines.append({"id": 100, "sha": clone.head, "project_id": int(PROJECT)})
    forge.pulls[:] = [{"iid": 7, "state": "merged", "merge_commit_sha": clone.merge, "sha": clone.head}]
    job("senderid-apply")
    assert account.statuses() == before | {clone.phone: "ACTIVE"}
    assert "### Converged: 1 changed" in forge.comments[1]["body"]
    job("senderid-drift")
    assert forge.issues == []


def test_steps_of_the_github_action_plan_and_apply(
    account: Account, forge: Forge, clone: Clone, tmp_path: Path
) -> None:
    """The steps run as in a job with `container:`, where the installation finds the command of the image."""
    runner = tmp_path / "runner"
    runner.mkdir()
    runner.chmod(0o777)
    (runner / "senderid").symlink_to("/opt/senderid")
    (runner / "event.json").write_text(json.dumps({"pull_request": {"number": 7}}))
    environment = {
        "GITHUB_ACTION_PATH": "/action",
        "RUNNER_TEMP": "/runner",
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_RUN_ID": "42",
        "GITHUB_SHA": clone.merge,
        "GITHUB_REF_NAME": "main",
        "GITHUB_REF_TYPE": "branch",
        "GITHUB_API_URL": forge.url,
        "GITHUB_EVENT_PATH": "/runner/event.json",
        "GITHUB_OUTPUT": "/runner/outputs",
        "GITHUB_STEP_SUMMARY": "/runner/summary",
        "HEAD_REPOSITORY": REPOSITORY,
        "FORGE_TOKEN": TOKEN,
        "INPUT_FILES": _FILES,
        "INPUT_MASK": "010****5678",
        "XDG_STATE_HOME": "/runner/state",
    }
    mounts = (f"--volume={ROOT}:/action:ro", f"--volume={runner}:/runner", f"--volume={clone.folder}:{_CHECKOUT}")

    def action(command: str) -> dict[str, str]:
        (runner / "outputs").write_text("")
        (runner / "outputs").chmod(0o666)
        for step in _STEPS:
            result = account.run(step["run"], environment | {"INPUT_COMMAND": command}, *mounts, folder=_CHECKOUT)
            assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
            assert clone.phone not in result.stdout + result.stderr
        return dict(line.split("=", 1) for line in (runner / "outputs").read_text().splitlines())

    before = account.statuses()
    action("validate")
    outputs = action("plan")
    assert (outputs["changes"], outputs["exit-status"]) == ("true", "2")
    assert "1 to activate, 0 to deactivate" in forge.comments[0]["body"]
    assert account.statuses() == before

    forge.files[100] = (runner / Path(outputs["plan"]).relative_to("/runner")).read_bytes()
    source = {"repository_id": 1, "head_repository_id": 1, "head_sha": clone.head}
    artifact = {"id": 100, "name": f"senderid-plan-{clone.head}", "expired": False, "workflow_run": source}
    forge.artifacts.append(artifact | {"created_at": "2026-11-25T00:00:00Z"})
    merged = {"number": 7, "merged_at": "2026-11-25T00:01:00Z", "merge_commit_sha": clone.merge}
    forge.pulls.append(merged | {"head": {"sha": clone.head}})
    assert action("apply")["exit-status"] == "0"
    assert account.statuses() == before | {clone.phone: "ACTIVE"}
    assert action("drift")["exit-status"] == "0"
