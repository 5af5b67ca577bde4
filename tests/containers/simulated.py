"""A simulated account in a container of the image, and containers that manage it."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from tests.containers.engine import CONFINED, Container, Engine, until
from worker.config import desired

__all__ = ["API_KEY", "API_SECRET", "ENDPOINT", "OPTIONS", "SLOW", "Simulated", "flipped", "write"]

ENDPOINT: Final = "http://127.0.0.1:8080"
API_KEY: Final = "NCSSANDBOX000000"
API_SECRET: Final = "onlyForTheSimulatedApi00"
OPTIONS: Final = ("--port", "8080", "--api-key", API_KEY, "--api-secret", API_SECRET)
"""Options of `senderid sandbox`."""
SLOW: Final = {"SENDERID_RATE_LIMIT__WRITES": "10", "SENDERID_SAFETY__MAX_DEACTIVATIONS": "100%"}
"""Settings of a daemon that writes ten numbers in five seconds."""
_ENVIRONMENT: Final = {"SENDERID_ENDPOINT": ENDPOINT, "SOLAPI_API_KEY": API_KEY, "SOLAPI_API_SECRET": API_SECRET}


class Simulated:
    """Runs commands of an image against `senderid sandbox`, which runs in a container. The ledger is on a volume."""

    def __init__(self, engine: Engine, image: str) -> None:
        self.engine = engine
        self.image = image
        self.user = "65532:0"
        self.box: Container | None = None

    def start(self, numbers: int = 6) -> None:
        """Start the simulated account."""
        options = (*CONFINED, "--no-healthcheck")
        self.box = self.engine.start(self.image, "sandbox", "--numbers", str(numbers), *OPTIONS, options=options)
        until(lambda: "api_key" in self.box_log(), "the sandbox listens")

    def box_log(self) -> str:
        """The output of the sandbox."""
        assert self.box is not None
        return self.box.log

    def options(self, *more: str, **environment: str) -> list[str]:
        """Return the options of a container that manages the account."""
        variables = [f"--env={name}={value}" for name, value in (_ENVIRONMENT | environment).items()]
        return [*CONFINED, f"--user={self.user}", "--volume=state:/var/lib/senderid", *variables, *more]

    def __call__(
        self, *arguments: str, options: Sequence[str] = (), image: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in a container of its own."""
        container_options = self.options("--rm", "--no-healthcheck", *options, **environment)
        return self.engine.podman("run", *container_options, image or self.image, *arguments, check=False)

    def watch(
        self,
        accounts: Path,
        environment: Mapping[str, str] | None = None,
        *,
        port: int = 9464,
        image: str | None = None,
    ) -> Container:
        """Start the daemon on a folder of files, with a pass every two seconds."""
        container_options = self.options(f"--volume={accounts}:/etc/senderid/accounts:ro", **(environment or {}))
        command = ("watch", "-f", "/etc/senderid/accounts", "--every", "2s", "--listen", f"127.0.0.1:{port}")
        return self.engine.start(image or self.image, *command, options=container_options)

    def statuses(self) -> dict[str, str]:
        """Return the status of each number, as the simulated account has it."""
        result = self("export", "--log-level=error")
        assert result.returncode == 0, result.stderr
        (account,) = desired.load([("export.yaml", result.stdout.encode())]).accounts
        return {phone: str(number.status) for phone, number in account.numbers.items()}

    def wait_for_writes(self, before: Mapping[str, str]) -> None:
        """Wait until a status differs from those before."""
        until(lambda: self.statuses() != before, "a write")

    def history(self, *arguments: str) -> list[dict[str, Any]]:
        """Return runs of the ledger, newest first; one run with its numbers if its id is given."""
        result = self("history", "--format=json", *arguments)
        assert result.returncode == 0, result.stderr
        runs: list[dict[str, Any]] = json.loads(result.stdout)["runs"]
        return runs

    def recorded(self) -> dict[str, str]:
        """Return the last status of each number that the runs of the ledger recorded."""
        statuses: dict[str, str] = {}
        for run in reversed(self.history("--limit=0")):
            (whole,) = self.history(run["run_id"])
            numbers = [number for account in whole["accounts"] for number in account["numbers"]]
            statuses |= {number["phone"]: number["after"] for number in numbers if number["after"] is not None}
        return statuses


def flipped(statuses: Mapping[str, str]) -> dict[str, str]:
    """Return the other status of each number."""
    return {phone: "INACTIVE" if status == "ACTIVE" else "ACTIVE" for phone, status in statuses.items()}


def write(folder: Path, numbers: Mapping[str, str], **more: Any) -> None:
    """Write the desired-state file of the account, for every user to read. The file is replaced atomically."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    document = {"version": 1, "account": "main", **more, "numbers": dict(numbers)}
    part = folder / ".main.part"
    part.write_text(yaml.safe_dump(document))
    part.chmod(0o644)
    part.rename(folder / "main.yaml")
