"""The objects that kustomize builds are valid and confined, and their arguments are accepted by the command."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tests.deploy.commands import DEPLOY, parse_command
from tests.deploy.image import Image
from tests.deploy.test_docker import DRAIN
from worker import __version__
from worker.config import desired, settings
from worker.config.settings import Settings

Object = dict[str, Any]
Build = Callable[..., list[Object]]

KUBERNETES: Final = DEPLOY / "kubernetes"
WAYS: Final = [
    ("cronjob",),
    ("watch",),
    ("everything",),
    ("watch", "openshift"),
    ("watch", "git-sync"),
    ("watch", "prometheus"),
    ("cronjob", "openshift"),
    ("cronjob", "git-sync"),
]
"""An overlay, and a component over it."""
VERSIONS: Final = ("1.29", kubernetes_validate.latest_version())


@pytest.fixture(scope="module")
def build_overlay(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build the objects of an overlay, with optional components."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    tree = tmp_path_factory.mktemp("tree") / "kubernetes"
    shutil.copytree(KUBERNETES, tree)
    instance: dict[tuple[str, ...], str] = {}

    def build(overlay: str, *components: str) -> list[Object]:
        key = (overlay, *components)
        folder = tree / "overlays" / "-".join(key)
        if components and not folder.exists():
            folder.mkdir()
            parts = [f"../../components/{name}" for name in components]
            mix = {"kind": "Kustomization", "resources": [f"../{overlay}"], "components": parts}
            (folder / "kustomization.yaml").write_text(yaml.safe_dump(mix))
        if key not in instance:
            result = subprocess.run(  # noqa: S603 - found above
                [kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60
            )
            assert (result.returncode, result.stderr) == (0, "")
            instance[key] = result.stdout
        return list(yaml.safe_load_all(instance[key]))

    return build


def _objects_of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]


def _workload(objects: list[Object]) -> Object:
    """Return the one object that runs pods. Two would be two writers of an account."""
    (actual,) = [
        item for item in objects if item["kind"] in {"CronJob", "Deployment", "Job", "StatefulSet", "DaemonSet"}
    ]
    return actual


def _template(objects: list[Object]) -> Object:
    spec: Object = _workload(objects)["spec"]
    template: Object = spec.get("jobTemplate", {}).get("spec", spec)["template"]
    return template


def _containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def _senderid(pod: Object) -> Object:
    (actual,) = [item for item in pod["containers"] if item["name"] == "senderid"]
    assert isinstance(actual, dict)
    return actual


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("variant", WAYS, ids="+".join)
def test_objects_are_valid(build_overlay: Build, variant: tuple[str, ...], version: str) -> None:
    """The schemas are those of an old and a new Kubernetes."""
    checked = []
    for item in build_overlay(*variant):
        if item["kind"] != "ServiceMonitor":  # the kind belongs to the Prometheus operator
            kubernetes_validate.validate(item, version, strict=True)
            checked.append(item["kind"])
        assert item["kind"] == "Namespace" or item["metadata"]["namespace"] == "senderid"
    assert {"Namespace", "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "NetworkPolicy"} <= set(checked)


def test_unknown_key_is_refused(build_overlay: Build) -> None:
    wrong = _workload(build_overlay("watch"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("variant", WAYS, ids="+".join)
def test_pods_are_restricted(build_overlay: Build, variant: tuple[str, ...]) -> None:
    """Pods meet the restricted Pod Security Standard and have a read-only root."""
    objects = build_overlay(*variant)
    (namespace,) = _objects_of_kind(objects, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = _template(objects)["spec"]
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "hostUsers"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"].get("runAsUser") != 0
    assert pod["automountServiceAccountToken"] is False
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    assert all(volume.keys() - {"name"} <= allowed for volume in pod["volumes"])
    for container in _containers(pod):
        confined = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["securityContext"] == confined
        assert not any("hostPort" in port for port in container.get("ports", []))
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize("variant", WAYS, ids="+".join)
def test_volumes_and_mounts_match(build_overlay: Build, dockerfile: Image, variant: tuple[str, ...]) -> None:
    objects = build_overlay(*variant)
    pod = _template(objects)["spec"]
    named = {volume["name"] for volume in pod["volumes"]}
    mounted = {mount["name"] for item in _containers(pod) for mount in item["volumeMounts"]}
    assert named == mounted
    maps = {item["metadata"]["name"] for item in _objects_of_kind(objects, "ConfigMap")}
    used = {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}
    used |= {
        source["configMapRef"]["name"]
        for container in _containers(pod)
        for source in container.get("envFrom", [])
        if "configMapRef" in source
    }
    assert used <= maps
    (claim,) = _objects_of_kind(objects, "PersistentVolumeClaim")
    (state,) = [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert state["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    container = _senderid(pod)
    (where,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == state["name"]]
    assert where == dockerfile.volumes[0]
    assert container["image"] == f"senderid:{__version__}"
    assert "command" not in container
    (account,) = _objects_of_kind(objects, "ServiceAccount")
    assert (pod["serviceAccountName"], account["automountServiceAccountToken"]) == (account["metadata"]["name"], False)


@pytest.mark.parametrize("variant", WAYS, ids="+".join)
def test_manifests_have_no_secret(build_overlay: Build, variant: tuple[str, ...]) -> None:
    objects = build_overlay(*variant)
    assert _objects_of_kind(objects, "Secret") == []
    pod = _template(objects)["spec"]
    assert not any("env" in item for item in _containers(pod))
    (mount,) = [item for item in _senderid(pod)["volumeMounts"] if item["name"] == "credentials"]
    (held,) = _objects_of_kind(objects, "ConfigMap")[:1]
    (account,) = desired.load([("main.yaml", held["data"]["main.yaml"].encode())]).accounts
    assert account.credentials is not None
    for reference in (account.credentials.api_key, account.credentials.api_secret):
        assert str(reference.file).startswith(f"{mount['mountPath']}/")


@pytest.mark.parametrize("variant", WAYS, ids="+".join)
def test_arguments_are_valid_and_paths_are_mounted(build_overlay: Build, variant: tuple[str, ...]) -> None:
    pod = _template(build_overlay(*variant))["spec"]
    container = _senderid(pod)
    arguments = parse_command(container["args"])
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for path in (*arguments["paths"], arguments["settings_path"]):
        assert any(Path(path).is_relative_to(mount) for mount in mounts)
    if variant[0] == "cronjob":
        assert (arguments["verb"], arguments["yes"]) == ("apply", True)
        assert 0 < arguments["lock_timeout"] < 600
    else:
        assert arguments["verb"] == "watch"


@pytest.mark.parametrize("variant", [variant for variant in WAYS if variant[0] != "cronjob"], ids="+".join)
def test_daemon_is_a_single_pod_with_matching_probes(build_overlay: Build, variant: tuple[str, ...]) -> None:
    objects = build_overlay(*variant)
    deployment = _workload(objects)
    pod = _template(objects)["spec"]
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert pod["terminationGracePeriodSeconds"] > DRAIN
    container = _senderid(pod)
    host, port = parse_command(container["args"])["listen"]
    ports = {item["name"]: item["containerPort"] for item in container["ports"]}
    assert host == "0.0.0.0"  # noqa: S104 - probes come from the node
    for probe, page in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        requested = container[probe]["httpGet"]
        assert (requested["path"], ports[requested["port"]]) == (page, port)


@pytest.mark.parametrize("variant", [variant for variant in WAYS if variant[0] == "cronjob"], ids="+".join)
def test_jobs_neither_overlap_nor_retry(build_overlay: Build, variant: tuple[str, ...]) -> None:
    spec = _workload(build_overlay(*variant))["spec"]
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert (spec["concurrencyPolicy"], job["backoffLimit"], pod["restartPolicy"]) == ("Forbid", 0, "Never")
    assert spec["startingDeadlineSeconds"] > 10  # under ten seconds a controller may skip all of them
    waits = parse_command(_senderid(pod)["args"])["lock_timeout"]
    assert job["activeDeadlineSeconds"] > Settings().deadline_seconds + waits + DRAIN
    assert pod["terminationGracePeriodSeconds"] > DRAIN


def test_config_maps_are_valid(build_overlay: Build) -> None:
    maps = {item["metadata"]["name"]: item["data"] for item in _objects_of_kind(build_overlay("watch"), "ConfigMap")}
    loaded = desired.load([(name, text.encode()) for name, text in maps.pop("senderid-accounts").items()])
    assert [account.name for account in loaded.accounts] == ["main"]
    assert loaded.warnings == ()
    ((name, data),) = maps.items()
    assert name.startswith("senderid-settings-")
    assert settings.load(("worker.yaml", data["worker.yaml"].encode()), {}, {}).log.format == "json"


@pytest.mark.parametrize("variant", WAYS, ids="+".join)
def test_network_policy_denies_by_default(build_overlay: Build, variant: tuple[str, ...]) -> None:
    """Inbound: Prometheus to the metrics. Outbound: DNS and HTTPS, except private networks."""
    policies = {
        policy["metadata"]["name"]: policy["spec"]
        for policy in _objects_of_kind(build_overlay(*variant), "NetworkPolicy")
    }
    everything = policies.pop("senderid")
    assert (everything["podSelector"], everything["policyTypes"]) == ({}, ["Ingress", "Egress"])
    assert "ingress" not in everything
    names, https = everything["egress"]
    assert [port["port"] for port in names["ports"]] == [53, 53]
    assert [port["port"] for port in https["ports"]] == [443]
    assert "169.254.0.0/16" in https["to"][0]["ipBlock"]["except"]
    for spec in policies.values():
        (rule,) = spec["ingress"]
        assert rule["ports"] == [{"protocol": "TCP", "port": "metrics"}]
        assert rule["from"][0]["namespaceSelector"]["matchLabels"]


def test_prometheus_labels_and_port_match(build_overlay: Build) -> None:
    objects = build_overlay("everything")
    (monitor,), (service,) = _objects_of_kind(objects, "ServiceMonitor"), _objects_of_kind(objects, "Service")
    template = _template(objects)
    labels: Mapping[str, str] = template["metadata"]["labels"]
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= labels.items()
    assert _workload(objects)["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,), (port,) = monitor["spec"]["endpoints"], service["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    assert port["targetPort"] in {item["name"] for item in _senderid(template["spec"])["ports"]}
    (scrape,) = [
        policy
        for policy in _objects_of_kind(objects, "NetworkPolicy")
        if policy["metadata"]["name"] == "senderid-scrape"
    ]
    assert scrape["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("overlay", ["watch", "cronjob"])
def test_git_component_changes_only_the_folder(build_overlay: Build, overlay: str) -> None:
    plain, synced = (_template(build_overlay(overlay, *more))["spec"] for more in ((), ("git-sync",)))
    previous, current = (parse_command(_senderid(pod)["args"]) for pod in (plain, synced))
    assert current.pop("paths") == ("/git/current/accounts",)
    assert previous.pop("paths") == ("/etc/senderid/accounts",)
    assert current == previous
    (clone,) = synced["initContainers"]
    assert "--one-time" in clone["args"]
    sidecars = [container for container in synced["containers"] if container["name"] == "git-sync"]
    assert len(sidecars) == (overlay == "watch")
    for container in (clone, *sidecars):
        assert {"--root=/git", "--link=current"} <= set(container["args"])
        assert container["image"].rpartition(":")[2].startswith("v4.")
    (mount,) = [item for item in _senderid(synced)["volumeMounts"] if item["name"] == "git"]
    assert mount == {"name": "git", "mountPath": "/git", "readOnly": True}


@pytest.mark.parametrize("overlay", ["watch", "cronjob"])
def test_openshift_component_does_not_set_user_or_group(build_overlay: Build, overlay: str) -> None:
    context = _template(build_overlay(overlay, "openshift"))["spec"]["securityContext"]
    assert not context.keys() & {"fsGroup", "runAsUser", "runAsGroup", "supplementalGroups"}
    assert "fsGroup" in _template(build_overlay(overlay))["spec"]["securityContext"]
