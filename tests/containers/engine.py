"""Podman and buildah with their own storage and network. The configuration of the machine is not used or changed."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["CONFINED", "Container", "Engine", "missing", "run_tool", "until"]

_TOOLS: Final = ("podman", "buildah", "runc", "catatonit", "debootstrap")
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/libexec/podman"
CONFINED: Final = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
"""Options of a container that can write only to its volumes and to /tmp."""

# Runs without systemd on the host, and below the host's limits on files and processes. Containers share the engine's
# network, which is a namespace with a loopback device.
_CONTAINERS: Final = """
[containers]
cgroups = "no-conmon"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
tmp_dir = "{folder}/tmp"
[network]
network_config_dir = "{folder}/networks"
"""
_STORAGE: Final = """
[storage]
driver = "{driver}"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


def missing() -> str | None:
    """Return why no container can run here, or None if it can."""
    path = f"{os.environ['PATH']}:{_SBIN}"
    absent = [tool for tool in _TOOLS if shutil.which(tool, path=path) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (`make containers` installs them on Debian and Ubuntu)"
    if os.geteuid() != 0:
        return "containers need root here"
    mount = ["unshare", "--mount", "--net", "mount", "-t", "tmpfs", "senderid", "/mnt"]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)  # noqa: S603 - a mount of our own
    return tried.stderr.strip() or None


def until(check: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until `check` returns True. Fail after some seconds."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} seconds"
        time.sleep(0.05)


def run_tool(
    *command: str, environment: Mapping[str, str], check: bool = True, timeout: float, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, or end it and the processes that it started after `timeout` seconds."""
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(command, env=environment, text=True, start_new_session=True, **streams)  # noqa: S603 - our own tools
    try:
        out, err = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"{command}: not within {timeout:.0f} seconds\n{out[-2000:]}\n{err[-2000:]}") from None
    assert not check or process.returncode == 0, f"{command}: {process.returncode}\n{out[-4000:]}\n{err[-4000:]}"
    return subprocess.CompletedProcess(command, process.returncode, out, err)


class Engine:
    """Runs podman and buildah in a folder, which should have a short path: sockets are in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # in memory: an image is ten thousand files, which a disk takes a minute to remove
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "senderid", str(folder)], check=True)  # noqa: S603, S607
        driver = "overlay" if _overlays(folder) else "vfs"
        settings, storage = folder / "containers.conf", folder / "storage.conf"
        settings.write_text(_CONTAINERS.format(folder=folder))
        storage.write_text(_STORAGE.format(folder=folder, driver=driver))
        self.environment = {
            "PATH": f"{os.environ['PATH']}:{_SBIN}",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "CONTAINERS_CONF": str(settings),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "BUILDAH_ISOLATION": "chroot",
        }
        self._network = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo && exec cat"],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._network.stdout is not None
        self._network.stdout.readline()

    def run(
        self, *command: str, check: bool = True, timeout: float = 180, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. With `check`, fail if its exit status is not 0."""
        return run_tool(*command, environment=self.environment | environment, check=check, timeout=timeout, stdin=stdin)

    def podman(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run podman to its end."""
        return self.inside("podman", *arguments, **options)

    def inside(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program of the machine in the network of the containers."""
        return self.run("nsenter", f"--target={self._network.pid}", "--net", *command, **options)

    def build(
        self,
        context: Path,
        tag: str,
        *,
        file: Path,
        mounts: Mapping[Path, str],
        arguments: Mapping[str, str] | None = None,
    ) -> None:
        """Build an image. `mounts` are there during the build only. All files get the same time."""
        self.run(
            *("buildah", "build", "--format=docker", "--no-cache", "--timestamp=0", f"--file={file}", f"--tag={tag}"),
            *(f"--volume={host}:{inside}:ro" for host, inside in mounts.items()),
            *(f"--build-arg={name}={value}" for name, value in (arguments or {}).items()),
            str(context),
            timeout=300,
        )

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """Return what the engine knows of an image, a container, a volume or a pod."""
        inspected = json.loads(self.podman(kind, "inspect", name).stdout)
        document: dict[str, Any] = inspected[0] if isinstance(inspected, list) else inspected
        return document

    def volume(self, name: str) -> Path:
        """Return the folder of a volume, which is created if there is none."""
        if self.podman("volume", "exists", name, check=False).returncode != 0:
            self.podman("volume", "create", name)
        return Path(self.inspect("volume", name)["Mountpoint"])

    def start(self, image: str, *arguments: str, options: Sequence[str] = ()) -> "Container":
        """Start a container and leave it running."""
        return Container(self, self.podman("run", "--detach", *options, image, *arguments).stdout.strip())

    def remove_containers(self) -> None:
        """Remove all containers, pods and volumes; images stay."""
        self.podman("pod", "rm", "--force", "--all", "--time=0", check=False)
        self.podman("rm", "--force", "--all", "--time=0", check=False)
        self.podman("volume", "rm", "--force", "--all", check=False)
        self.podman("secret", "rm", "--all", check=False)

    def close(self) -> None:
        """Remove everything."""
        self.remove_containers()
        self._network.communicate(timeout=10)
        self.run("umount", "--recursive", "--lazy", str(self.folder))
        self.folder.rmdir()


class Container:
    """A container by its name or id."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def exec(self, *command: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a program in the container."""
        return self._engine.podman("exec", self.name, *command, check=check)

    @property
    def log(self) -> str:
        """The output of the container so far: stdout, then stderr."""
        result = self._engine.podman("logs", self.name)
        return result.stdout + result.stderr

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return its log lines of one event so far."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def wait_for(self, event: str, seconds: float = 60, **fields: Any) -> dict[str, Any]:
        """Wait for a log line with these fields, and return it."""
        lines: list[dict[str, Any]] = []

        def appeared() -> bool:
            lines[:] = [line for line in self.events(event) if fields.items() <= line.items()]
            return bool(lines)

        until(appeared, f"{event} {fields} of {self.name}", seconds)
        return lines[0]

    def kill(self, signal: str) -> None:
        """Send a signal to its first process."""
        self._engine.podman("kill", f"--signal={signal}", self.name)

    def stop(self, seconds: int = 60) -> int:
        """Stop it as an operator does, and return its exit status."""
        self._engine.podman("stop", f"--time={seconds}", self.name, timeout=seconds + 30)
        return self.wait()

    def start(self) -> None:
        """Start it again."""
        self._engine.podman("start", self.name)

    def wait(self, seconds: float = 90) -> int:
        """Wait for its end, and return its exit status."""
        return int(self._engine.podman("wait", self.name, timeout=seconds).stdout)


def _overlays(folder: Path) -> bool:
    """Return True if overlay file systems can be mounted in a folder; without them each container copies its image."""
    lower, upper, work, merged = (folder / name for name in ("lower", "upper", "work", "merged"))
    for directory in (lower, upper, work, merged):
        directory.mkdir()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    command = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
    tried = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - a mount of our own
    if tried.returncode == 0:
        subprocess.run(["umount", str(merged)], check=True)  # noqa: S603, S607 - as above
    for directory in (lower, upper, work, merged):
        shutil.rmtree(directory)
    return tried.returncode == 0
