"""`senderid` with leases of seconds, for tests that wait until they end. The fork server can run this module.

`CHAOS_STOP_AT=N` stops the process with SIGSTOP between the check of the lease and the N-th write.
`CHAOS_NO_TIMER=1` plants a bug: the kernel does not end the process.
"""

import os
import signal
from itertools import count
from typing import Any

from worker.__main__ import main
from worker.ledger.postgres import alarm, leases
from worker.solapi.client import AccountWriter

LEASE_SECONDS = 3.0


def _stop_at(write: int) -> None:
    put, numbers = AccountWriter.put, count(1)

    def stopping(self: AccountWriter, *arguments: Any) -> Any:
        if next(numbers) == write:
            os.kill(os.getpid(), signal.SIGSTOP)
        return put(self, *arguments)

    AccountWriter.put = stopping  # type: ignore[assignment, method-assign]


def run() -> None:
    """Shorten the leases, plant what the environment asks for, and run the command."""
    leases.LEASE_SECONDS, leases.BEAT_SECONDS, leases._BEAT_TIMEOUT = LEASE_SECONDS, 0.5, 1.0  # type: ignore[misc]
    if "CHAOS_STOP_AT" in os.environ:
        _stop_at(int(os.environ["CHAOS_STOP_AT"]))
    if "CHAOS_NO_TIMER" in os.environ:
        alarm._set_timer = lambda: None
    main()


if __name__ == "__main__":
    run()
