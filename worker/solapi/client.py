"""The client of one account: reads, writes and queries. Each attempt has its own quota slot and signature."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Final, TypeVar

from msgspec import structs
from yarl import URL

from worker.config.settings import Retry
from worker.config.urls import Endpoint
from worker.model.accounts import PHONE_PATTERN, NumberUse, ObservedAccount, Status
from worker.model.credentials import Credentials
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    ClockSkewed,
    RateLimited,
    WorkerError,
)
from worker.model.messages import Message
from worker.model.ports import Log
from worker.model.results import Requests
from worker.solapi import wire
from worker.solapi.account_document import AccountDecoder
from worker.solapi.baseline import Baseline
from worker.solapi.breaker import Breaker
from worker.solapi.cancellation import Cancellation
from worker.solapi.in_use import Body, read_number_use
from worker.solapi.limiter import Quota, Window
from worker.solapi.retry import Budget, Retrier
from worker.solapi.runtime import Runtime
from worker.solapi.signing import Signer
from worker.solapi.transport import Response, Transport

__all__ = ["AccountReader", "AccountWriter"]

T = TypeVar("T")

_OK: Final = 200
_MAX_PAUSE: Final = 60.0
"""Maximum Retry-After, in seconds, that is obeyed: quota windows last seconds, and the next 429 would repeat it."""

_DRAIN_SECONDS: Final = 25.0
"""Time limit in seconds for writes in flight after `halt`. Service managers wait longer before they send SIGKILL."""

_CLOSING_SECONDS: Final = 50.0
"""Time limit in seconds for a closing read after `halt`: 25 for the writes in flight, and 25 to verify them."""

_REREADS: Final = 4
"""Maximum count of repeats of a read that lacks numbers, as each may lack others. Then the last read is accepted."""

_PHONE: Final = re.compile(PHONE_PATTERN, re.ASCII)


class AccountReader:
    """A read-only client of one account.

    `account_id` is the id that every response must have; None pins the id of the first response that has one. `listed`
    are the numbers that should be registered, and `baseline` describes the last accepted read. A read is repeated
    before it is accepted if it lacks a listed number that the last one had, or more than 30 % of its count of numbers.
    """

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        credentials: Credentials,
        quota: Quota,
        *,
        account_id: str | None = None,
        listed: Iterable[str] = (),
        baseline: Baseline | None = None,
        retry: Retry,
        log: Log,
        runtime: Runtime = Runtime(),  # noqa: B008 - a value
    ) -> None:
        self._transport = transport
        self._base = endpoint.url
        self._numbers_url = URL(f"{self._base}/senderid/v1/numbers", encoded=True)
        self._number_path = f"{self._numbers_url.raw_path}/"
        self._header_names = ("Authorization", "Authentication") if endpoint.uses_both_headers else ("Authorization",)
        self._signer = Signer(credentials)
        self._account_id = account_id
        self._is_pinned = account_id is not None
        self._listed_phones = listed
        self._baseline = baseline or Baseline()
        self.api_key = credentials.api_key
        """The API key, which signs the requests and has the quota."""
        self.quota = quota
        self._log = log
        self._runtime = runtime
        self._cancellation = Cancellation()
        self._drain = Cancellation()
        self._cancellation_at_close = Cancellation()
        self._last: tuple[Mapping[str, str], float] | None = None
        self.probe: ObservedAccount | None = None
        """The account in the read that closed the circuit last; None if the circuit never opened."""
        self._reads = self._writes = self._retries = 0
        self._retry = retry
        self._breaker = Breaker(self._probe, clock=runtime.clock, sleep=runtime.sleep, log=log)
        self._retrier = self._new_retrier(self._cancellable_sleep, free=lambda: self._breaker.is_open)
        self._closing_retrier = self._new_retrier(runtime.sleep)

    @property
    def requests(self) -> Requests:
        """The counts of requests sent so far."""
        return Requests(self._reads, self._writes, self._retries)

    @property
    def clock_offset(self) -> float | None:
        """The time in seconds by which the server's clock is ahead of the local clock; None if unknown.

        It comes from the `Date` header of the last response.
        """
        if self._last is None:
            return None
        headers, received = self._last
        moment = wire.http_date(headers.get("Date", ""))
        return None if moment is None else moment.timestamp() - received

    @property
    def rate_limit_headers(self) -> dict[str, str]:
        """The rate limit headers of the last response, by their lower-case names."""
        headers = {} if self._last is None else self._last[0]
        return {name.lower(): value for name, value in headers.items() if name.lower().startswith("x-ratelimit-")}

    def halt(self, reason: WorkerError) -> None:
        """Stop sending: raise `reason` in every request that waits for a slot, now and later.

        Only a closing `observe` is still allowed. A write in flight has 25 seconds to finish; then it is ambiguous.
        """
        self._cancellation.close(reason)
        for seconds, cancellation in ((_DRAIN_SECONDS, self._drain), (_CLOSING_SECONDS, self._cancellation_at_close)):
            message = Message(
                "no response within {drain_seconds:g} seconds after the run was stopped", drain_seconds=seconds
            )
            timeout_error = Ambiguous(message, timed_out=True)
            asyncio.get_running_loop().call_later(seconds, cancellation.close, timeout_error)

    async def observe(self, *, is_verification: bool = False) -> ObservedAccount:
        """Read the account. A verification read is allowed even after `halt`, and ends at most 50 seconds after it.

        If a response lacks listed numbers, or more than 30 % of the numbers of the previous read, the account is read
        again. Numbers that two consecutive responses lack count as removed.

        Raises:
            ApiError: AccountRejected, or the TransientError of the last attempt.
            WorkerError: CircuitOpen, or the reason passed to `halt`.
        """
        with self._cancellation_at_close if is_verification else nullcontext():
            observed = await self._observe(is_verification=is_verification)
            reason = self._baseline.reread_reason(observed, self._listed_phones)
            return observed if reason is None else await self._reread(observed, reason, is_verification=is_verification)

    async def confirm(self, observed: ObservedAccount, registered: int | None) -> ObservedAccount:
        """Return `observed`, or a repeated read if `observed` lacks more than 30 % of the numbers of the last run.

        `registered` is the count of numbers in the last run; None if unknown.

        Raises:
            ApiError, WorkerError: the errors of `observe`.
        """
        reason = self._baseline.last_run_mismatch(len(observed.numbers), registered)
        return observed if reason is None else await self._reread(observed, reason)

    async def _reread(
        self, observed: ObservedAccount, reason: str | None, *, is_verification: bool = False
    ) -> ObservedAccount:
        """Read again until a response lacks no numbers of the previous one, at most 4 times. Return the last read."""
        for _ in range(_REREADS):
            self._log.info("account.reread", reason=reason)
            observed = await self._observe(is_verification=is_verification)
            reason = self._baseline.reread_reason(observed, self._listed_phones)
            if reason is None:
                return observed
        self._baseline.confirm(observed, self._listed_phones)
        return observed

    async def _observe(self, *, is_verification: bool) -> ObservedAccount:
        retrier = self._closing_retrier if is_verification else self._retrier
        return await retrier.call(lambda _: self._observe_in_slot(is_verification=is_verification))

    async def usage(self, phones: Collection[str], hours: int) -> NumberUse:
        """Return which of `phones` have scheduled messages, or have sent messages within the last `hours`.

        Times are by the server's clock. If the API key lacks the scope, or the queries keep failing, the account does
        not fail: the use of the numbers is unknown.

        Raises:
            WorkerError: CircuitOpen, or the reason passed to `halt`.
        """
        now = datetime.fromtimestamp(self._runtime.wall() + (self.clock_offset or 0.0), UTC)
        return await read_number_use(self._fetch, phones, now, hours)

    async def _fetch(self, query: str, decode: Callable[[bytearray], T]) -> T:
        url = URL(f"{self._base}{query}", encoded=True)

        async def once(_: ApiError | None) -> T:
            return await self._read_in_slot(lambda: self._fetch_once(url, decode))

        return await self._retrier.call(once)

    async def _fetch_once(self, url: URL, decode: Callable[[bytearray], T]) -> T:
        self._reads += 1
        body = Body()
        response = await self._send(self.quota.reads, "GET", url, sink=body.feed)
        if response.status != _OK:
            raise self._refusal(response, response.content(), is_write=False)
        return decode(body.content)

    async def _observe_in_slot(self, *, is_verification: bool) -> ObservedAccount:
        if is_verification:
            await self.quota.reads.acquire()
            return await self._report_to_breaker(self._read_once())
        return await self._read_in_slot(self._read_once)

    async def _read_in_slot(self, read_once: Callable[[], Awaitable[T]]) -> T:
        # a read changes nothing, so a stop does not wait for its response
        with self._cancellation:
            await self._acquire(self.quota.reads)
            return await self._report_to_breaker(read_once())

    async def _probe(self) -> None:
        await self.quota.reads.acquire()
        observed = await self._read_once()
        if self._baseline.reread_reason(observed, self._listed_phones) is None:
            self.probe = observed

    async def _acquire(self, window: Window) -> None:
        """Wait for a slot and take it. While the circuit is open, wait for it to close first.

        A slot that was granted while the circuit opened is given back.
        """
        while True:
            if self._breaker.is_open:
                await self._breaker.wait_closed()
            await window.acquire()
            if not self._breaker.is_open:
                return
            window.release()

    async def _report_to_breaker(self, request: Awaitable[T]) -> T:
        """Return the result of a request. Record in the breaker whether it failed."""
        try:
            result = await request
        except ApiError as error:
            self._breaker.record(error)
            raise
        self._breaker.record(None)
        return result

    async def _read_once(self) -> ObservedAccount:
        """Read the account once. The caller has acquired the slot."""
        window = self.quota.reads
        self._reads += 1
        document = AccountDecoder()
        response = await self._send(window, "GET", self._numbers_url, sink=document.feed)
        if response.status != _OK:
            raise self._refusal(response, response.content(), is_write=False)
        observed = document.finish()
        if self._is_pinned and observed.account_id is None:
            raise AccountRejected(
                Message(
                    "the response has no account id, so account_id {account_id:.64} is not confirmed",
                    account_id=self._account_id or "",
                ),
                api_code="WrongAccount",
            )
        self._same_account(observed.account_id)
        return structs.replace(observed, seen_at=self._runtime.wall())

    def _same_account(self, account_id: str | None) -> None:
        if account_id is None:
            return
        if self._account_id is None:
            self._account_id = account_id
        elif account_id != self._account_id:
            raise AccountRejected(
                Message(
                    "the response is of account {account_id:.64}, not {account_id2:.64}",
                    account_id=account_id,
                    account_id2=self._account_id,
                ),
                api_code="WrongAccount",
            )

    async def _send(
        self,
        window: Window,
        method: str,
        url: URL,
        body: bytes | None = None,
        *,
        sink: Callable[[bytes], None] | None = None,
        until: AbstractContextManager[None] = nullcontext(),  # noqa: B008 - it holds nothing
    ) -> Response:
        extra_pause = self._transport.timeout.total_seconds
        try:
            header = self._signer.header(self._runtime.wall(), self._runtime.salt())
            headers = dict.fromkeys(self._header_names, header)
            with until:
                response = await self._transport.exchange(method, url, headers, body, sink=sink)
            extra_pause = 0.0
        except ApiError as error:
            error.__context__ = None  # aiohttp's own exception shows the request's headers, hidden or not
            if not error.timed_out:
                extra_pause = 0.0
            raise
        finally:
            # a request that timed out or was cancelled may reach the server later than now
            window.release(extra_pause=extra_pause)
        self._last = (response.headers, self._runtime.wall())
        return response

    def _refusal(self, response: Response, body: bytes, *, is_write: bool) -> ApiError:
        error = wire.refusal(response.status, body, is_write=is_write, retry_after=wire.retry_after(response.headers))
        if isinstance(error, RateLimited):
            retry_after = error.retry_after
            seconds = (
                retry_after if retry_after is not None and 0 < retry_after <= _MAX_PAUSE else self.quota.writes.seconds
            )
            self.quota.pause(seconds)
            self._log.info("rate_limit.held", duration_ms=round(seconds * 1000), http_status=error.http_status)
        return error

    def _correct_clock(self, error: ClockSkewed) -> bool:
        """Sign later requests by the server's clock. Return False if the server has not sent its time."""
        offset = self.clock_offset
        if offset is None:
            return False
        self._signer.offset = offset
        self._count_retry(error)
        return True

    def _new_retrier(
        self, sleep: Callable[[float], Awaitable[None]], free: Callable[[], bool] = lambda: False
    ) -> Retrier:
        return Retrier(
            self._retry,
            Budget(),
            uniform=self._runtime.uniform,
            sleep=sleep,
            on_retry=self._announce_retry,
            free=free,
            correct_clock=self._correct_clock,
        )

    async def _cancellable_sleep(self, seconds: float) -> None:
        with self._cancellation:
            await self._runtime.sleep(seconds)

    def _count_retry(self, error: ApiError) -> None:
        self._retries += 1
        if self._transport.watcher is not None:
            self._transport.watcher.record_retry(error)

    def _announce_retry(self, error: ApiError, tries: int, wait: float) -> None:
        self._count_retry(error)
        self._log.info(
            "request.retried",
            attempts=tries,
            duration_ms=round(wait * 1000),
            http_status=error.http_status,
            error_code=error.code,
            error_message=str(error),
        )


