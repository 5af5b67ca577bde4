"""What a service manager hears, over a real socket of its kind."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.daemon.systemd import Systemd


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens as systemd does, and the name by which the environment has it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@senderid-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        listening.settimeout(5)
        yield listening, name


def test_each_notice_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    """Readiness, reloads, status, life and the end arrive as sd_notify has them; a status has one harmless line."""
    listening, name = manager
    systemd = Systemd({"NOTIFY_SOCKET": name})
    systemd.notify_ready()
    systemd.notify_reloading()
    systemd.notify_status("converged\nREADY=0\x1b[31m")
    systemd.notify_alive()
    systemd.notify_stopping()
    heard = [listening.recv(4096).decode() for _ in range(5)]
    assert heard[0] == "READY=1"
    first, _, second = heard[1].partition("\n")
    assert (first, second.partition("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")
    assert second.partition("=")[2].isdigit()
    assert heard[2].startswith("STATUS=converged READY=0")
    assert "\n" not in heard[2]
    assert "\x1b" not in heard[2]
    assert heard[3:] == ["WATCHDOG=1", "STOPPING=1"]


def test_a_manager_that_does_not_listen_is_no_trouble(tmp_path: Path) -> None:
    """Without a socket, with one that is gone and with one that is full, nothing fails and nothing waits."""
    Systemd({}).notify_ready()
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notify_ready()
    Systemd({"NOTIFY_SOCKET": "x" * 300}).notify_ready()
    name = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        systemd = Systemd({"NOTIFY_SOCKET": name})
        for _ in range(2000):
            systemd.notify_alive()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "this process"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_of_its_patience(environment: dict[str, str], seconds: float | None) -> None:
    """Only where it was asked of this process."""
    environment = {name: value.replace("this process", str(os.getpid())) for name, value in environment.items()}
    assert Systemd({"NOTIFY_SOCKET": "/x"} | environment).watchdog == seconds
    assert Systemd(environment).watchdog is None
