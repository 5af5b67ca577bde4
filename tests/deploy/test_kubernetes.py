"""The objects that kustomize builds: valid, confined, with arguments that the command accepts."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tests.deploy.commands import DEPLOY, meant
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
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The objects of an overlay, with components over it."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    tree = tmp_path_factory.mktemp("tree") / "kubernetes"
    shutil.copytree(KUBERNETES, tree)
    made: dict[tuple[str, ...], str] = {}

    def build(overlay: str, *components: str) -> list[Object]:
        key = (overlay, *components)
        folder = tree / "overlays" / "-".join(key)
        if components and not folder.exists():
            folder.mkdir()
            parts = [f"../../components/{name}" for name in components]
            mix = {"kind": "Kustomization", "resources": [f"../{overlay}"], "components": parts}
            (folder / "kustomization.yaml").write_text(yaml.safe_dump(mix))
        if key not in made:
            done = subprocess.run(  # noqa: S603 - found above
                [kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60
            )
            assert (done.returncode, done.stderr) == (0, "")
            made[key] = done.stdout
        return list(yaml.safe_load_all(made[key]))

    return build


def _of(objects: list[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def _workload(objects: list[Object]) -> Object:
    """The one object that runs pods: more than one would be two writers of an account."""
    (found,) = [
        each for each in objects if each["kind"] in {"CronJob", "Deployment", "Job", "StatefulSet", "DaemonSet"}
    ]
    return found


def _template(objects: list[Object]) -> Object:
    spec: Object = _workload(objects)["spec"]
    template: Object = spec.get("jobTemplate", {}).get("spec", spec)["template"]
    return template


def _containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def _senderid(pod: Object) -> Object:
    (found,) = [each for each in pod["containers"] if each["name"] == "senderid"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", WAYS, ids="+".join)
def test_objects_are_valid(built: Build, way: tuple[str, ...], version: str) -> None:
    """By the schemas of an old and a new Kubernetes."""
    checked = []
    for each in built(*way):
        if each["kind"] != "ServiceMonitor":  # it is of Prometheus' operator
            kubernetes_validate.validate(each, version, strict=True)
            checked.append(each["kind"])
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "senderid"
    assert {"Namespace", "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "NetworkPolicy"} <= set(checked)


def test_unknown_key_is_refused(built: Build) -> None:
    wrong = _workload(built("watch"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("way", WAYS, ids="+".join)
def test_pods_are_restricted(built: Build, way: tuple[str, ...]) -> None:
    """By the Pod Security Standard of that name, and with a read-only root."""
    objects = built(*way)
    (namespace,) = _of(objects, "Namespace")
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


@pytest.mark.parametrize("way", WAYS, ids="+".join)
def test_volumes_and_mounts_match(built: Build, dockerfile: Image, way: tuple[str, ...]) -> None:
    objects = built(*way)
    pod = _template(objects)["spec"]
    named = {volume["name"] for volume in pod["volumes"]}
    mounted = {mount["name"] for each in _containers(pod) for mount in each["volumeMounts"]}
    assert named == mounted
    maps = {each["metadata"]["name"] for each in _of(objects, "ConfigMap")}
    used = {volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume}
    used |= {
        each["configMapRef"]["name"]
        for container in _containers(pod)
        for each in container.get("envFrom", [])
        if "configMapRef" in each
    }
    assert used <= maps
    (claim,) = _of(objects, "PersistentVolumeClaim")
    (state,) = [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert state["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    container = _senderid(pod)
    (where,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == state["name"]]
    assert where == dockerfile.volumes[0]
    assert container["image"] == f"senderid:{__version__}"
    assert "command" not in container
    (account,) = _of(objects, "ServiceAccount")
    assert (pod["serviceAccountName"], account["automountServiceAccountToken"]) == (account["metadata"]["name"], False)


@pytest.mark.parametrize("way", WAYS, ids="+".join)
def test_manifests_have_no_secret(built: Build, way: tuple[str, ...]) -> None:
    objects = built(*way)
    assert _of(objects, "Secret") == []
    pod = _template(objects)["spec"]
    assert not any("env" in each for each in _containers(pod))
    (mount,) = [each for each in _senderid(pod)["volumeMounts"] if each["name"] == "credentials"]
    (held,) = _of(objects, "ConfigMap")[:1]
    (account,) = desired.load([("main.yaml", held["data"]["main.yaml"].encode())]).accounts
    assert account.credentials is not None
    for reference in (account.credentials.api_key, account.credentials.api_secret):
        assert str(reference.file).startswith(f"{mount['mountPath']}/")


@pytest.mark.parametrize("way", WAYS, ids="+".join)
def test_arguments_are_valid_and_paths_are_mounted(built: Build, way: tuple[str, ...]) -> None:
    pod = _template(built(*way))["spec"]
    container = _senderid(pod)
    given = meant(container["args"])
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for path in (*given["paths"], given["settings_path"]):
        assert any(Path(path).is_relative_to(mount) for mount in mounts)
    if way[0] == "cronjob":
        assert (given["verb"], given["yes"]) == ("apply", True)
        assert 0 < given["lock_timeout"] < 600
    else:
        assert given["verb"] == "watch"


@pytest.mark.parametrize("way", [way for way in WAYS if way[0] != "cronjob"], ids="+".join)
def test_daemon_is_a_single_pod_with_matching_probes(built: Build, way: tuple[str, ...]) -> None:
    objects = built(*way)
    deployment = _workload(objects)
    pod = _template(objects)["spec"]
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert pod["terminationGracePeriodSeconds"] > DRAIN
    container = _senderid(pod)
    host, port = meant(container["args"])["listen"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert host == "0.0.0.0"  # noqa: S104 - probes come from the node
    for probe, page in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        asked = container[probe]["httpGet"]
        assert (asked["path"], ports[asked["port"]]) == (page, port)


@pytest.mark.parametrize("way", [way for way in WAYS if way[0] == "cronjob"], ids="+".join)
def test_jobs_neither_overlap_nor_retry(built: Build, way: tuple[str, ...]) -> None:
    spec = _workload(built(*way))["spec"]
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert (spec["concurrencyPolicy"], job["backoffLimit"], pod["restartPolicy"]) == ("Forbid", 0, "Never")
    assert spec["startingDeadlineSeconds"] > 10  # under ten seconds a controller may skip all of them
    waits = meant(_senderid(pod)["args"])["lock_timeout"]
    assert job["activeDeadlineSeconds"] > Settings().deadline_seconds + waits + DRAIN
    assert pod["terminationGracePeriodSeconds"] > DRAIN


def test_config_maps_are_valid(built: Build) -> None:
    maps = {each["metadata"]["name"]: each["data"] for each in _of(built("watch"), "ConfigMap")}
    loaded = desired.load([(name, text.encode()) for name, text in maps.pop("senderid-accounts").items()])
    assert [account.name for account in loaded.accounts] == ["main"]
    assert loaded.warnings == ()
    ((name, data),) = maps.items()
    assert name.startswith("senderid-settings-")
    assert settings.load(("worker.yaml", data["worker.yaml"].encode()), {}, {}).log.format == "json"


@pytest.mark.parametrize("way", WAYS, ids="+".join)
def test_network_policy_denies_by_default(built: Build, way: tuple[str, ...]) -> None:
    """In: Prometheus to the metrics. Out: DNS and HTTPS, not into private networks."""
    policies = {each["metadata"]["name"]: each["spec"] for each in _of(built(*way), "NetworkPolicy")}
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


def test_prometheus_labels_and_port_match(built: Build) -> None:
    objects = built("everything")
    (monitor,), (service,) = _of(objects, "ServiceMonitor"), _of(objects, "Service")
    template = _template(objects)
    labels: Mapping[str, str] = template["metadata"]["labels"]
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= labels.items()
    assert _workload(objects)["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,), (port,) = monitor["spec"]["endpoints"], service["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    assert port["targetPort"] in {each["name"] for each in _senderid(template["spec"])["ports"]}
    (scrape,) = [each for each in _of(objects, "NetworkPolicy") if each["metadata"]["name"] == "senderid-scrape"]
    assert scrape["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("overlay", ["watch", "cronjob"])
def test_git_component_changes_only_the_folder(built: Build, overlay: str) -> None:
    plain, synced = (_template(built(overlay, *more))["spec"] for more in ((), ("git-sync",)))
    before, after = (meant(_senderid(pod)["args"]) for pod in (plain, synced))
    assert after.pop("paths") == ("/git/current/accounts",)
    assert before.pop("paths") == ("/etc/senderid/accounts",)
    assert after == before
    (clone,) = synced["initContainers"]
    assert "--one-time" in clone["args"]
    sidecars = [each for each in synced["containers"] if each["name"] == "git-sync"]
    assert len(sidecars) == (overlay == "watch")
    for container in (clone, *sidecars):
        assert {"--root=/git", "--link=current"} <= set(container["args"])
        assert container["image"].rpartition(":")[2].startswith("v4.")
    (mount,) = [each for each in _senderid(synced)["volumeMounts"] if each["name"] == "git"]
    assert mount == {"name": "git", "mountPath": "/git", "readOnly": True}


@pytest.mark.parametrize("overlay", ["watch", "cronjob"])
def test_openshift_component_sets_no_user_or_group(built: Build, overlay: str) -> None:
    context = _template(built(overlay, "openshift"))["spec"]["securityContext"]
    assert not context.keys() & {"fsGroup", "runAsUser", "runAsGroup", "supplementalGroups"}
    assert "fsGroup" in _template(built(overlay))["spec"]["securityContext"]
