"""Run the image of the Dockerfile without a container engine: in namespaces, with a read-only root and any user."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement

from tests.deploy.commands import DEPLOY, ROOT

__all__ = ["PREFIX", "Image", "Pod", "pins", "read_dockerfile"]

PREFIX: Final = "/opt/senderid"
_TOOLS: Final = ("unshare", "nsenter", "setpriv", "mount", "chroot", "ip")
_READY: Final = "ready\n"

_SETUP: Final = """
set -e
ip link set lo up
mount -t tmpfs -o mode=755 senderid "$ROOM"
mkdir -p "$ROOM/usr" "$ROOM$BASE" "$ROOM/opt/senderid" "$ROOM/var/lib/senderid" "$ROOM/etc/senderid/accounts" \\
    "$ROOM/run/secrets/senderid" "$ROOM/proc" "$ROOM/dev"
for name in bin lib lib64; do ln -s "usr/$name" "$ROOM/$name"; done
touch "$ROOM/dev/null" "$ROOM/dev/urandom"
mount --bind /dev/null "$ROOM/dev/null"
mount --bind /dev/urandom "$ROOM/dev/urandom"
mount --bind -o ro /usr "$ROOM/usr"
mount --bind -o ro "$BASE" "$ROOM$BASE"
mount --bind -o ro "$INSTALLED" "$ROOM/opt/senderid"
mount --bind -o ro "$ACCOUNTS" "$ROOM/etc/senderid/accounts"
mount --bind -o ro "$SECRETS" "$ROOM/run/secrets/senderid"
mount --bind "$STATE" "$ROOM/var/lib/senderid"
mount -t proc proc "$ROOM/proc"
mount -o remount,ro "$ROOM"
echo ready
exec cat
"""
"""Read-only root except for the state folder, and loopback as the only network. It lasts as long as stdin."""

_INSTALL: Final = """
set -e
mount -t tmpfs opt /opt
mkdir /opt/senderid
mount --bind "$INSTALLED" /opt/senderid
"$BASE/bin/python3" -m venv --without-pip /opt/senderid
"$PYTHON" -m pip --python /opt/senderid/bin/python install --quiet --disable-pip-version-check --no-cache-dir \\
    --no-index --no-deps "$WHEEL"
"""


class Image(NamedTuple):
    """The last stage of a Dockerfile."""

    environment: Mapping[str, str]
    entrypoint: Sequence[str]
    command: Sequence[str]
    healthcheck: Sequence[str]
    labels: Mapping[str, str]
    folder: str
    user: tuple[int, int]
    volumes: Sequence[str]
    signal: str


def read_dockerfile() -> Image:
    """Return the image that the Dockerfile describes."""
    text = (DEPLOY / "docker/Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    last = max(index for index, (word, _) in enumerate(lines) if word == "FROM")
    actual = dict(lines[last:])
    arguments = dict(
        part.split("=", 1)
        for word, remaining in lines[last:]
        if word == "ARG"
        for part in [remaining]
        if "=" in remaining
    )
    user, _, group = actual["USER"].partition(":")
    check = actual["HEALTHCHECK"].partition("CMD ")[2]
    return Image(
        environment=_pairs(actual["ENV"]),
        entrypoint=json.loads(actual["ENTRYPOINT"]),
        command=json.loads(actual["CMD"]),
        healthcheck=json.loads(check),
        labels={
            name: re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], text)
            for name, text in _pairs(actual["LABEL"]).items()
        },
        folder=actual["WORKDIR"],
        user=(int(user), int(group)),
        volumes=json.loads(actual["VOLUME"]),
        signal=actual["STOPSIGNAL"],
    )


def pins(lock: Path) -> dict[str, Requirement]:
    """Return the versions that a lock file pins, by name."""
    lines = re.findall(r"^([a-z0-9][^\\\n]*)", lock.read_text(), re.MULTILINE)
    return {actual.name: actual for actual in map(Requirement, lines)}


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(text))


def missing() -> str | None:
    """Return why no image can run here, or None if one can."""
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent or os.geteuid() != 0:
        return f"namespaces need root and util-linux: {', '.join(absent) or 'not root'}"
    tried = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False)  # noqa: S607
    return None if tried.returncode == 0 else f"namespaces cannot be made here: {tried.stderr.decode().strip()}"


def install(installed: Path, wheel: Path) -> None:
    """Fill a folder with the content of `PREFIX` in the image: the wheel and the packages of its lock file only."""
    environment = {"PYTHON": sys.executable, "BASE": sys.base_prefix, "INSTALLED": str(installed), "WHEEL": str(wheel)}
    _run(["unshare", "--mount", "--propagation", "private", "sh", "-c", _INSTALL], environment)
    site = next(installed.glob("lib/python*/site-packages"))
    for name, pin in pins(DEPLOY / "docker/runtime.lock").items():
        if pin.marker is not None and not pin.marker.evaluate():
            continue
        package = distribution(name)
        assert pin.specifier.contains(package.version), f"{name} {package.version} is not {pin}"
        for file in package.files or ():
            if ".." not in file.parts:
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(str(file.locate())), target)


def build(folder: Path) -> Path:
    """Build the wheel of the project."""
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], {})
    return next(folder.glob("*.whl"))


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    arguments = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment}
    result = subprocess.run(command, cwd=ROOT, env=arguments, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    assert result.returncode == 0, result.stderr


class Pod:
    """Containers of the image that share a network, a state folder and an unprivileged user on a read-only root."""

    def __init__(self, image: Image, folder: Path, installed: Path, accounts: Path, user: tuple[int, int]) -> None:
        self.image = image
        self.state = folder / "state"
        self.state.mkdir()
        os.chown(self.state, *image.user)
        self.state.chmod(0o770)
        secrets = folder / "secrets"
        secrets.mkdir()
        for name in ("main_api_key", "main_api_secret"):
            (secrets / name).write_text("NCSSANDBOX000000")
        self._room = folder / "room"
        self._room.mkdir()
        self._user = user
        self._running: list[subprocess.Popen[str]] = []
        self._keeper = subprocess.Popen(  # noqa: S603 - our own script
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", _SETUP],  # noqa: S607
            env={
                "PATH": os.environ["PATH"],
                "ROOM": str(self._room),
                "BASE": sys.base_prefix,
                "INSTALLED": str(installed),
                "ACCOUNTS": str(accounts),
                "SECRETS": str(secrets),
                "STATE": str(self.state),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        assert line == _READY, line + self._keeper.stdout.read()

    def start(self, *arguments: str, program: Sequence[str] | None = None, **environment: str) -> subprocess.Popen[str]:
        """Start a container in the background, with the entry point of the image or another program."""
        uid, gid = self._user
        variables = {**self.image.environment, **environment}
        command = [
            *("nsenter", f"--target={self._keeper.pid}", "--mount", "--net"),
            *("chroot", str(self._room), "/usr/bin/setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
            *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"),
            *("/usr/bin/env", "--ignore-environment", f"--chdir={self.image.folder}"),
            *(f"{name}={value}" for name, value in variables.items()),
            *(self.image.entrypoint if program is None else program),
            *arguments,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
        self._running.append(process)
        return process

    def run(self, *arguments: str, program: Sequence[str] | None = None, **environment: str) -> tuple[int, str, str]:
        """Run a container until it ends. Return its status, stdout and stderr."""
        process = self.start(*arguments, program=program, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def end(self) -> None:
        """Stop the running containers and remove their files."""
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self._keeper.communicate("")