class AccountWriter(AccountReader):
    """A client that reads and writes one account."""

    def retry(self, attempt: Callable[[ApiError | None], Awaitable[None]]) -> Coroutine[None, None, None]:
        """Await `attempt` until it succeeds or its error is final. Its argument is the error of the previous attempt.

        Raises:
            ApiError: NumberRejected, AccountRejected, or the TransientError or Ambiguous of the last attempt.
            WorkerError: the reason passed to `halt`, while the attempt waited for a slot.
        """
        return self._retrier.call(attempt)

    async def acquire(self) -> None:
        """Wait for a slot of the write quota.

        Raises:
            WorkerError: CircuitOpen, or the reason passed to `halt`.
        """
        self._cancellation.check()
        window = self.quota.writes
        if self._breaker.is_open or not window.take():
            with self._cancellation:
                await self._acquire(window)

    def release(self) -> None:
        """Give back an acquired slot for which no request was sent."""
        self.quota.writes.release()

    async def put(self, phone: str, status: Status) -> None:
        """Sign and send one write in the acquired slot. Return once the API has accepted it.

        Raises:
            ApiError: the write had no effect, or its result is unknown.
            ValueError: `phone` is not a phone number. The slot is given back.
        """
        if not _PHONE.fullmatch(phone):
            self.release()
            raise ValueError(f"not a phone number: {phone!r}")
        self._writes += 1
        url = self._numbers_url.with_path(self._number_path + phone, encoded=True)
        try:
            response = await self._send(self.quota.writes, "PUT", url, wire.status_body(status), until=self._drain)
            reported_status = self._reported(response, phone)
        except ApiError as error:
            self._breaker.record(error)
            raise
        self._breaker.record(None)
        if reported_status is not None and reported_status is not status:
            raise Ambiguous(
                Message("the response reports the number as {reported}", reported=reported_status), http_status=_OK
            )

    def _reported(self, response: Response, phone: str) -> Status | None:
        """Return the status of the number in the response to a write; None if the response does not have it.

        Raises:
            ApiError: the API refused the write, or the result is unknown.
        """
        try:
            content = response.content()
        except ApiError as error:
            raise Ambiguous(str(error), http_status=response.status) from None
        if response.status != _OK:
            raise self._refusal(response, content, is_write=True)
        if response.complete:
            response_body = wire.write_response(content, phone)
            self._same_account(response_body.account)
            return response_body.status
        if not content.lstrip().startswith(b"{"):
            raise Ambiguous(Message("the response is not JSON"), http_status=response.status)
        return None
