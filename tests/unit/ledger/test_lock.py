"""One writer per account. The lock names its holder, is released by the kernel, and needs a writable folder."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ledgers import never_wait
from worker.ledger.lock import Holder, lease, prepare
from worker.model.errors import AccountBusy, LedgerError

_ME = Holder(os.getpid(), "run-1", "2026-11-23T00:00:00Z")


async def test_leased_account_is_busy_and_names_the_holder(tmp_path: Path) -> None:
    """A second run on the account is refused with the name of the holder; another account is free."""
    locks = prepare(tmp_path)
    async with lease(locks, "a", _ME, wait=never_wait):
        holder = f"process {_ME.pid}, run run-1, since 2026"
        with pytest.raises(AccountBusy, match=holder):
            async with lease(locks, "a", Holder(1, "run-2", ""), wait=never_wait):
                raise AssertionError("entered")
        async with lease(locks, "b", _ME, wait=never_wait):
            pass


async def test_lease_is_released_on_exit(tmp_path: Path) -> None:
    """Leaving the context releases the lease, even after an error."""
    locks = prepare(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with lease(locks, "a", _ME, wait=never_wait):
            raise ZeroDivisionError
    async with lease(locks, "a", _ME, wait=never_wait):
        pass


async def test_waiting_run_gets_the_account_when_it_is_released(tmp_path: Path) -> None:
    """A run that may wait retries after each pause and gets the account once the other run has released it."""
    locks = prepare(tmp_path)
    released = asyncio.Event()
    paused = asyncio.Event()

    async def first() -> None:
        async with lease(locks, "a", _ME, wait=never_wait):
            await paused.wait()
        released.set()

    async def wait(seconds: float) -> bool:
        assert 0 < seconds < 1
        paused.set()
        await released.wait()
        return True

    first_run = asyncio.create_task(first())
    await asyncio.sleep(0)
    async with lease(locks, "a", Holder(1, "run-2", ""), wait=wait):
        assert released.is_set()
    await first_run


def test_kernel_releases_the_lease_of_a_killed_run(tmp_path: Path) -> None:
    locks = prepare(tmp_path)
    script = (
        "import asyncio, sys; from pathlib import Path; from worker.ledger.lock import Holder, lease\n"
        "async def main():\n"
        "    async with lease(Path(sys.argv[1]), 'a', Holder(7, 'killed', 'then'), wait=asyncio.sleep):\n"
        "        print('held', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )

    async def take_lease() -> None:
        async with lease(locks, "a", _ME, wait=never_wait):
            pass

    with subprocess.Popen([sys.executable, "-c", script, str(locks)], stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(AccountBusy, match="run killed"):
            asyncio.run(take_lease())
        process.kill()
        process.wait()
    asyncio.run(take_lease())


async def test_local_state_is_readable_by_owner_only(tmp_path: Path) -> None:
    """The folders have mode 0700 and the lock files 0600."""
    locks = prepare(tmp_path / "state")
    async with lease(locks, "a", _ME, wait=never_wait):
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state", locks, *locks.iterdir())]
    assert modes == [0o700, 0o700, 0o600]


async def test_shorter_holder_name_replaces_a_longer_one(tmp_path: Path) -> None:
    """The lock file keeps nothing of earlier holders."""
    locks = prepare(tmp_path)
    async with lease(locks, "a", Holder(12345678, "a-run-with-a-long-id", "2026-11-23T00:00:00Z"), wait=never_wait):
        pass
    async with lease(locks, "a", Holder(1, "b", "2026"), wait=never_wait):
        with pytest.raises(AccountBusy, match="process 1, run b, since 2026"):
            async with lease(locks, "a", _ME, wait=never_wait):
                raise AssertionError("entered")


async def test_unreadable_holder_is_reported_as_unknown_process(tmp_path: Path) -> None:
    """A locked account is busy, even if the content of its lock file is invalid."""
    locks = prepare(tmp_path)
    async with lease(locks, "a", _ME, wait=never_wait):
        next(iter(locks.iterdir())).write_bytes(b"\xff")
        with pytest.raises(AccountBusy, match="unknown process"):
            async with lease(locks, "a", _ME, wait=never_wait):
                raise AssertionError("entered")


def test_missing_lock_folder_names_the_setting(tmp_path: Path) -> None:
    """If the folder cannot be created, the error names the setting for another path."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(LedgerError, match=r"ledger\.path"):
        prepare(blocked / "state")


async def test_unusable_lock_file_is_an_error(tmp_path: Path) -> None:
    """A folder in place of the lock file is an error of local state, not a busy account."""
    locks = prepare(tmp_path)
    async with lease(locks, "a", _ME, wait=never_wait):
        (path,) = locks.iterdir()
    path.unlink()
    path.mkdir()
    with pytest.raises(LedgerError, match=r"ledger\.path"):
        async with lease(locks, "a", _ME, wait=never_wait):
            raise AssertionError("entered")


def test_read_only_lock_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised before any request is sent."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(LedgerError, match="cannot be written"):
        prepare(tmp_path)
