"""The client of one account: the account id, the quota, the clock, and how it is stopped."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.loopback import EPOCH, Loopback, Peer, http_response, now, put, run, runtime
from worker.config.settings import RateLimit, Retry
from worker.config.urls import Endpoint
from worker.model.accounts import ObservedAccount, Status
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    ClockSkewed,
    ConnectionFailed,
    Interrupted,
    NotWritable,
    ServerError,
)
from worker.model.results import Requests
from worker.sandbox import Fault, SandboxAccount
from worker.solapi.client import AccountReader
from worker.solapi.limiter import Quota

PHONE, OTHER = "01012345678", "0212345678"
_EMPTY = http_response(body=b'{"accountId": "1", "senderIds": []}')


def _account() -> SandboxAccount:
    return SandboxAccount.of({PHONE: "ACTIVE", OTHER: "ACTIVE"})


def _client_of(*responses: bytes, **more: Any) -> Any:
    """Return a runner for scenarios with a client of a server that sends these responses."""

    def play(scenario: Callable[[Any, Peer], Any]) -> Any:
        async def whole() -> Any:
            async with Peer(*responses) as peer, Loopback(_account()) as loopback:
                return await scenario(loopback.writer(endpoint=Endpoint(peer.url), **more), peer)

        return run(whole())

    return play


async def _no() -> bool:
    return False


def test_reader_cannot_write() -> None:
    """No method of a reader is named like a write, and each of them sends a GET."""
    names = {name for name in dir(AccountReader) if "put" in name or "write" in name}
    assert not names

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            reader = loopback.reader()
            await reader.observe()
            await reader.observe(is_verification=True)
            assert [request.method for request in loopback.sandbox.wire] == ["GET", "GET"]

    run(scenario())


@pytest.mark.parametrize(
    "phone", ["", "12", "0101234567890", "010-1234-5678", "../numbers", "active", "01012345678\n", "٠١٠١٢٣٤", "010?x"]
)
def test_invalid_number_raises_before_a_request(phone: str) -> None:
    """Only 3 to 12 ASCII digits are inserted into a URL. Anything else is a bug in the caller."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            with pytest.raises(ValueError, match="not a phone number"):
                await put(loopback.writer(), phone, Status.ACTIVE)
            assert loopback.sandbox.wire == []

    run(scenario())


@pytest.mark.parametrize("own", [None, "12925149"])
def test_response_of_another_account_ends_the_account(own: str | None) -> None:
    """The account id is the pinned one or that of the first response.

    Reads and writes of another account are refused.
    """

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(account_id=own)
            await writer.observe()
            loopback.sandbox.script(None, "GET", [Fault.OTHER_ACCOUNT])
            loopback.sandbox.script(PHONE, "PUT", [Fault.OTHER_ACCOUNT])
            for call in (writer.observe(), loopback.write(writer, PHONE, Status.ACTIVE)):
                with pytest.raises(AccountRejected, match="99999999, not 12925149") as raised:
                    await call
                assert raised.value.code == "WrongAccount"

    run(scenario())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "the response has no account id, so account_id 1 is not confirmed"),
        (b'{"accountId": "2", "senderIds": []}', "the response is of account 2, not 1"),
    ],
)
def test_every_response_must_confirm_the_pinned_account(body: bytes, message: str) -> None:
    """An empty object and another account without numbers are refused. Without a pin both are accepted."""

    async def pinned(client: Any, peer: Peer) -> None:
        with pytest.raises(AccountRejected, match=f"^{message}$") as raised:
            await client.observe()
        assert raised.value.code == "WrongAccount"
        assert len(peer.requests) == 1

    async def unpinned(client: Any, _: Peer) -> None:
        assert (await client.observe()).numbers == {}

    _client_of(http_response(body=body), account_id="1")(pinned)
    _client_of(http_response(body=body))(unpinned)


def test_pinned_account_without_numbers_is_confirmed_by_its_id() -> None:
    """An id and an empty list are an account that has really no numbers."""

    async def scenario(client: Any, _: Peer) -> None:
        observed = await client.observe()
        assert (observed.account_id, observed.numbers) == ("1", {})

    _client_of(_EMPTY, account_id="1")(scenario)


