"""`deploy/compose.yaml`, brought up by podman-compose."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.containers.conftest import ROOT
from tests.containers.engine import Container, Engine
from tests.containers.page import is_shown
from tests.containers.simulated import API_KEY, API_SECRET, ENDPOINT

_COMPOSE: Final = Path(sys.executable).with_name("podman-compose")
_CREDENTIALS: Final = {name: {"file": f"/run/secrets/senderid/main_{name}"} for name in ("api_key", "api_secret")}
# `watch` talks to the sandbox, which listens on the loopback address of its own container only
_OVERRIDE: Final = {"services": {"watch": {"network_mode": "service:sandbox", "depends_on": ["sandbox"]}}}


class Project:
    """A copy of `deploy/`, as an operator fills it."""

    def __init__(self, engine: Engine, folder: Path, profile: str = "sandbox") -> None:
        self.engine = engine
        self._profile = profile
        self.deploy = folder / "deploy"
        shutil.copytree(ROOT / "deploy", self.deploy)
        for path in (self.deploy, *self.deploy.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        self._files = ["-f", str(self.deploy / "compose.yaml")]

    def override(self, document: dict[str, Any]) -> None:
        """Add a Compose file."""
        path = self.deploy / "override.yaml"
        path.write_text(yaml.safe_dump(document))
        self._files += ["-f", str(path)]

    def __call__(self, *arguments: str) -> str:
        """Run a command of Compose, and return its stdout."""
        command = [sys.executable, str(_COMPOSE), *self._files, f"--profile={self._profile}", *arguments]
        return self.engine.inside(*command).stdout

    def container(self, service: str) -> Container:
        """Return the container of a service."""
        return Container(self.engine, f"senderid_{service}_1")

    def outcomes(self, service: str) -> list[str]:
        """Return the outcomes of the runs of a service, newest first."""
        runs = json.loads(self("exec", "-T", service, "senderid", "history", "--format=json"))["runs"]
        return [run["outcome"] for run in runs]

    def turn(self, path: str, before: str, after: str) -> None:
        """Edit a file in place, as an editor does."""
        file = self.deploy / path
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))


@pytest.fixture
def project(engine: Engine, tmp_path: Path) -> Iterator[Project]:
    """A project, which is taken down after the test."""
    if not _COMPOSE.exists():
        pytest.skip("podman-compose is not installed")
    compose_project = Project(engine, tmp_path)
    yield compose_project
    compose_project("down", "--volumes")


def test_sandbox_profile_applies_a_changed_file_and_keeps_its_ledger(project: Project) -> None:
    project("up", "--detach", "sandbox", "sandbox-watch")
    daemon = project.container("sandbox-watch")
    assert daemon.wait_for("watch.pass", outcome="converged")["counts"]["changed"] == 2
    assert is_shown(daemon.log, "logs --no-log-prefix sandbox-watch")
    project.turn("docker/sandbox/main.yaml", "010-7646-8271: ACTIVE", "010-7646-8271: INACTIVE")
    changed = daemon.wait_for("number", phone="01076468271", desired="INACTIVE")
    assert changed["outcome"] == "changed"
    for service in ("sandbox", "sandbox-watch"):
        container_info = project.engine.inspect("container", f"senderid_{service}_1")
        limits = container_info["HostConfig"]
        assert (limits["ReadonlyRootfs"], limits["PidsLimit"], limits["Memory"]) == (True, 64, 512 << 20)
        assert (container_info["EffectiveCaps"] or []) == []
        assert container_info["Config"]["User"] == "65532:0"
        assert project.engine.podman("healthcheck", "run", container_info["Id"], check=False).returncode == 0
    project("down")
    project("up", "--detach", "sandbox", "sandbox-watch")
    # the sandbox starts from its first state again
    project.container("sandbox-watch").wait_for("watch.pass", outcome="converged")
    assert project.outcomes("sandbox-watch") == ["converged"] * 3


def test_real_profile_takes_keys_from_files_only(project: Project) -> None:
    """Plan first, then the daemon, as the page shows; the keys are in no variable and in no label."""
    secrets = project.deploy / "secrets"
    secrets.mkdir(mode=0o700)
    for name, value in (("main_api_key", API_KEY), ("main_api_secret", API_SECRET)):
        (secrets / name).write_text(value)
        (secrets / name).chmod(0o400)
        os.chown(secrets / name, 65532, 0)
    (project.deploy / "senderid.env").write_text(f"SENDERID_ENDPOINT={ENDPOINT}\n")
    document = yaml.safe_load((project.deploy / "docker/sandbox/main.yaml").read_text())
    document |= {"account": "main", "credentials": _CREDENTIALS}
    (project.deploy / "accounts/main.yaml").write_text(yaml.safe_dump(document))
    project.override(_OVERRIDE)
    project.turn("compose.yaml", "NCSSANDBOX000000", API_KEY)
    project.turn("compose.yaml", "only-for-the-simulated-api", API_SECRET)
    project("up", "--detach", "sandbox")
    planned = project("run", "--rm", "-T", "watch", "plan", "-f", "/etc/senderid/accounts")
    assert "Plan: 1 to activate, 1 to deactivate." in planned
    project("up", "--detach", "watch")
    daemon = project.container("watch")
    daemon.wait_for("watch.pass", outcome="converged")
    container_info = json.dumps(project.engine.inspect("container", daemon.name))
    assert API_KEY not in container_info
    assert API_SECRET not in container_info
    assert API_SECRET not in daemon.exec("env").stdout
    assert API_SECRET not in daemon.log
    project.turn("accounts/main.yaml", "1540-3591: ACTIVE", "1540-3591: INACTIVE")
    daemon.kill("HUP")
    assert daemon.wait_for("number", phone="15403591")["outcome"] == "changed"
    project("stop", "watch")
    assert daemon.wait() == 143
    project("down")
    project("up", "--detach", "sandbox", "watch")
    project.container("watch").wait_for("watch.pass", outcome="converged")
    assert project.outcomes("watch") == ["converged"] * 3
