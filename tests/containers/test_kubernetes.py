"""The overlays, rendered by kubectl and run by `podman kube play`.

Podman 4.3 does not express all of a manifest. `_as_podman_reads_it` has what is changed for it. It ignores `fsGroup`,
`runAsNonRoot`, `emptyDir.sizeLimit`, service accounts, services, network policies, Deployment strategies and CronJobs,
and it runs probes with `curl`, which the image does not have: here the tests request what the probes request. The files
of a ConfigMap in a running pod are replaced by the tests, which a kubelet does in a cluster.
"""

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.containers.conftest import IMAGE, ROOT
from tests.containers.engine import Container, Engine
from tests.containers.simulated import API_KEY, API_SECRET, ENDPOINT, OPTIONS

Object = dict[str, Any]

_NETWORK: Final = "pods"
_NUMBERS: Final = {"010-7646-8271": "ACTIVE", "010-7816-1974": "INACTIVE"}
_SANDBOX: Final = {"name": "sandbox", "image": IMAGE, "args": ["sandbox", "--numbers", "6", *OPTIONS]}
_GIT_SYNC: Final = "registry.k8s.io/git-sync/git-sync:v4.4.0"
# A stand-in for an image that needs a registry. With --one-time it makes the folder of a first commit and the link to
# it; otherwise it waits, and the test makes the second one in it.
_STAND_IN: Final = """
FROM localhost/base:bookworm
COPY main.yaml /repository/accounts/
RUN install -d -m 0777 /git
USER 65533:65533
ENTRYPOINT ["sh", "-c", \\
    "case $* in *--one-time) cp -r /repository /git/1 && ln -s 1 /git/current ;; *) sleep 600 ;; esac", "git-sync"]
"""
_SECOND_COMMIT: Final = """
cp -r /git/1 /git/2 && sed -i '/010-7816-1974/s/INACTIVE/ACTIVE/' /git/2/accounts/main.yaml
ln -s 2 /git/next && mv -T /git/next /git/current
"""
_REQUEST: Final = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:{}{}').status)"


class Cluster:
    """Objects of an overlay with a sandbox beside senderid in its pod. Applying them again keeps the volume claim."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        shutil.copytree(ROOT / "deploy/kubernetes", folder / "kubernetes")

    def render(self, overlay: str, numbers: dict[str, str]) -> list[Object]:
        """Build an overlay with the desired state and the settings of the test, as the page shows it."""
        credentials = {name: {"file": f"/run/secrets/senderid/main_{name}"} for name in ("api_key", "api_secret")}
        document = {"version": 1, "account": "main", "credentials": credentials, "numbers": numbers}
        (self._folder / "main.yaml").write_text(yaml.safe_dump(document))
        (self._folder / "worker.yaml").write_text(f"endpoint: {ENDPOINT}\nlog: {{format: json, level: info}}\n")
        return self.build(overlay)

    def build(self, overlay: str) -> list[Object]:
        """Build an overlay with `main.yaml` and `worker.yaml` of the test's folder."""
        maps = [
            {"name": f"senderid-{name}", "namespace": "senderid", "behavior": "replace", "files": [file]}
            for name, file in (("accounts", "main.yaml"), ("settings", "worker.yaml"))
        ]
        mix = {"kind": "Kustomization", "resources": [f"kubernetes/overlays/{overlay}"], "configMapGenerator": maps}
        (self._folder / "kustomization.yaml").write_text(yaml.safe_dump(mix))
        return list(yaml.safe_load_all(self._engine.run("kubectl", "kustomize", str(self._folder)).stdout))

    def apply(self, objects: list[Object]) -> None:
        """Create the objects with the secret, or replace their pods."""
        values = {"main_api_key": API_KEY, "main_api_secret": API_SECRET}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "senderid-credentials"}, "data": values}
        volume_exists = self._engine.podman("volume", "exists", "senderid-state", check=False).returncode == 0
        items = [item for item in objects if not (volume_exists and item["kind"] == "PersistentVolumeClaim")]
        self._engine.podman("secret", "rm", "senderid-credentials", check=False)
        options = ("--replace", f"--network={_NETWORK}")
        self._engine.podman("kube", "play", *options, "-", stdin=yaml.safe_dump_all([secret, *items]))

    def container(self, pod: str, name: str = "senderid") -> Container:
        """Return a container of a pod."""
        return Container(self._engine, f"{pod}-{name}")

    def runs(self) -> list[Object]:
        """Return the runs in the ledger on the volume claim, newest first."""
        options = ("--rm", "--no-healthcheck", "--volume=senderid-state:/var/lib/senderid")
        result = self._engine.podman("run", *options, IMAGE, "history", "--format=json")
        runs: list[Object] = json.loads(result.stdout)["runs"]
        return runs


def _workload(objects: list[Object]) -> Object:
    (workload,) = [item for item in objects if item["kind"] in {"Deployment", "CronJob"}]
    return workload