def test_account_ids_are_compared_as_text() -> None:
    """A numeric id equals its text, and a missing id is not another account.

    An id of a megabyte is cut in the message.
    """

    async def scenario(client: Any, peer: Peer) -> None:
        for _ in range(3):
            assert (await client.observe()).numbers == {}
        with pytest.raises(AccountRejected) as raised:
            await client.observe()
        assert len(str(raised.value)) < 200
        assert len(peer.requests) == 4

    numeric, endless = b'{"accountId": 1, "senderIds": []}', b'{"accountId": "%b", "senderIds": []}' % (b"9" * 10**6)
    _client_of(_EMPTY, http_response(body=numeric), http_response(), http_response(body=endless))(scenario)


def test_unknown_status_is_kept_and_not_written() -> None:
    """The status is shown verbatim, and the refusal of the API concerns that number only."""

    async def scenario() -> None:
        async with Loopback(SandboxAccount.of({PHONE: "HIBERNATING"})) as loopback:
            writer = loopback.writer()
            status = (await writer.observe()).numbers[PHONE].status
            assert (str(status), status.is_writable) == ("HIBERNATING", False)
            with pytest.raises(NotWritable):
                await loopback.write(writer, PHONE, Status.ACTIVE)
            assert loopback.account.statuses == {PHONE: "HIBERNATING"}

    run(scenario())


def test_error_code_in_a_200_is_a_failed_read() -> None:
    """A document with an error code does not make every number missing."""

    async def scenario(client: Any, _: Peer) -> None:
        with pytest.raises(ServerError, match="InternalError"):
            await client.observe()

    _client_of(http_response(body=b'{"errorCode": "InternalError"}'), retry=Retry(attempts=1))(scenario)


@pytest.mark.parametrize(
    "response",
    [
        http_response(body=b'{"phoneNumber": "01012345678", "status": "ACTIVE"}'),
        http_response(body=b'{"errorCode": "InternalError"}'),
        http_response(body=b"x" * 100_000),
        http_response(body=b"{}", headers={"Content-Encoding": "br"}),
        http_response(body=b"{}", headers={"Content-Encoding": "gzip"}),
        http_response(206),
    ],
)
def test_unclear_response_to_a_write_is_ambiguous(response: bytes) -> None:
    """Another status, an error, text and an unknown compression are ambiguous until a read resolves them."""

    async def scenario(client: Any, peer: Peer) -> None:
        reads = 0

        async def settle() -> bool:
            nonlocal reads
            reads += 1
            return reads == 1

        await put(client, PHONE, Status.INACTIVE, settle)
        assert (reads, len(peer.requests)) == (2, 2)

    _client_of(response)(scenario)


@pytest.mark.parametrize(
    "response",
    [
        http_response(),
        http_response(body=b'{"phoneNumber": "01012345678", "status": "INACTIVE"}'),
        http_response(body=b"\n{" + b" " * 100_000),
    ],
)
def test_object_without_contradiction_is_a_success(response: bytes) -> None:
    """The verification read decides. A long response is not read to its end."""

    async def scenario(client: Any, peer: Peer) -> None:
        await client.acquire()
        await client.put(PHONE, Status.INACTIVE)
        assert len(peer.requests) == 1

    _client_of(response)(scenario)


_DATE = {"Date": "Fri, 15 Jan 2027 08:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "1"}, 1),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "60"}, 60),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:03 GMT", **_DATE}, 3),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:03 -0000", **_DATE}, 3),
        ({}, 5),
        ({"Retry-After": "0"}, 5),
        ({"Retry-After": "-5"}, 5),
        ({"Retry-After": "61"}, 5),
        ({"Retry-After": "9" * 5000}, 5),
        ({"Retry-After": "soon"}, 5),
        ({"Retry-After": "\u0663"}, 5),
        ({"Retry-After": "Fri, 15 Jan 2027 07:59:59 GMT", **_DATE}, 5),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:03 GMT"}, 5),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:03 GMT", "Date": "today"}, 5),
        ({"Retry-After": "Fri, 15 Jan 99999999999999999999 08:00:03 GMT", **_DATE}, 5),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT", **_DATE}, 5),
    ],
)
def test_retry_after_is_followed_up_to_a_minute(headers: dict[str, str], seconds: float) -> None:
    """Seconds and dates are followed. An invalid value is one window."""

    async def scenario(client: Any, peer: Peer) -> None:
        await client.observe()
        assert now() == pytest.approx(seconds, abs=0.01)
        assert len(peer.requests) == 2
        assert client.requests == Requests(2, 0, 1)

    _client_of(http_response(429, headers=headers), _EMPTY)(scenario)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_429_pauses_reads_and_writes_of_the_key(method: str) -> None:
    """All clients of the quota send nothing until the wait is over."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            quota = Quota(RateLimit(), clock=now)
            first, second = loopback.writer(quota=quota), loopback.writer(quota=quota)
            loopback.sandbox.script(None, method, [Fault.RATE_LIMITED])
            own = first.observe() if method == "GET" else loopback.write(first, PHONE, Status.INACTIVE)
            task = asyncio.ensure_future(own)
            await asyncio.sleep(0.1)
            assert loopback.log.lines[0][0] == "rate_limit.held"
            await asyncio.gather(second.observe(), loopback.write(second, OTHER, Status.INACTIVE), task)
            assert len(loopback.sandbox.wire) == 4
            assert all(request.when >= 1 for request in loopback.sandbox.wire[1:])

    run(scenario())


def test_timed_out_request_holds_its_slot_longer() -> None:
    """The request may arrive as late as the timeout, so its slot stays taken for a window after that."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            quota = Quota(RateLimit(writes=1, reads=9, per_seconds=5.0), clock=now)
            loopback.sandbox.script(PHONE, "PUT", [Fault.STALL])
            writer = loopback.writer(quota=quota)
            await put(writer, PHONE, Status.INACTIVE)
            first, second = (request.when for request in loopback.sandbox.wire)
            assert second - first == pytest.approx(2 + 5 + 2, abs=0.01)

    run(scenario())


