"""Run the command as users do: in a process of its own, against the sandbox over real sockets."""

import asyncio
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support import die_at, environments, forkserver
from tests.support.postgres import new_database
from worker.sandbox import Sandbox, SandboxAccount

SENDERID = str(Path(sys.executable).with_name("senderid"))

# variables that the interpreter and aiohttp read before the command starts
_READ_AT_START = ("LANG", "LC_", "LD_", "PYTHON", "SSL")

# a command may write this much before a reader starts
_PIPE_BYTES = 1 << 20

_MACHINE = environments.prepare()

Serve = Callable[..., "Served"]
Background = Callable[..., "subprocess.Popen[str]"]


class Served:
    """A sandbox on a loop and a thread of its own."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Start the sandbox."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.sandbox.start(), self._loop).result(10)

    def stop(self) -> None:
        """Stop the sandbox and its loop."""
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
        """Return the number and the status of every PUT received."""
        return [(request.phone, request.desired) for request in self.sandbox.wire if request.method == "PUT"]


class Forked(subprocess.Popen[str]):
    """A command in the fork server. Signals go to the command, and its client ends as the command does."""

    def __init__(self, program: Sequence[str], **arguments: Any) -> None:
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as announced:
            try:
                arguments["env"] = {**arguments["env"], forkserver.ANNOUNCE: f"{writer}"}
                super().__init__(program, pass_fds=[writer], **arguments)
            finally:
                os.close(writer)
            self.command_pid = int.from_bytes(announced.read(4), "big")
            """The process id of the command. `pid` is that of its client."""

    def send_signal(self, sig: int) -> None:
        """Send a signal unless the command has ended."""
        with suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.command_pid, sig)


def pid_of(process: subprocess.Popen[str]) -> int:
    """Return the process id of a command."""
    return process.command_pid if isinstance(process, Forked) else process.pid


class Command:
    """Run `senderid` in a folder of its own, without any variables of the machine's environment."""

    def __init__(self, folder: Path, quick: Path | None = None) -> None:
        self.folder = folder
        self.quick = quick
        """A folder of `senderid` and `python` that the fork server runs; None where there is none."""
        self.environment = {
            "PATH": os.environ["PATH"],
            "TZ": os.environ["TZ"],
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            **_MACHINE,
            **{name: value for name, value in os.environ.items() if name.startswith("COV")},
        }

    def at(self, sandbox: Sandbox, account: SandboxAccount) -> "Command":
        """Use this sandbox and the key pair of this account."""
        self.environment |= {
            "SENDERID_ENDPOINT": sandbox.url,
            "SOLAPI_API_KEY": account.api_key,
            "SOLAPI_API_SECRET": account.api_secret,
        }
        return self

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    @property
    def _is_forked(self) -> bool:
        """Return True if the fork server can run the command: no variable changes how the interpreter starts."""
        requested = {name: value for name, value in self.environment.items() if name.startswith(_READ_AT_START)}
        usual = {name: value for name, value in _MACHINE.items() if name.startswith(_READ_AT_START)}
        return self.quick is not None and requested == usual

    def popen(
        self, *arguments: str, program: Sequence[str] = (), dies_at: tuple[str, int] | None = None, **more: Any
    ) -> subprocess.Popen[str]:
        """Start the command, or another program, in the background.

        `dies_at` is a point of `die_at`, and which time the command reaches it: the command kills itself there.
        """
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "text": True} | streams | more
        quick, usual = [f"{self.quick}/senderid"], [SENDERID]
        if dies_at is not None:
            point = (dies_at[0], f"{dies_at[1]}")
            quick, usual = [f"{self.quick}/die_at", *point], [sys.executable, die_at.__file__, *point]
        if self._is_forked and not program and streams.keys() >= more.keys():
            return Forked([*quick, *arguments], **options)
        return subprocess.Popen([*(program or usual), *arguments], **options)  # noqa: S603 - our own command

    def __call__(self, *arguments: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the command and wait for its end."""
        if self._is_forked:
            result = self._forked(arguments, stdin, timeout)
        else:
            result = subprocess.run(  # noqa: S603 - our own command
                [SENDERID, *arguments],
                cwd=self.folder,
                env=self.environment,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def _forked(self, arguments: Sequence[str], stdin: str, timeout: float) -> subprocess.CompletedProcess[str]:
        with ExitStack() as opened:
            pipes = []
            for _ in range(3):
                reader, writer = os.pipe()
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
                pipes.append((opened.enter_context(os.fdopen(reader)), opened.enter_context(os.fdopen(writer, "w"))))
            (options, feed), (out, out_end), (err, err_end) = pipes
            feed.write(stdin)
            feed.close()
            status = forkserver.request(
                f"{self.quick}/socket",
                ["worker", *arguments],
                folder=str(self.folder),
                environment=self.environment,
                streams=[options.fileno(), out_end.fileno(), err_end.fileno()],
                timeout=timeout,
            )
            out_end.close()
            err_end.close()
            return subprocess.CompletedProcess(
                arguments, os.waitstatus_to_exitcode(status), stdout=out.read(), stderr=err.read()
            )


@pytest.fixture(scope="session")
def quick() -> Iterator[Path]:
    """Start a fork server that runs `senderid`, and return a `python` program that runs the CI script in it."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "socket")
        client = f"exec {sys.executable} -IS {forkserver.__file__} {path}"
        for name, lines in {
            "senderid": [f'{client} worker "$@"'],
            "die_at": [f'{client} die_at "$@"'],
            "python": [
                f'[ "$1 $2 $3" = "-I -m worker.cli.ci" ] && shift 3 && {client} worker.cli.ci "$@"',
                f'exec {sys.executable} "$@"',
            ],
        }.items():
            script = Path(folder, name)
            script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
            script.chmod(0o755)
        server = subprocess.Popen(  # noqa: S603 - our own
            [sys.executable, forkserver.__file__, path],
            env={"PATH": os.environ["PATH"], **_MACHINE},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            while not path.exists():
                assert server.poll() is None
            yield Path(folder)
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def command(tmp_path: Path, quick: Path) -> Command:
    """Return the command in an empty folder."""
    return Command(tmp_path, quick)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start sandboxes, and stop them after the test."""
    running: list[Served] = []

    def start(*accounts: SandboxAccount, **options: Any) -> Served:
        served = Served(Sandbox(accounts, **options))
        served.start()
        running.append(served)
        return served

    yield start
    for served in running:
        served.stop()


@pytest.fixture
def account(request: pytest.FixtureRequest) -> SandboxAccount:
    """Return an account with the NUMBERS of the module."""
    return SandboxAccount.of(request.module.NUMBERS)


@pytest.fixture
def served(request: pytest.FixtureRequest, serve: Serve, account: SandboxAccount, command: Command) -> Served:
    """Serve that account for `command`, with the FILES, ENVIRONMENT and SANDBOX of the module."""
    served = serve(account, **getattr(request.module, "SANDBOX", {}))
    command.at(served.sandbox, account).environment |= getattr(request.module, "ENVIRONMENT", {})
    for name, text in getattr(request.module, "FILES", {}).items():
        command.write(name, text)
    return served


@pytest.fixture
def url() -> str:
    """Return the URL of a database without a ledger."""
    return new_database(empty=True)


@pytest.fixture
def background() -> Iterator[Background]:
    """Start commands in the background, and kill those still running after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(command: Command, *arguments: str) -> "subprocess.Popen[str]":
        running.append(command.popen(*arguments))
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