def _as_podman_reads_it(pod: Object) -> None:
    pod["containers"].append(dict(_SANDBOX))
    pod["restartPolicy"] = "Never"  # podman 4.3 also restarts init containers that have succeeded
    for volume in pod["volumes"]:
        if "secret" in volume:
            volume["secret"]["optional"] = False  # the default, without which podman 4.3 crashes
    # podman 4.3 mounts the text of a Secret undecoded: these values are valid base64 and are used as they are
    for value in (API_KEY, API_SECRET):
        base64.b64decode(value, validate=True)


@pytest.fixture
def cluster(engine: Engine, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of one node."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    engine.podman("network", "create", "--internal", _NETWORK)
    yield Cluster(engine, tmp_path)
    engine.remove_containers()
    engine.podman("network", "rm", "--force", _NETWORK)


def _assert_confined(engine: Engine, container: Container) -> None:
    container_info = engine.inspect("container", container.name)
    assert container_info["HostConfig"]["ReadonlyRootfs"] is True
    assert container_info["HostConfig"]["Memory"] == 512 << 20
    assert (container_info["EffectiveCaps"] or [], container_info["BoundingCaps"] or []) == ([], [])
    assert "no-new-privileges" in container_info["HostConfig"]["SecurityOpt"]
    assert container_info["Config"]["User"] == "65532:0"
    assert API_SECRET not in json.dumps(container_info)


def test_daemon_applies_a_changed_config_map_and_new_settings(engine: Engine, cluster: Cluster) -> None:
    objects = cluster.render("watch", _NUMBERS)
    pod = _workload(objects)["spec"]["template"]["spec"]
    _as_podman_reads_it(pod)
    (container,) = [item for item in pod["containers"] if item["name"] == "senderid"]
    cluster.apply(objects)
    daemon = cluster.container("senderid-watch-pod-0")
    daemon.wait_for("watch.pass", outcome="converged")
    _assert_confined(engine, daemon)
    (port,) = container["ports"]
    for probe in ("livenessProbe", "readinessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert daemon.exec("python", "-c", _REQUEST.format(port["containerPort"], path)).stdout == "200\n"

    # a kubelet replaces the files of a ConfigMap in a running pod; the next pass uses them, and SIGHUP starts one now
    changed = cluster.render("watch", _NUMBERS | {"010-7816-1974": "ACTIVE"})
    (accounts,) = [item for item in changed if item["metadata"]["name"] == "senderid-accounts"]
    (engine.volume("senderid-accounts") / "main.yaml").write_text(accounts["data"]["main.yaml"])
    daemon.kill("HUP")
    assert daemon.wait_for("number", phone="01078161974", desired="ACTIVE")["outcome"] == "changed"

    # new settings make a new pod, which keeps the ledger
    objects = cluster.render("watch", _NUMBERS)
    _as_podman_reads_it(_workload(objects)["spec"]["template"]["spec"])
    cluster.apply(objects)
    cluster.container("senderid-watch-pod-0").wait_for("watch.pass", outcome="converged")
    assert [run["outcome"] for run in cluster.runs()] == ["converged"] * 3


def test_pod_of_the_cron_job_applies_and_ends(engine: Engine, cluster: Cluster) -> None:
    objects = cluster.render("cronjob", _NUMBERS)
    job = _workload(objects)
    template = job["spec"]["jobTemplate"]["spec"]["template"]
    _as_podman_reads_it(template["spec"])
    # a container that waits for its neighbour: pods of a cluster have no sandbox
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "senderid-apply", **template["metadata"]}}
    cluster.apply([*(item for item in objects if item is not job), pod | {"spec": template["spec"]}])
    container = cluster.container("senderid-apply")
    assert container.wait() == 0, container.log
    assert container.events("run.finished")[0]["outcome"] == "converged"
    _assert_confined(engine, container)
    (run,) = cluster.runs()
    assert (run["command"], run["outcome"], run["counts"]["changed"]) == ("apply", "converged", 2)


def test_daemon_reads_a_commit_that_git_sync_links(engine: Engine, cluster: Cluster, tmp_path: Path) -> None:
    objects = cluster.render("everything", _NUMBERS)
    context = tmp_path / "git-sync"
    context.mkdir()
    shutil.copyfile(tmp_path / "main.yaml", context / "main.yaml")
    (context / "Containerfile").write_text(_STAND_IN)
    engine.build(context, _GIT_SYNC, file=context / "Containerfile", mounts={})
    pod = _workload(objects)["spec"]["template"]["spec"]
    _as_podman_reads_it(pod)
    cluster.apply(objects)
    daemon = cluster.container("senderid-watch-pod-0")
    daemon.wait_for("watch.pass", outcome="converged")
    first = {number["phone"]: number["desired"] for number in daemon.events("number")}
    assert first == {"01076468271": "ACTIVE", "01078161974": "INACTIVE"}
    cluster.container("senderid-watch-pod-0", "git-sync").exec("sh", "-ec", _SECOND_COMMIT, check=True)
    daemon.kill("HUP")
    daemon.wait_for("number", phone="01078161974", desired="ACTIVE", outcome="changed")