def test_cancelled_request_holds_its_slot_longer() -> None:
    """A cancelled request may have been sent, so its slot stays taken as after a timeout."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            quota = Quota(RateLimit(writes=1, reads=1, per_seconds=5.0), clock=now)
            loopback.sandbox.script(None, "GET", [Fault.STALL])
            reader = loopback.reader(quota=quota)
            task = asyncio.create_task(reader.observe())
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            await reader.observe()
            assert loopback.sandbox.wire[1].when == pytest.approx(1 + 5 + 2, abs=0.01)

    run(scenario())


def test_quota_is_used_in_full_and_not_exceeded() -> None:
    """A hundred writes and reads at full speed get no 429 from a server with the same limits."""

    async def scenario() -> None:
        account = SandboxAccount.of({f"0101234{number:04}": "ACTIVE" for number in range(100)})
        async with Loopback(account, rate_limit=(20, 5)) as loopback:
            writer = loopback.writer(quota=Quota(RateLimit(writes=20, reads=5), clock=now))
            reads = (writer.observe() for _ in range(10))
            await asyncio.gather(*(loopback.write(writer, phone, Status.INACTIVE) for phone in account.numbers), *reads)
            assert {request.status for request in loopback.sandbox.wire} == {200}
            assert set(account.statuses.values()) == {"INACTIVE"}
            assert now() == pytest.approx(20, abs=0.1)
            assert set(writer.rate_limit_headers) == {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}

    run(scenario())


@pytest.mark.parametrize("behind", [3600.0, -3600.0, 10 * 365 * 86400.0])
def test_clock_skew_is_corrected_once(behind: float) -> None:
    """The date of the server corrects all signatures from the second request on."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(runtime=runtime(wall=lambda: EPOCH + now() - behind))
            assert writer.clock_offset is None
            assert writer.rate_limit_headers == {}
            await writer.observe()
            assert writer.clock_offset == pytest.approx(behind, abs=1)
            await loopback.write(writer, PHONE, Status.INACTIVE)
            assert [request.status for request in loopback.sandbox.wire] == [403, 200, 200]
            assert writer.requests == Requests(2, 1, 1)

    run(scenario())


