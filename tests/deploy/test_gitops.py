"""The pipeline jobs for GitHub, GitLab and pre-commit, checked by shellcheck, zizmor and the command."""

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


def test_shellcheck_reports_no_problem() -> None:
    assert len(SCRIPTS) == 2
    result = run(BIN / "shellcheck", *SCRIPTS)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("job", [name for name, job in LAB.items() if "script" in job])
def test_shellcheck_reports_no_problem_in_a_job(job: str, tmp_path: Path) -> None:
    """The scripts of a GitLab job are joined as its runner does."""
    script = tmp_path / "job.sh"
    script.write_text("\n".join(["#!/bin/bash", "set -eo pipefail", *LAB[job]["script"], ""]))
    result = run(BIN / "shellcheck", script)
    assert result.returncode == 0, result.stdout


def test_zizmor_reports_no_problem() -> None:
    result = run(BIN / "zizmor", "--offline", "--persona=pedantic", "--no-config", ROOT / "action.yml", *WORKFLOWS)
    assert result.returncode == 0, result.stdout
    assert "No findings to report" in result.stdout + result.stderr


def test_inputs_reach_scripts_by_the_environment_only() -> None:
    steps = ACTION["runs"]["steps"]
    assert all("${{" not in step["run"] for step in steps)
    passed = {value for step in steps for value in step["env"].values()}
    assert {f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"]} <= passed


def test_action_sets_every_variable_of_its_script() -> None:
    read = set(re.findall(r"\b(INPUT_\w+)", "".join(script.read_text() for script in SCRIPTS)))
    arguments = {name for step in ACTION["runs"]["steps"] for name in step["env"]}
    assert read == {name for name in arguments if name.startswith("INPUT_")}
    assert not any(name.startswith("SENDERID_") for name in arguments)


def test_template_variables_have_one_prefix_and_are_not_settings() -> None:
    text = (ROOT / "deploy/gitlab/senderid.gitlab-ci.yml").read_text()
    read = set(re.findall(r"\bSENDERID_\w+", re.sub(r"#.*", "", text)))
    assert read == {*LAB["variables"], "SENDERID_KIT_TOKEN"}
    assert all(name.startswith("SENDERID_KIT_") for name in read)
    assert load(None, dict.fromkeys(read, "x"), {}) == Settings()


def test_workflows_name_the_folder_once() -> None:
    for path in WORKFLOWS:
        workflow: dict[Any, Any] = yaml.safe_load(path.read_text())
        triggers = workflow[True]  # YAML's reading of `on`
        assert not any("paths" in (trigger or {}) for trigger in triggers.values())
        assert workflow["env"] == {"FILES": "config/desired"}
        steps = [step for job in workflow["jobs"].values() for step in job["steps"] if "senderid" in step["uses"]]
        assert {step["with"]["files"] for step in steps} == {"${{ env.FILES }}"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_least_privilege(path: Path) -> None:
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


def test_hook_validates_all_files_together(tmp_path: Path) -> None:
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
def test_old_python_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 10); exec(sys.argv[1])' \"$2\"\n"
    )
    old.chmod(0o755)
    result = subprocess.run(  # noqa: S603 - our own script
        [str(ROOT / "deploy/github/install.sh")],
        env={"PATH": "/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path), "INPUT_PYTHON": str(old)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert "Python 3.11 or newer is needed" in result.stderr
    assert not (tmp_path / "senderid").exists()
