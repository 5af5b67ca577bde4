"""The fleet of Compose and Kubernetes: confined pods, valid arguments, and workers that scale by a metric."""

import re
import shutil
import subprocess
from functools import cache
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tests.deploy.commands import DEPLOY, parse_command
from tests.deploy.test_docker import DRAIN, SERVICES
from worker import __version__
from worker.config import settings
from worker.telemetry.fleet_metrics import FleetMetrics
from worker.telemetry.metrics import Metrics

Object = dict[str, Any]
OVERLAY: Final = DEPLOY / "kubernetes/overlays/fleet"
COMPOSE_FLEET: Final = ("fleet-publish", "fleet-worker")


@cache
def _objects() -> tuple[Object, ...]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    result = subprocess.run(  # noqa: S603 - found above
        [kubectl, "kustomize", str(OVERLAY)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    return tuple(yaml.safe_load_all(result.stdout))


def _of_kind(kind: str) -> list[Object]:
    return [item for item in _objects() if item["kind"] == kind]


def _pods() -> dict[str, Object]:
    (deployment,), (job,) = _of_kind("Deployment"), _of_kind("Job")
    return {"worker": deployment["spec"]["template"]["spec"], "publish": job["spec"]["template"]["spec"]}


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
def test_objects_are_valid(version: str) -> None:
    for item in _objects():
        kubernetes_validate.validate(item, version, strict=True)
        assert item["kind"] == "Namespace" or item["metadata"]["namespace"] == "senderid"
    assert _of_kind("PersistentVolumeClaim") == _of_kind("Secret") == []


def test_pods_are_restricted() -> None:
    """The pods have the restrictions of the other overlays, and mount each of their volumes."""
    for pod in _pods().values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        containers = [*pod.get("initContainers", []), *pod["containers"]]
        for container in containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["image"] == f"senderid:{__version__}"
            assert "env" not in container
        mounted = {mount["name"] for container in containers for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_arguments_are_valid() -> None:
    """The Job migrates and publishes, and a worker has probes and time to hand over its lanes."""
    pods = _pods()
    (init,), (publish,) = pods["publish"]["initContainers"], pods["publish"]["containers"]
    assert parse_command(init["args"])["verb"] == "fleet init"
    arguments = parse_command(publish["args"])
    assert (arguments["verb"], arguments["paths"]) == ("fleet publish", ("/etc/senderid/accounts",))
    (worker,) = pods["worker"]["containers"]
    arguments = parse_command(worker["args"])
    assert arguments["verb"] == "fleet worker"
    ports = {item["name"]: item["containerPort"] for item in worker["ports"]}
    for probe, page in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        requested = worker[probe]["httpGet"]
        assert (requested["path"], ports[requested["port"]]) == (page, arguments["listen"][1])
    assert pods["worker"]["terminationGracePeriodSeconds"] > DRAIN


def test_settings_name_a_database_with_a_mounted_password() -> None:
    loaded = settings.load(("settings.yaml", (OVERLAY / "settings.yaml").read_bytes()), {}, {})
    assert loaded.ledger.url is not None
    assert "sslmode=verify-full" in loaded.ledger.url
    assert loaded.ledger.password is not None
    for pod in _pods().values():
        mounts = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
        assert str(loaded.ledger.password.file).rpartition("/")[0] in mounts


def test_workers_scale_by_a_metric_of_the_fleet() -> None:
    """The budget for disruptions and the scaling refer to the Deployment of the workers."""
    (deployment,), (budget,), (scaler,) = map(
        _of_kind, ("Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler")
    )
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert budget["spec"]["maxUnavailable"] == 1
    assert scaler["spec"]["minReplicas"] >= 2
    metrics = Metrics()
    FleetMetrics(metrics.registry)
    (metric,) = scaler["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] in {family.name for family in metrics.registry.collect()}


def test_compose_has_a_publisher_and_workers() -> None:
    """Both services start with the profile `fleet` only. Workers need no files, and the publisher needs no API keys."""
    publish, worker = (SERVICES[name] for name in COMPOSE_FLEET)
    assert publish["profiles"] == worker["profiles"] == ["fleet"]
    assert parse_command(publish["command"])["verb"] == "fleet publish"
    assert parse_command(worker["command"])["verb"] == "fleet worker"
    assert worker["deploy"]["replicas"] >= 2
    assert worker["restart"] == "unless-stopped"
    assert [secret["source"] for secret in publish["secrets"]] == ["ledger_password"]
    loaded = settings.load(("fleet.yaml", (DEPLOY / "fleet.yaml").read_bytes()), {}, {})
    assert loaded.ledger.password is not None
    assert loaded.ledger.password.file in {secret["target"] for secret in worker["secrets"]}
    mounted = {volume["target"] for volume in worker["volumes"]}
    assert re.findall(r"--settings=?(\S+)", " ".join(worker["command"]))[0] in mounted


def test_deployed_workers_run_no_program_that_a_publisher_names() -> None:
    (pod,) = _pods()["worker"]["containers"]
    (unit,) = re.findall("^ExecStart=.*", (DEPLOY / "systemd/senderid-fleet-worker@.service").read_text(), re.MULTILINE)
    for arguments in (pod["args"], SERVICES["fleet-worker"]["command"], unit.split()):
        assert "--no-commands" in arguments
