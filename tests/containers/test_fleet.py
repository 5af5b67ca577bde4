"""The fleet's service of Compose, its overlay and its unit, over a PostgreSQL in a container."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.containers.conftest import IMAGE
from tests.containers.engine import Container, Engine, until
from tests.containers.simulated import API_KEY, API_SECRET, ENDPOINT, Simulated
from tests.containers.test_compose import Project
from tests.containers.test_kubernetes import Cluster
from tests.containers.test_systemd import Machine

_DATABASE: Final = "localhost/database:test"
_PASSWORD: Final = "cGFzc3dvcmQxMjM0"
_URL: Final = "postgresql://senderid@127.0.0.1/senderid"
_SECRETS: Final = {"ledger_password": _PASSWORD, "main_api_key": API_KEY, "main_api_secret": API_SECRET}
_REQUEST: Final = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:9464{}').status)"


def _settings(folder: str) -> str:
    ledger = {"url": _URL, "password": {"file": f"{folder}/ledger_password"}}
    return yaml.safe_dump({"endpoint": ENDPOINT, "log": {"format": "json"}, "ledger": ledger})


def _document(numbers: dict[str, str], folder: str) -> str:
    credentials = {name: {"file": f"{folder}/main_{name}"} for name in ("api_key", "api_secret")}
    return yaml.safe_dump({"version": 1, "account": "main", "credentials": credentials, "numbers": numbers})


@pytest.fixture(scope="module")
def database_image(machine: Engine, image: str) -> str:
    """The image of the database."""
    assert image == IMAGE
    folder = Path(__file__).parent
    machine.build(folder, _DATABASE, file=folder / "database.containerfile", mounts={})
    return _DATABASE


@pytest.fixture
def numbers(simulated: Simulated, database_image: str) -> dict[str, str]:
    """The statuses of a simulated account that runs beside a database. All containers have the network of both."""
    database = simulated.engine.start(database_image, _PASSWORD, options=("--name=database",))
    until(lambda: "ready to accept connections" in database.log, "the database accepts connections")
    simulated.start()
    return simulated.statuses()


def _write_secrets(folder: Path, owner: int) -> None:
    """Write the files that a user reads: the password of the database and the keys of the account."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    for name, value in _SECRETS.items():
        (folder / name).write_text(value)
        (folder / name).chmod(0o400)
        os.chown(folder / name, owner, 0)


def _half_flipped(statuses: dict[str, str]) -> dict[str, str]:
    """Return a desired state that activates the inactive numbers and deactivates one."""
    first = min(phone for phone, status in statuses.items() if status == "ACTIVE")
    return dict.fromkeys(statuses, "ACTIVE") | {first: "INACTIVE"}


def _assert_secret(engine: Engine, container: Container) -> None:
    """Assert that no secret is in the configuration, the environment and the log of a container."""
    seen = json.dumps(engine.inspect("container", container.name)) + container.log
    for secret in (_PASSWORD, API_SECRET):
        assert secret not in seen + container.exec("env").stdout


@pytest.fixture
def project(numbers: dict[str, str], engine: Engine, tmp_path: Path) -> Iterator[Project]:
    """The fleet profile with settings and secrets of an operator, in the network of the database."""
    assert numbers
    compose_project = Project(engine, tmp_path, profile="fleet")
    _write_secrets(compose_project.deploy / "secrets", 65532)
    (compose_project.deploy / "fleet.yaml").write_text(_settings("/run/secrets/senderid"))
    # the database and the simulated account listen on the loopback address; two workers there cannot share a port
    services: dict[str, Any] = {name: {"network_mode": "host"} for name in ("fleet-publish", "fleet-worker")}
    services["fleet-worker"]["deploy"] = {"replicas": 1}
    compose_project.override({"services": services})
    yield compose_project
    compose_project("down", "--volumes")


def test_compose_publishes_and_another_worker_takes_over(
    project: Project, simulated: Simulated, numbers: dict[str, str]
) -> None:
    """A worker that is killed leaves its accounts to another one, which also writes the next revision."""

    def publish(desired: dict[str, str]) -> str:
        (project.deploy / "accounts/main.yaml").write_text(_document(desired, "/run/secrets/senderid"))
        return project("run", "--rm", "-T", "fleet-publish")

    desired = _half_flipped(numbers)
    assert "Revision 1: 1 account" in publish(desired)
    project("up", "--detach", "fleet-worker")
    worker = project.container("fleet-worker")
    until(lambda: simulated.statuses() == desired, "the worker reconciles the account")
    assert worker.exec("python", "-c", _REQUEST.format("/readyz")).stdout == "200\n"
    _assert_secret(project.engine, worker)

    worker.kill("KILL")
    worker.wait()
    restored = dict.fromkeys(desired, "ACTIVE")
    assert "Revision 2: 1 account" in publish(restored)
    project.engine.podman("rename", worker.name, "killed")
    project("up", "--detach", "--force-recreate", "fleet-worker")
    until(lambda: simulated.statuses() == restored, "another worker takes over", 120)
    assert project.container("fleet-worker").stop() == 143