def test_clock_correction_without_effect_is_not_repeated() -> None:
    """If the server also refuses the corrected date, a read or a write fails after two requests."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            loopback.sandbox.script(None, "GET", [Fault.CLOCK_SKEW] * 9)
            loopback.sandbox.script(None, "PUT", [Fault.CLOCK_SKEW] * 9)
            writer = loopback.writer()
            with pytest.raises(ClockSkewed):
                await writer.observe()
            with pytest.raises(ClockSkewed):
                await put(writer, PHONE, Status.INACTIVE)
            assert [request.method for request in loopback.sandbox.wire] == ["GET", "GET", "PUT", "PUT"]

    run(scenario())


def test_clock_correction_keeps_a_lost_response_ambiguous() -> None:
    failures: list[type[ApiError] | None] = []

    async def attempt(failure: ApiError | None) -> None:
        failures.append(None if failure is None else type(failure))
        if failure is None:
            raise Ambiguous("reset")
        if len(failures) == 2:
            raise ClockSkewed("the read is refused", http_status=403)

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer()
            await writer.observe()
            await writer.retry(attempt)

    run(scenario())
    assert failures == [None, Ambiguous, Ambiguous]


@pytest.mark.parametrize(
    "date", [None, "yesterday", "Fri, 15 Jan 99999999999999999999 08:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_unreadable_date_corrects_nothing(date: str | None) -> None:
    """Without a readable date the refusal is not retried."""

    async def scenario(client: Any, peer: Peer) -> None:
        with pytest.raises(ClockSkewed):
            await client.observe()
        assert client.clock_offset is None
        assert len(peer.requests) == 1

    headers = {} if date is None else {"Date": date}
    _client_of(http_response(403, b'{"errorCode": "RequestTimeTooSkewed"}', headers))(scenario)


def test_halt_ends_every_wait_except_the_verification_read() -> None:
    """Tasks that wait for a slot or a retry wake with the reason. Requests in flight finish, and no new one is sent."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            quota = Quota(RateLimit(writes=1, reads=9), clock=now)
            longest = runtime(uniform=lambda _, high: high)
            retry = Retry(base_seconds=10, cap_seconds=10)
            writer = loopback.writer(quota=quota, retry=retry, runtime=longest)
            loopback.sandbox.script(PHONE, "PUT", [Fault.SLOW])
            loopback.sandbox.script(None, "GET", [Fault.UNAVAILABLE, None, Fault.UNAVAILABLE])
            under_way = asyncio.create_task(loopback.write(writer, PHONE, Status.INACTIVE))
            await asyncio.sleep(0.1)
            for_a_turn = asyncio.create_task(loopback.write(writer, OTHER, Status.INACTIVE))
            for_a_retry = asyncio.create_task(writer.observe())
            await asyncio.sleep(0.1)
            writer.halt(Interrupted("stop"))
            for task in (for_a_turn, for_a_retry):
                with pytest.raises(Interrupted, match="stop"):
                    await task
            assert now() < 1
            await under_way
            for call in (writer.observe(), loopback.write(writer, OTHER, Status.INACTIVE)):
                with pytest.raises(Interrupted):
                    await call
            assert (await writer.observe(is_verification=True)).numbers[PHONE].status is Status.INACTIVE
            assert (await writer.observe(is_verification=True)).numbers[OTHER].status is Status.ACTIVE
            assert loopback.account.statuses == {PHONE: "INACTIVE", OTHER: "ACTIVE"}
            assert writer.requests == Requests(4, 1, 2)

    run(scenario())


def test_verification_read_ends_50_seconds_after_halt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs does not keep a stopped run until its service manager kills it."""

    async def hang(*_: object, **__: object) -> None:
        await asyncio.sleep(20)
        raise ServerError("no response")

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(retry=Retry(attempts=20))
            monkeypatch.setattr(writer._transport, "exchange", hang)
            reading = asyncio.create_task(writer.observe(is_verification=True))
            await asyncio.sleep(5)
            halted = now()
            writer.halt(Interrupted("stop"))
            with pytest.raises(Ambiguous, match="within 50 seconds after the run was stopped"):
                await reading
            assert now() - halted == pytest.approx(50, abs=0.1)

    run(scenario())


def test_halt_prevents_requests_even_if_slots_are_free() -> None:
    """Neither a write nor a read starts, except the verification read."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer()
            writer.halt(Interrupted("stop"))
            for call in (writer.acquire(), loopback.write(writer, OTHER, Status.INACTIVE), writer.observe()):
                with pytest.raises(Interrupted, match="stop"):
                    await call
            assert loopback.sandbox.wire == []
            await writer.observe(is_verification=True)
            assert len(loopback.sandbox.wire) == 1

    run(scenario())


