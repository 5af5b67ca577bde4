"""What a service manager is told: readiness, reloads, one line of status, and that the daemon lives.

The protocol of `sd_notify(3)`: lines of NAME=value in a datagram to the socket that `NOTIFY_SOCKET` names.
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from worker.render.terminal import safe

__all__ = ["Systemd"]

_MICROSECONDS: Final = 1e6
_STATUS_COLUMNS: Final = 200


class Systemd:
    """The service manager of an `environment`. Without one, and when it does not listen, nothing happens."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # a name that begins with @ is an abstract one, which has a NUL there
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = self._asked(environment)

    @property
    def watchdog(self) -> float | None:
        """Every how many seconds it wants to hear `alive`, half of its patience; None where it does not."""
        return self._watchdog

    def ready(self) -> None:
        """The daemon has begun, or has reloaded."""
        self._tell(READY=1)

    def reloading(self) -> None:
        """Settings and files are being read again."""
        self._tell(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)

    def stopping(self) -> None:
        """The daemon ends."""
        self._tell(STOPPING=1)

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._tell(STATUS=safe(text, _STATUS_COLUMNS))

    def alive(self) -> None:
        """The daemon's loop still turns."""
        self._tell(WATCHDOG=1)

    def _asked(self, environment: Mapping[str, str]) -> float | None:
        microseconds = environment.get("WATCHDOG_USEC", "")
        pid = environment.get("WATCHDOG_PID", "")
        if not (self._address and microseconds.isascii() and microseconds.isdigit() and int(microseconds)):
            return None
        if pid and pid != str(os.getpid()):
            return None  # it was meant for a process that started us
        return int(microseconds) / _MICROSECONDS / 2

    def _tell(self, **fields: object) -> None:
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in fields.items())
        with suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
            # a manager that does not read must not keep the daemon waiting
            notice.setblocking(False)  # noqa: FBT003 - socket's own
            notice.connect(self._address)
            notice.send(message.encode())