def test_job_publishes_and_pods_of_the_overlay_reconcile(
    engine: Engine, simulated: Simulated, numbers: dict[str, str], tmp_path: Path
) -> None:
    """Podman 4.3 has no Jobs and no projected volumes: the Job's template runs as a Pod, and the Secrets are one.

    It publishes no ports of a pod that has the network of the machine.
    """
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    cluster = Cluster(engine, tmp_path)
    (tmp_path / "main.yaml").write_text(_document(desired := _half_flipped(numbers), "/run/secrets/senderid"))
    (tmp_path / "worker.yaml").write_text(_settings("/run/secrets/senderid"))
    objects = cluster.build("fleet")
    maps = [item for item in objects if item["kind"] == "ConfigMap"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "senderid-database"}, "data": _SECRETS}

    def play(kind: str) -> Container:
        (template,) = [item["spec"]["template"] for item in objects if item["kind"] == kind]
        pod = template["spec"] | {"restartPolicy": "Never", "hostNetwork": True}
        for volume in pod["volumes"]:
            if volume["name"] == "credentials":
                volume.pop("projected", None)
                volume["secret"] = {"secretName": "senderid-database", "optional": False}
        for each in pod["containers"]:
            each.pop("ports", None)
        name = f"senderid-{kind.lower()}"
        played = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template["metadata"]}, "spec": pod}
        engine.podman("secret", "rm", "senderid-database", check=False)
        engine.podman("kube", "play", "--replace", "-", stdin=yaml.safe_dump_all([secret, *maps, played]))
        return Container(engine, f"{name}-senderid")

    job = play("Job")
    assert job.wait() == 0, job.log
    container = play("Deployment")
    until(lambda: simulated.statuses() == desired, "the worker reconciles the account")
    for path in ("/healthz", "/readyz"):
        assert container.exec("python", "-c", _REQUEST.format(path)).stdout == "200\n"
    _assert_secret(engine, container)
    status = container.exec("senderid", "fleet", "status", "--settings=/etc/senderid/settings/worker.yaml").stdout
    assert "Revision 1" in status
    assert "running" in status
    assert container.stop() == 143


def test_instances_of_the_unit_reconcile_and_one_replaces_the_other(
    systemd: None,  # noqa: ARG001 - the image of the machine
    simulated: Simulated,
    numbers: dict[str, str],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "senderid"
    host = Machine(simulated.engine, folder)
    host.container.exec("useradd", "--system", "--no-create-home", "senderid", check=True)
    user = int(host.container.exec("id", "--user", "senderid", check=True).stdout)
    (folder / "fleet.yaml").write_text(_settings("/etc/senderid/credentials"))
    _write_secrets(folder / "credentials", user)
    os.chown(folder / "credentials", user, 0)

    def publish(desired: dict[str, str]) -> None:
        (folder / "accounts/main.yaml").write_text(_document(desired, "/etc/senderid/credentials"))
        command = ("fleet", "publish", "--file=/etc/senderid/accounts", "--settings=/etc/senderid/fleet.yaml")
        host.container.exec("/opt/senderid/bin/senderid", *command, check=True)

    desired = _half_flipped(numbers)
    publish(desired)
    first, second = (f"senderid-fleet-worker@{port}.service" for port in (9464, 9465))
    host("start", first, check=True)
    until(lambda: simulated.statuses() == desired, "the first instance reconciles the account")
    host("start", second, check=True)
    host("stop", first, check=True)
    assert host.property(first, "ActiveState") == "inactive", "not failed, as 143 is a success"
    restored = dict.fromkeys(desired, "ACTIVE")
    publish(restored)
    until(lambda: simulated.statuses() == restored, "the second instance has its account")
    output = host.container.exec("systemd-analyze", "security", "--no-pager", second, check=True).stdout
    assert float(output.rsplit("exposure level for", 1)[1].split()[1]) < 1.5