def test_verification_read_has_its_own_retries() -> None:
    """Writes that spent the retry budget leave the retries of the verification read."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer()
            loopback.sandbox.script(None, "PUT", [Fault.RESET_BEFORE] * 99)
            for _ in range(4):
                with pytest.raises(Ambiguous):
                    await put(writer, PHONE, Status.INACTIVE)
                await writer.observe()  # a response, so that the circuit stays closed
            assert writer.requests.retries == 10
            loopback.sandbox.script(None, "GET", [Fault.UNAVAILABLE] * 4)
            assert (await writer.observe(is_verification=True)).numbers[PHONE].status is Status.ACTIVE

    run(scenario())


@pytest.mark.parametrize(
    ("body", "message", "status"),
    [
        (
            http_response(body=b'{"phoneNumber": "01012345678", "status": "ACTIVE"}'),
            "the response reports the number as ACTIVE",
            200,
        ),
        (http_response(body=b"x" * 100_000), "the response is not JSON", 200),
        (
            http_response(503, b"{}", {"Content-Encoding": "gzip"}),
            "the response claims to be gzip but is not",
            503,
        ),
    ],
)
def test_ambiguous_response_to_a_write_has_its_reason_and_status(body: bytes, message: str, status: int) -> None:
    async def scenario(client: Any, _: Peer) -> None:
        await client.acquire()
        with pytest.raises(Ambiguous) as raised:
            await client.put(PHONE, Status.INACTIVE)
        assert (str(raised.value), raised.value.http_status) == (message, status)

    _client_of(body)(scenario)


def test_read_has_the_time_at_which_it_ended() -> None:
    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            await asyncio.sleep(5)
            assert (await loopback.reader().observe()).seen_at == EPOCH + now()

    run(scenario())


def test_slot_of_a_broken_connection_is_free_after_one_window() -> None:
    """The request cannot arrive later, unlike one that timed out."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            quota = Quota(RateLimit(writes=1, reads=9, per_seconds=5.0), clock=now)
            loopback.sandbox.script(PHONE, "PUT", [Fault.RESET_BEFORE])
            await put(loopback.writer(quota=quota), PHONE, Status.INACTIVE)
            first, second = (request.when for request in loopback.sandbox.wire)
            assert second - first == pytest.approx(5, abs=0.1)

    run(scenario())


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_failed_requests_open_the_circuit(method: str) -> None:
    """After ten failures in a row, the next request waits for a probe."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(retry=Retry(attempts=1))
            loopback.sandbox.script(None, method, [Fault.RESET_BEFORE] * 10)
            for _ in range(10):
                assert loopback.log.lines == []
                with pytest.raises((ConnectionFailed, Ambiguous)):
                    await (writer.observe() if method == "GET" else put(writer, PHONE, Status.INACTIVE))
            assert [event for event, _ in loopback.log.lines] == ["circuit.opened"]
            await writer.observe()
            assert [event for event, _ in loopback.log.lines] == ["circuit.opened", "circuit.closed"]

    run(scenario())


def test_probe_that_closed_the_circuit_is_kept_unless_it_lacks_numbers() -> None:
    """A read that lacks listed numbers must be repeated before it counts."""

    async def scenario(listed: tuple[str, ...]) -> ObservedAccount | None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(retry=Retry(attempts=1), listed=listed)
            assert writer.probe is None
            loopback.sandbox.script(None, "PUT", [Fault.RESET_BEFORE] * 10)
            for _ in range(10):
                with pytest.raises((ConnectionFailed, Ambiguous)):
                    await put(writer, PHONE, Status.INACTIVE)
            await put(writer, PHONE, Status.INACTIVE)
            return writer.probe

    probe = run(scenario((PHONE,)))
    assert probe is not None
    assert probe.status(PHONE) == "ACTIVE"
    assert run(scenario((PHONE, "0311234567"))) is None


def test_retry_that_waits_for_a_probe_does_not_spend_the_budget() -> None:
    """The budget is ten retries: nine before the circuit opens, none while it is open, one after it is closed."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            reader = loopback.reader(retry=Retry(attempts=20, base_seconds=0.01))
            outage, probe = [Fault.UNAVAILABLE] * 10, None
            loopback.sandbox.script(None, "GET", [*outage, probe, Fault.UNAVAILABLE])
            await reader.observe()
            assert len(loopback.sandbox.wire) == 13

    run(scenario())


def test_closing_read_that_lacks_numbers_is_repeated_after_halt() -> None:
    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(listed=(PHONE, "0311234567"))
            writer.halt(Interrupted("stop"))
            await writer.observe(is_verification=True)
            assert [event for event, _ in loopback.log.lines] == ["account.reread"]
            assert len(loopback.sandbox.wire) == 2

    run(scenario())


def test_comparison_with_the_last_run_is_not_made_after_halt() -> None:
    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer()
            observed = await writer.observe()
            writer.halt(Interrupted("stop"))
            with pytest.raises(Interrupted):
                await writer.confirm(observed, 100)

    run(scenario())


def test_read_after_halt_is_refused_with_its_reason_however_late() -> None:
    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer()
            writer.halt(Interrupted("stop"))
            await asyncio.sleep(60)
            with pytest.raises(Interrupted, match="stop"):
                await writer.observe()

    run(scenario())
