"""The command as its users run it: a process of its own, against the sandbox over real sockets."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from worker.sandbox import Sandbox, SandboxAccount

SENDERID = str(Path(sys.executable).with_name("senderid"))


class Served:
    """A sandbox on a loop and a thread of its own."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.sandbox.start(), self._loop).result(10)

    def stop(self) -> None:
        """Close everything."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        await self.sandbox.stop()
        stalled = asyncio.all_tasks() - {asyncio.current_task()}
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)

    @property
    def writes(self) -> list[tuple[str | None, str | None]]:
        """Phone and status of every PUT that arrived."""
        return [(request.phone, request.asked) for request in self.sandbox.wire if request.method == "PUT"]


class Command:
    """Runs `senderid` in a folder of its own, with an environment that holds nothing of the machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "LANG": "C.UTF-8",
            **{name: value for name, value in os.environ.items() if name.startswith("COV")},
        }

    def at(self, sandbox: Sandbox, account: SandboxAccount) -> "Command":
        """Talk to this sandbox with this account's key pair."""
        self.environment |= {
            "SENDERID_ENDPOINT": sandbox.url,
            "SOLAPI_API_KEY": account.api_key,
            "SOLAPI_API_SECRET": account.api_secret,
        }
        return self

    def write(self, name: str, text: str | bytes) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def unmeasured(self) -> None:
        """Start without coverage, whose own start and end are no part of the command."""
        self.environment = {name: value for name, value in self.environment.items() if not name.startswith("COV")}

    def popen(self, *arguments: str, program: Sequence[str] = (SENDERID,), **more: Any) -> subprocess.Popen[str]:
        """Start the command and leave it running."""
        return subprocess.Popen(  # noqa: S603 - our own command
            [*program, *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            **({"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more),
        )

    def __call__(self, *arguments: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        done = subprocess.run(  # noqa: S603 - our own command
            [SENDERID, *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command in an empty folder."""
    return Command(tmp_path)


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Starts sandboxes and stops them afterwards."""
    running: list[Served] = []

    def start(*accounts: SandboxAccount, **options: Any) -> Served:
        served = Served(Sandbox(accounts, **options))
        served.start()
        running.append(served)
        return served

    yield start
    for served in running:
        served.stop()
