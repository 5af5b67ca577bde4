"""Bugs planted below the reconciler: in the quota, the signature, the retries, the client and the ledger."""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from worker.ledger import writes
from worker.ledger.ledger import LeasedAccountLedger, Ledger
from worker.model.accounts import ObservedAccount, Status
from worker.model.errors import NumberRejected, ServerError, WorkerError
from worker.reconcile.fleet import Fleet
from worker.solapi import retry
from worker.solapi.account_document import AccountDecoder
from worker.solapi.client import AccountReader, AccountWriter
from worker.solapi.limiter import Quota, Window
from worker.solapi.signing import Signer

__all__ = [
    "accept_a_shrunken_response",
    "accept_any_response",
    "drop_an_outcome",
    "drop_the_responses",
    "free_a_slot_at_send",
    "free_a_slot_at_the_response",
    "free_the_slot_of_a_timed_out_request",
    "ignore_a_429",
    "ignore_killed_runs_in_limits",
    "lock_nothing",
    "pause_writes_only",
    "retry_a_refused_write",
    "reuse_a_signature",
    "send_before_the_intent_is_durable",
    "settle_nothing",
    "skip_the_intent",
    "write_in_a_dry_run",
    "write_twice_at_once",
]

Patch = pytest.MonkeyPatch


def skip_the_intent(patch: Patch) -> None:
    """Requests are sent without an intent in the ledger."""

    async def intend(self: LeasedAccountLedger, requests: Any) -> None:
        del self, requests

    patch.setattr(LeasedAccountLedger, "intend", intend)


def send_before_the_intent_is_durable(patch: Patch) -> None:
    """A request does not wait until its intent is on disk."""
    real = LeasedAccountLedger.intend
    tasks: set[asyncio.Task[None]] = set()

    async def intend(self: LeasedAccountLedger, requests: Any) -> None:
        task = asyncio.create_task(real(self, list(requests)))
        tasks.add(task)

    patch.setattr(LeasedAccountLedger, "intend", intend)


def reuse_a_signature(patch: Patch) -> None:
    """One signature is used for two seconds."""
    real = Signer.header
    last: dict[tuple[int, int], str] = {}

    def header(self: Signer, now: float, salt: str) -> str:
        return last.setdefault((id(self), int(now) // 2), real(self, now, salt))

    patch.setattr(Signer, "header", header)


def free_a_slot_at_send(patch: Patch) -> None:
    """The window of a slot starts when its request is sent."""
    acquire, release = Window.acquire, Window.release

    async def sent(self: Window) -> None:
        await acquire(self)
        release(self)

    patch.setattr(Window, "acquire", sent)
    patch.setattr(Window, "release", lambda *_, **__: None)


def free_a_slot_at_the_response(patch: Patch) -> None:
    """A slot can be used again as soon as its request has a response."""
    real = Window.release

    def release(self: Window, *, extra_pause: float = 0.0) -> None:
        del extra_pause
        self.seconds, stored = 0.0, self.seconds
        try:
            real(self)
        finally:
            self.seconds = stored

    patch.setattr(Window, "release", release)


def free_the_slot_of_a_timed_out_request(patch: Patch) -> None:
    """A timed-out request is assumed to have arrived."""
    real = Window.release
    patch.setattr(Window, "release", lambda self, *, extra_pause=0.0: real(self, extra_pause=0.0 * extra_pause))


def ignore_a_429(patch: Patch) -> None:
    """A 429 pauses nothing."""
    patch.setattr(Quota, "pause", lambda *_: None)


def pause_writes_only(patch: Patch) -> None:
    """A 429 does not pause reads."""

    def pause(self: Quota, seconds: float) -> None:
        self.writes.pause(self._clock() + seconds)

    patch.setattr(Quota, "pause", pause)


def retry_a_refused_write(patch: Patch) -> None:
    """The refusal of a number is treated as a transient error."""
    patch.setattr(retry, "_TRANSIENT", (*retry._TRANSIENT, NumberRejected))


def ignore_killed_runs_in_limits(patch: Patch) -> None:
    """The safety rules count this run only."""
    real = writes.recall
    patch.setattr(writes, "recall", lambda *given: msgspec.structs.replace(real(*given), spent=frozenset()))


def write_twice_at_once(patch: Patch) -> None:
    """Each write is sent twice at the same time."""
    real = AccountWriter.put

    async def put(self: AccountWriter, *given: Any) -> None:
        await asyncio.gather(real(self, *given), real(self, *given))

    patch.setattr(AccountWriter, "put", put)


def write_in_a_dry_run(patch: Patch) -> None:
    """A plan sends its first write."""
    real = Fleet.plan

    async def plan_and_write(self: Fleet, accounts: Any, *given: Any, **more: Any) -> Any:
        drafts = await real(self, accounts, *given, **more)
        with self.client(AccountWriter, accounts[0], self._log) as writer:
            for change in drafts[0].plan.writes[:1]:
                await writer.acquire()
                with suppress(WorkerError):
                    await writer.put(change.phone, Status(change.desired))
        return drafts

    patch.setattr(Fleet, "plan", plan_and_write)


def drop_an_outcome(patch: Patch) -> None:
    """The ledger loses the numbers that were changed."""
    real = writes.finish_entry

    def finish(connection: Any, entry: int, result: Any, confirmed: Any, now: str) -> None:
        real(connection, entry, result, confirmed, now)
        connection.execute("DELETE FROM outcomes WHERE entry = ? AND outcome = 'changed'", (entry,))

    patch.setattr(writes, "finish_entry", finish)


def drop_the_responses(patch: Patch) -> None:
    """Responses are not stored in the ledger."""
    patch.setattr(LeasedAccountLedger, "record_response", lambda *_: None)


def lock_nothing(patch: Patch) -> None:
    """Every run may write to the account."""

    def lease(self: Ledger, subject: Any, pause: Any, quota: Any) -> Any:
        del pause, quota
        return _free(self._account_ledger(subject))

    patch.setattr(Ledger, "lease", lease)


class _free:  # noqa: N801 - a context manager like a function
    def __init__(self, page: LeasedAccountLedger) -> None:
        self._account_ledger = page

    async def __aenter__(self) -> LeasedAccountLedger:
        return self._account_ledger

    async def __aexit__(self, *_: object) -> None:
        return None


def settle_nothing(patch: Patch) -> None:
    """Attempts of killed runs stay open."""
    patch.setattr(writes, "settle", lambda *_: None)


def accept_a_shrunken_response(patch: Patch) -> None:
    """A response that lost numbers is not read again."""

    async def reread(self: AccountReader, observed: ObservedAccount, *_: Any, **__: Any) -> ObservedAccount:
        del self
        return observed

    patch.setattr(AccountReader, "_reread", reread)


def accept_any_response(patch: Patch) -> None:
    """A response of another shape is an account without numbers."""
    real = AccountDecoder.finish

    def finish(self: AccountDecoder) -> ObservedAccount:
        try:
            return real(self)
        except ServerError:
            return ObservedAccount(None, {})

    patch.setattr(AccountDecoder, "finish", finish)
    accept_a_shrunken_response(patch)
