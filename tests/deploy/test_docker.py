"""The contents of the image, and how Compose runs it."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.deploy.commands import DEPLOY, ROOT, parse_command
from tests.deploy.image import Image, pins
from worker import __version__
from worker.config import desired

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DRAIN = 25 + 20
"""Seconds that a stop may take: requests in flight, and a read within the settings' timeout.total_seconds."""


def _dockerfile() -> str:
    return (DEPLOY / "docker/Dockerfile").read_text()


def test_hadolint_reports_no_problem() -> None:
    """No rule is disabled."""
    assert "hadolint" not in _dockerfile()
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint is not installed")
    result = subprocess.run(  # noqa: S603 - a pinned tool
        [linter, "--no-color", DEPLOY / "docker/Dockerfile"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_image_lock_has_the_tested_versions() -> None:
    runtime, tested = pins(DEPLOY / "docker/runtime.lock"), pins(ROOT / "requirements-dev.lock")
    building = pins(DEPLOY / "docker/build.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    expected = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert {Requirement(line).name for line in expected} <= runtime.keys()
    assert "hatchling" in building.keys() - runtime.keys()
    for name, pin in (runtime | building).items():
        assert tested[name].specifier == pin.specifier
        assert pin.marker is not None or pin.specifier.contains(version(name))


@pytest.mark.parametrize("lock", ["build.lock", "runtime.lock"])
def test_every_pin_has_a_required_hash(lock: str) -> None:
    path = DEPLOY / "docker" / lock
    actual = re.split(r"^(?=[a-z0-9])", path.read_text(), flags=re.MULTILINE)
    assert len(actual) == len(pins(path)) + 1
    assert all("--hash=sha256:" in line for line in actual[1:])
    assert re.search(rf"--require-hashes --no-deps .*-r {lock}", _dockerfile())


def test_build_context_has_every_copied_file_and_no_secret() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines

    def is_sent(path: str) -> bool:
        return any(fnmatch.fnmatch(path, pattern) or path.startswith(f"{pattern}/") for pattern in allowed)

    copied = [line.split()[1:-1] for line in _dockerfile().splitlines() if re.match("COPY (?!--from)", line)]
    names = [name for names in copied for name in names]
    assert names
    assert all(is_sent(name) and (ROOT / name).exists() for name in names)
    for secret in ("deploy/secrets/main_api_key", "deploy/senderid.env", ".git/config", "config/desired/main.yaml"):
        assert not is_sent(secret)


def test_label_and_compose_tag_are_the_version(dockerfile: Image) -> None:
    assert dockerfile.labels["org.opencontainers.image.version"] == __version__
    assert {service["image"] for service in SERVICES.values()} == {f"senderid:{__version__}"}


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_confined(name: str) -> None:
    """Each has a read-only root, no capabilities, no published ports, and limits for memory and processes."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "ports", "user", "devices", "pid", "ipc"}
    assert service["pids_limit"] <= 100
    assert service["mem_limit"]
    assert all(volume["read_only"] for volume in service.get("volumes", []) if isinstance(volume, dict))


@pytest.mark.parametrize("name", SERVICES)
def test_services_use_valid_options_mounts_and_stop_time(name: str, dockerfile: Image) -> None:
    service = SERVICES[name]
    command = parse_command(service["command"])
    assert int(service["stop_grace_period"].removesuffix("s")) > DRAIN
    if command["verb"] == "watch":
        mounts = [volume["target"] for volume in service["volumes"] if isinstance(volume, dict)]
        assert list(command["paths"]) == mounts
        volumes = [volume.split(":") for volume in service["volumes"] if isinstance(volume, str)]
        assert [[where in COMPOSE["volumes"], at] for where, at in volumes] == [[True, dockerfile.volumes[0]]]


def test_services_mount_the_secrets_that_files_name() -> None:
    (account,) = desired.load([("main.yaml", (DEPLOY / "accounts/main.yaml").read_bytes())]).accounts
    assert account.credentials is not None
    named = {account.credentials.api_key.file, account.credentials.api_secret.file}
    assert named == {secret["target"] for secret in SERVICES["watch"]["secrets"]}
    used = {secret["source"] for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == COMPOSE["secrets"].keys()
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/deploy/secrets/" in ignored
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    assert "environment" not in SERVICES["watch"]


def test_simulated_daemon_does_not_share_state_with_the_real_one() -> None:
    assert SERVICES["sandbox-watch"]["profiles"] == SERVICES["sandbox"]["profiles"] == ["sandbox"]
    assert SERVICES["sandbox-watch"]["network_mode"] == "service:sandbox"
    assert not {*map(str, SERVICES["watch"]["volumes"])} & {*map(str, SERVICES["sandbox-watch"]["volumes"])}
