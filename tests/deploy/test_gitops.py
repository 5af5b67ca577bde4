"""The kit for GitHub, GitLab and pre-commit, looked at by the tools that know its parts."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import Command
from worker.config.settings import Settings, load

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOWS = sorted((ROOT / "deploy/github/workflows").glob("*.yml"))
SCRIPTS = sorted((ROOT / "deploy/github").glob("*.sh"))
LAB = yaml.safe_load((ROOT / "deploy/gitlab/senderid.gitlab-ci.yml").read_text())
BIN = Path(sys.executable).parent


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool of this environment."""
    return subprocess.run(  # noqa: S603 - our own tools
        list(map(str, arguments)), capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )


def test_shellcheck_finds_nothing() -> None:
    """The action's scripts, and the scripts of the GitLab jobs, have none of shellcheck's complaints."""
    assert len(SCRIPTS) == 2
    done = run(BIN / "shellcheck", *SCRIPTS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("job", [name for name, job in LAB.items() if "script" in job])
def test_shellcheck_finds_nothing_in_a_job(job: str, tmp_path: Path) -> None:
    """Neither do the scripts of GitLab's jobs, put together as its runner does."""
    script = tmp_path / "job.sh"
    script.write_text("\n".join(["#!/bin/bash", "set -eo pipefail", *LAB[job]["script"], ""]))
    done = run(BIN / "shellcheck", script)
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing() -> None:
    """The action and the workflows are without injections, broad permissions and what is not pinned, says zizmor."""
    done = run(BIN / "zizmor", "--offline", "--persona=pedantic", "--no-config", ROOT / "action.yml", *WORKFLOWS)
    assert done.returncode == 0, done.stdout
    assert "No findings to report" in done.stdout + done.stderr


def test_no_input_is_put_into_a_script() -> None:
    """Inputs reach scripts through the environment alone."""
    steps = ACTION["runs"]["steps"]
    assert all("${{" not in step["run"] for step in steps)
    passed = {value for step in steps for value in step["env"].values()}
    assert {f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"]} <= passed


def test_every_variable_of_the_script_is_given() -> None:
    """What the script reads of inputs, the action gives it, and none of it is a setting of senderid."""
    read = set(re.findall(r"\b(INPUT_\w+)", "".join(script.read_text() for script in SCRIPTS)))
    given = {name for step in ACTION["runs"]["steps"] for name in step["env"]}
    assert read == {name for name in given if name.startswith("INPUT_")}
    assert not any(name.startswith("SENDERID_") for name in given)


def test_variables_of_the_template_have_one_prefix_and_are_no_settings() -> None:
    """Each is SENDERID_KIT_…, none is defined in vain, and senderid accepts each in its environment."""
    text = (ROOT / "deploy/gitlab/senderid.gitlab-ci.yml").read_text()
    read = set(re.findall(r"\bSENDERID_\w+", re.sub(r"#.*", "", text)))
    assert read == {*LAB["variables"], "SENDERID_KIT_TOKEN"}
    assert all(name.startswith("SENDERID_KIT_") for name in read)
    assert load(None, dict.fromkeys(read, "x"), {}) == Settings()


def test_no_workflow_filters_by_paths_that_cannot_follow_the_folder() -> None:
    """The folder stands once in each workflow, and every step that takes files gets it."""
    for path in WORKFLOWS:
        workflow: dict[Any, Any] = yaml.safe_load(path.read_text())
        triggers = workflow[True]  # YAML's reading of `on`
        assert not any("paths" in (trigger or {}) for trigger in triggers.values())
        assert workflow["env"] == {"FILES": "config/desired"}
        steps = [step for job in workflow["jobs"].values() for step in job["steps"] if "senderid" in step["uses"]]
        assert {step["with"]["files"] for step in steps} == {"${{ env.FILES }}"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_asks_for_little(path: Path) -> None:
    """No workflow runs for forks with secrets, keeps the checkout's token, or has rights that its job does not name."""
    workflow: dict[Any, Any] = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    assert "pull_request_target" not in workflow[True]  # YAML's reading of `on`
    for job in workflow["jobs"].values():
        assert job["permissions"]["contents"] == "read"
        for step in job["steps"]:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
            if "checkout" in step["uses"]:
                assert step["with"]["persist-credentials"] is False
            if "senderid" in step["uses"]:
                assert step["with"].keys() <= ACTION["inputs"].keys()


def test_the_hook_checks_all_files(tmp_path: Path) -> None:
    """The pre-commit hook is a command that finds what is wrong with files, and what is wrong between them."""
    command = Command(tmp_path)
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    verb, *options = hook["entry"].split()[1:]
    assert hook["pass_filenames"] is False
    assert re.search(hook["files"], "config/desired/a.yaml")
    command.write("config/desired/a.yaml", "version: 1\naccount: a\nnumbers: {010-1234-5678: ACTIVE}\n")
    assert command(verb, *options, *hook["args"]).returncode == 0
    command.write("config/desired/b.yaml", "version: 1\naccount: b\nnumbers: {010-1234-5678: ACTIVE}\n")
    assert command(verb, *options, *hook["args"]).returncode == 65


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_an_old_python_is_refused(tmp_path: Path) -> None:
    """Where the runner's Python is too old the installation says so, and which input helps."""
    old = tmp_path / "python3"
    old.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 10); exec(sys.argv[1])' \"$2\"\n"
    )
    old.chmod(0o755)
    done = subprocess.run(  # noqa: S603 - our own script
        [str(ROOT / "deploy/github/install.sh")],
        env={"PATH": "/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path), "INPUT_PYTHON": str(old)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / "senderid").exists()
