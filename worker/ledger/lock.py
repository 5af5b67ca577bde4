"""Leases: file locks that allow one writer per account on a host. The kernel frees a lock when its process ends."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from filelock import FileLock, Timeout
from msgspec import Struct

from worker.model.errors import AccountBusy, LedgerError
from worker.model.messages import Message, system_text

__all__ = ["Holder", "lease", "prepare"]

_PAUSE: Final = 0.1
"""Time in seconds between two attempts to take a lock that another run has."""
_ADVICE: Final = Message("choose another location with ledger.path in the settings or SENDERID_LEDGER__PATH")


class Holder(Struct):
    """The holder of a lease: the process id, the run id, and the start of the run (UTC, ISO 8601, Z)."""

    pid: int
    run_id: str
    started_at: str


def prepare(folder: Path) -> Path:
    """Create the folder of the locks beside the ledger, readable by its owner only. Return its path.

    Raises:
        LedgerError: the folder cannot be created or written. The message says what to do.
    """
    locks = folder / "locks"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        locks.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError as error:
        raise LedgerError(
            Message("{path} is not a folder: {advice}", path=str(error.filename), advice=_ADVICE)
        ) from None
    except OSError as error:
        raise _unusable(locks, error) from None
    if not os.access(locks, os.W_OK | os.X_OK):
        raise LedgerError(Message("{path} cannot be written: {advice}", path=str(locks), advice=_ADVICE))
    return locks


@asynccontextmanager
async def lease(
    locks: Path, account: str, holder: Holder, *, wait: Callable[[float], Awaitable[bool]]
) -> AsyncIterator[None]:
    """Take the lease of an account for the duration of the context, so that no other run on this host writes to it.

    `account` is the key of the account: platform and account id. If another run has the lease, `wait(seconds)` pauses
    and returns True to try again.

    Raises:
        AccountBusy: another run has the lease. The message has its process, id and start.
        LedgerError: the lock file cannot be used.
    """
    path = locks / f"{sha256(account.encode()).hexdigest()[:32]}.lock"
    lock = FileLock(
        path, timeout=0, mode=0o600, thread_local=False, fallback_to_soft=False, on_acquired=_signed_by(holder)
    )
    while True:
        try:
            lock.acquire()
            break
        except Timeout:
            if not await wait(_PAUSE):
                raise AccountBusy(
                    Message(
                        "another run has the lease of this account ({holder}); try again later, or wait with "
                        "--lock-timeout",
                        holder=_holder(path),
                    )
                ) from None
        except OSError as error:
            raise _unusable(path, error) from None
    try:
        yield
    finally:
        lock.release()


def _signed_by(holder: Holder) -> Callable[[int], None]:
    def sign(descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(holder), 0)

    return sign


def _holder(path: Path) -> Message:
    try:
        holder = msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return Message("unknown process")
    return Message("process {pid}, run {run}, since {time}", pid=holder.pid, run=holder.run_id, time=holder.started_at)


def _unusable(path: Path, error: OSError) -> LedgerError:
    reason = system_text(error.strerror)
    return LedgerError(
        Message("{path} cannot be used ({reason}): {advice}", path=str(path), reason=reason, advice=_ADVICE)
    )
