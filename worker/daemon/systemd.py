"""Client of a service manager such as systemd, which reports readiness, reloads, status and liveness.

It implements the protocol of `sd_notify(3)`: it sends lines of NAME=value in a datagram to the socket that the variable
`NOTIFY_SOCKET` names.
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
    """Client of the service manager that the variables in `environment` name.

    If there is none, or if it does not listen, all methods do nothing.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # a leading @ stands for the NUL of an abstract socket
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = self._watchdog_seconds(environment)

    @property
    def watchdog(self) -> float | None:
        """The seconds between calls of `notify_alive`: half of the manager's timeout.

        None if the manager has no watchdog.
        """
        return self._watchdog

    def notify_ready(self) -> None:
        """Report that the daemon has started, or has finished a reload."""
        self._send(READY=1)

    def notify_reloading(self) -> None:
        """Report that settings and files are being read again."""
        self._send(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)

    def notify_stopping(self) -> None:
        """Report that the daemon is stopping."""
        self._send(STOPPING=1)

    def notify_status(self, text: str) -> None:
        """Set the text that `systemctl status` shows."""
        self._send(STATUS=safe(text, _STATUS_COLUMNS))

    def notify_alive(self) -> None:
        """Report that the watch loop is running."""
        self._send(WATCHDOG=1)

    def _watchdog_seconds(self, environment: Mapping[str, str]) -> float | None:
        microseconds = environment.get("WATCHDOG_USEC", "")
        pid = environment.get("WATCHDOG_PID", "")
        if not (self._address and microseconds.isascii() and microseconds.isdigit() and int(microseconds)):
            return None
        if pid and pid != str(os.getpid()):
            return None  # the watchdog watches another process
        return int(microseconds) / _MICROSECONDS / 2

    def _send(self, **fields: object) -> None:
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in fields.items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
            # if the manager does not read, the daemon must not block
            notice.setblocking(False)  # noqa: FBT003 - socket's own
            notice.connect(self._address)
            notice.send(message.encode())
