"""The workflows and issue forms of the repository."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.commands import ROOT

FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))


def read(path: Path) -> Any:
    """Return a YAML file."""
    return yaml.safe_load(path.read_text())


def jobs() -> Iterator[dict[str, Any]]:
    """Return the jobs of all workflows."""
    for path in WORKFLOWS:
        yield from read(path)["jobs"].values()


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a linter."""
    return subprocess.run(  # noqa: S603 - a pinned tool
        list(map(str, arguments)), capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )


def test_zizmor_reports_no_problem() -> None:
    result = run(Path(sys.executable).with_name("zizmor"), "--offline", "--persona=pedantic", "--no-config", *WORKFLOWS)
    assert result.returncode == 0, result.stdout


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint_reports_no_problem() -> None:
    result = run("actionlint", *WORKFLOWS)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_with_their_version(path: Path) -> None:
    uses = re.findall(r"uses: *(.*)", path.read_text())
    assert uses
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in uses)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_jobs_have_few_permissions_and_a_time_limit(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        writes = {name for name, access in job["permissions"].items() if access == "write"}
        assert writes <= ({"id-token", "attestations", "packages", "contents"} if path.stem == "release" else set())


def test_workflows_run_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    scripts = [step["run"] for job in jobs() for step in job["steps"] if "run" in step]
    lines = [line for script in scripts for line in re.findall(r"^make (.*)", script, re.MULTILINE)]
    ran = set(" ".join(lines).split())
    assert ran
    assert ran <= targets
    assert all((ROOT / script).exists() for script in scripts if script.startswith(".ci/"))


def test_every_supported_python_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    claimed = {classifier.rpartition(" ")[2] for classifier in project["classifiers"] if ":: 3." in classifier}
    (matrix,) = (job["strategy"]["matrix"] for job in jobs() if "strategy" in job)
    assert claimed <= set(matrix["python"])


def test_renovate_reads_every_lock_file() -> None:
    settings = json.loads((FOLDER / "renovate.json").read_text())
    (pattern,) = settings["pip_requirements"]["managerFilePatterns"]
    locks = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.lock"), *ROOT.glob("deploy/**/*.lock"))]
    assert len(locks) == 3
    assert all(re.search(pattern.strip("/"), lock) for lock in locks)


def test_owners_have_paths_that_exist() -> None:
    lines = [line.split() for line in (FOLDER / "CODEOWNERS").read_text().splitlines() if line and line[0] != "#"]
    assert all(owner.startswith("@") for _, *owners in lines for owner in owners)
    assert all(path == "*" or (ROOT / path.strip("/")).is_dir() for path, *_ in lines)


@pytest.mark.parametrize("path", sorted((FOLDER / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem)
def test_issue_forms_have_what_github_requires(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= form.keys()
    assert any(part["type"] != "markdown" for part in form["body"])
    fields = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(fields) == len(set(fields))
    assert all(part["attributes"].get("label") for part in form["body"] if part["type"] != "markdown")
