"""Notifications to systemd over a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.daemon.systemd import Systemd


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Return a socket that listens as systemd does, and its NOTIFY_SOCKET value."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@senderid-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        receiver.settimeout(5)
        yield receiver, name


def test_each_notification_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    """Control characters are removed from a status, and what UTF-8 cannot encode is replaced."""
    receiver, name = manager
    systemd = Systemd({"NOTIFY_SOCKET": name})
    systemd.notify_ready()
    systemd.notify_reloading()
    systemd.notify_status("converged\nREADY=0\x1b[31m \ud800")
    systemd.notify_alive()
    systemd.notify_stopping()
    datagrams = [receiver.recv(4096).decode() for _ in range(5)]
    assert datagrams[0] == "READY=1"
    first, _, second = datagrams[1].partition("\n")
    assert (first, second.partition("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")
    assert second.partition("=")[2].isdigit()
    assert datagrams[2].startswith("STATUS=converged READY=0")
    assert "\n" not in datagrams[2]
    assert "\x1b" not in datagrams[2]
    assert datagrams[3:] == ["WATCHDOG=1", "STOPPING=1"]


def test_missing_or_full_socket_is_ignored(tmp_path: Path) -> None:
    Systemd({}).notify_ready()
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notify_ready()
    Systemd({"NOTIFY_SOCKET": "x" * 300}).notify_ready()
    name = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name)
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
def test_watchdog_interval_is_half_of_its_timeout(environment: dict[str, str], seconds: float | None) -> None:
    """The setting applies only to the process that it names."""
    environment = {name: value.replace("this process", str(os.getpid())) for name, value in environment.items()}
    assert Systemd({"NOTIFY_SOCKET": "/x"} | environment).watchdog == seconds
    assert Systemd(environment).watchdog is None
