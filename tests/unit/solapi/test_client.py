"""One account's client: whose account it is, the quota, the clock, and how it is stopped."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.loopback import EPOCH, Loopback, Peer, http_response, now, put, run, runtime
from worker.config.settings import RateLimit, Retry
from worker.config.urls import Endpoint
from worker.model.accounts import Status
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


def _at(*answers: bytes, **more: Any) -> Any:
    """A scenario's client of a server that plays `answers`."""

    def play(scenario: Callable[[Any, Peer], Any]) -> Any:
        async def whole() -> Any:
            async with Peer(*answers) as peer, Loopback(_account()) as loopback:
                return await scenario(loopback.writer(endpoint=Endpoint(peer.url), **more), peer)

        return run(whole())

    return play


async def _no() -> bool:
    return False


def test_a_reader_has_no_way_to_write() -> None:
    """Nothing of a reader is called after a write, and whatever it offers sends a GET."""
    names = {name for name in dir(AccountReader) if "put" in name or "write" in name}
    assert not names

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            reader = loopback.reader()
            await reader.observe()
            await reader.observe(closing=True)
            assert [request.method for request in loopback.sandbox.wire] == ["GET", "GET"]

    run(scenario())


@pytest.mark.parametrize(
    "phone", ["", "12", "0101234567890", "010-1234-5678", "../numbers", "active", "01012345678\n", "٠١٠١٢٣٤", "010?x"]
)
def test_what_is_no_number_never_becomes_a_url(phone: str) -> None:
    """A phone that is not 3 to 12 ASCII digits is a bug, and raises before anything is sent."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            with pytest.raises(ValueError, match="not a phone number"):
                await put(loopback.writer(), phone, Status.ACTIVE)
            assert loopback.sandbox.wire == []

    run(scenario())


@pytest.mark.parametrize("own", [None, "12925149"])
def test_an_answer_of_another_account_ends_everything(own: str | None) -> None:
    """The account is the one that was named or that the first answer was of; any other is refused, read or written."""

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
    ("reply", "message"),
    [
        (b"{}", "the response has no account id, so account_id 1 is not confirmed"),
        (b'{"accountId": "2", "senderIds": []}', "the response is of account 2, not 1"),
    ],
)
def test_a_pinned_account_must_be_confirmed_by_every_reply(reply: bytes, message: str) -> None:
    """Neither an empty object nor another account without numbers passes; without a pin both do."""

    async def pinned(client: Any, peer: Peer) -> None:
        with pytest.raises(AccountRejected, match=f"^{message}$") as raised:
            await client.observe()
        assert raised.value.code == "WrongAccount"
        assert len(peer.requests) == 1

    async def unpinned(client: Any, _: Peer) -> None:
        assert (await client.observe()).numbers == {}

    _at(http_response(body=reply), account_id="1")(pinned)
    _at(http_response(body=reply))(unpinned)


def test_a_pinned_account_without_numbers_is_confirmed_by_its_id() -> None:
    """An id and an empty list are an account that has really no numbers."""

    async def scenario(client: Any, _: Peer) -> None:
        observed = await client.observe()
        assert (observed.account_id, observed.numbers) == ("1", {})

    _at(_EMPTY, account_id="1")(scenario)


def test_an_id_is_text_and_a_message_is_short() -> None:
    """A numeric id is the same as its text, none at all is no other, and one of a megabyte is not repeated whole."""

    async def scenario(client: Any, peer: Peer) -> None:
        for _ in range(3):
            assert (await client.observe()).numbers == {}
        with pytest.raises(AccountRejected) as raised:
            await client.observe()
        assert len(str(raised.value)) < 200
        assert len(peer.requests) == 4

    numeric, endless = b'{"accountId": 1, "senderIds": []}', b'{"accountId": "%b", "senderIds": []}' % (b"9" * 10**6)
    _at(_EMPTY, http_response(body=numeric), http_response(), http_response(body=endless))(scenario)


def test_unknown_status_is_kept_and_not_written() -> None:
    """It is shown verbatim, and the API's refusal to write it is that number's."""

    async def scenario() -> None:
        async with Loopback(SandboxAccount.of({PHONE: "HIBERNATING"})) as loopback:
            writer = loopback.writer()
            status = (await writer.observe()).numbers[PHONE].status
            assert (str(status), status.writable) == ("HIBERNATING", False)
            with pytest.raises(NotWritable):
                await loopback.write(writer, PHONE, Status.ACTIVE)
            assert loopback.account.statuses == {PHONE: "HIBERNATING"}

    run(scenario())


def test_an_error_in_a_200_is_no_empty_account() -> None:
    """A document that carries an error code is a failed look: it does not say that every number is gone."""

    async def scenario(client: Any, _: Peer) -> None:
        with pytest.raises(ServerError, match="InternalError"):
            await client.observe()

    _at(http_response(body=b'{"errorCode": "InternalError"}'), retry=Retry(attempts=1))(scenario)


@pytest.mark.parametrize(
    "reply",
    [
        http_response(body=b'{"phoneNumber": "01012345678", "status": "ACTIVE"}'),
        http_response(body=b'{"errorCode": "InternalError"}'),
        http_response(body=b"x" * 100_000),
        http_response(body=b"{}", headers={"Content-Encoding": "br"}),
        http_response(body=b"{}", headers={"Content-Encoding": "gzip"}),
        http_response(206),
    ],
)
def test_reply_without_success_is_ambiguous(reply: bytes) -> None:
    """Another status, an error, text and unknown compression are ambiguous until a read settles them."""

    async def scenario(client: Any, peer: Peer) -> None:
        asked = 0

        async def settle() -> bool:
            nonlocal asked
            asked += 1
            return asked == 1

        await put(client, PHONE, Status.INACTIVE, settle)
        assert (asked, len(peer.requests)) == (2, 2)

    _at(reply)(scenario)


@pytest.mark.parametrize(
    "reply",
    [
        http_response(),
        http_response(body=b'{"phoneNumber": "01012345678", "status": "INACTIVE"}'),
        http_response(body=b"\n{" + b" " * 100_000),
    ],
)
def test_success_is_believed_until_the_verification_read(reply: bytes) -> None:
    """An object that does not contradict the write is a success, and a long one is not read to its end."""

    async def scenario(client: Any, peer: Peer) -> None:
        await client.acquire()
        await client.put(PHONE, Status.INACTIVE)
        assert len(peer.requests) == 1

    _at(reply)(scenario)


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
def test_a_wait_is_as_long_as_the_server_asks_within_reason(headers: dict[str, str], seconds: float) -> None:
    """Seconds and dates are followed up to a minute; what cannot be meant is one window."""

    async def scenario(client: Any, peer: Peer) -> None:
        await client.observe()
        assert now() == pytest.approx(seconds, abs=0.01)
        assert len(peer.requests) == 2
        assert client.requests == Requests(2, 0, 1)

    _at(http_response(429, headers=headers), _EMPTY)(scenario)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_one_429_holds_reads_and_writes_of_the_whole_key(method: str) -> None:
    """Clients of one quota send nothing, neither reads nor writes, until the wait is over."""

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


def test_a_request_that_was_given_up_on_holds_its_slot_longer() -> None:
    """It may reach the server as late as it was waited for; the next one keeps its distance from then."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            quota = Quota(RateLimit(writes=1, reads=9, per_seconds=5.0), clock=now)
            loopback.sandbox.script(PHONE, "PUT", [Fault.STALL])
            writer = loopback.writer(quota=quota)
            await put(writer, PHONE, Status.INACTIVE)
            first, second = (request.when for request in loopback.sandbox.wire)
            assert second - first == pytest.approx(2 + 5 + 2, abs=0.01)

    run(scenario())


def test_a_request_that_is_cancelled_holds_its_slot_longer() -> None:
    """Cancelling what is under way takes nothing back that may have left: the slot cools as after a timeout."""

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


def test_the_server_never_sees_more_than_its_quota() -> None:
    """A hundred writes and looks as fast as they may go meet no 429 of a server with the same limits, and use them."""

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
def test_a_wrong_clock_is_learnt_once(behind: float) -> None:
    """The server's date corrects the signatures from the second request on, for good."""

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


def test_a_correction_that_does_not_help_is_not_repeated() -> None:
    """A second refusal of the date is the account's end, for reads and for writes, after two requests."""

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


def test_a_correction_of_the_clock_does_not_lift_the_doubt_about_a_lost_answer() -> None:
    seen: list[type[ApiError] | None] = []

    async def attempt(failure: ApiError | None) -> None:
        seen.append(None if failure is None else type(failure))
        if failure is None:
            raise Ambiguous("reset")
        if len(seen) == 2:
            raise ClockSkewed("the read is refused", http_status=403)

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer()
            await writer.observe()
            await writer.retry(attempt)

    run(scenario())
    assert seen == [None, Ambiguous, Ambiguous]


@pytest.mark.parametrize(
    "date", [None, "yesterday", "Fri, 15 Jan 99999999999999999999 08:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_a_date_that_cannot_be_used_corrects_nothing(date: str | None) -> None:
    """Without a readable date the refusal is final at once."""

    async def scenario(client: Any, peer: Peer) -> None:
        with pytest.raises(ClockSkewed):
            await client.observe()
        assert client.clock_offset is None
        assert len(peer.requests) == 1

    headers = {} if date is None else {"Date": date}
    _at(http_response(403, b'{"errorCode": "RequestTimeTooSkewed"}', headers))(scenario)


def test_halt_ends_every_wait_and_lets_a_verification_read_through() -> None:
    """Tasks that wait for a slot or a retry wake with the reason; requests in flight finish, and no new one is sent."""

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
            assert (await writer.observe(closing=True)).numbers[PHONE].status is Status.INACTIVE
            assert (await writer.observe(closing=True)).numbers[OTHER].status is Status.ACTIVE
            assert loopback.account.statuses == {PHONE: "INACTIVE", OTHER: "ACTIVE"}
            assert writer.requests == Requests(4, 1, 2)

    run(scenario())


def test_verification_read_that_is_under_way_ends_50_seconds_after_halt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs does not keep a stopped run until its service manager kills it."""

    async def hang(*_: object, **__: object) -> None:
        await asyncio.sleep(20)
        raise ServerError("no response")

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(retry=Retry(attempts=20))
            monkeypatch.setattr(writer._transport, "exchange", hang)
            reading = asyncio.create_task(writer.observe(closing=True))
            await asyncio.sleep(5)
            halted = now()
            writer.halt(Interrupted("stop"))
            with pytest.raises(Ambiguous, match="within 50 seconds after the run was stopped"):
                await reading
            assert now() - halted == pytest.approx(50, abs=0.1)

    run(scenario())


def test_after_halt_nothing_is_sent_although_slots_are_free() -> None:
    """Neither a write nor a read starts; only the verification read does."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer()
            writer.halt(Interrupted("stop"))
            for call in (writer.acquire(), loopback.write(writer, OTHER, Status.INACTIVE), writer.observe()):
                with pytest.raises(Interrupted, match="stop"):
                    await call
            assert loopback.sandbox.wire == []
            await writer.observe(closing=True)
            assert len(loopback.sandbox.wire) == 1

    run(scenario())


def test_verification_read_has_its_own_retries() -> None:
    """Writes that used up the budget for retries do not take those of the read."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer()
            loopback.sandbox.script(None, "PUT", [Fault.RESET_BEFORE] * 99)
            for _ in range(4):
                with pytest.raises(Ambiguous):
                    await put(writer, PHONE, Status.INACTIVE)
                await writer.observe()  # an answer, so that no circuit opens
            assert writer.requests.retries == 10
            loopback.sandbox.script(None, "GET", [Fault.UNAVAILABLE] * 4)
            assert (await writer.observe(closing=True)).numbers[PHONE].status is Status.ACTIVE

    run(scenario())


@pytest.mark.parametrize(
    ("reply", "message", "status"),
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
def test_ambiguous_reply_to_a_write_has_its_reason_and_status(reply: bytes, message: str, status: int) -> None:
    async def scenario(client: Any, _: Peer) -> None:
        await client.acquire()
        with pytest.raises(Ambiguous) as raised:
            await client.put(PHONE, Status.INACTIVE)
        assert (str(raised.value), raised.value.http_status) == (message, status)

    _at(reply)(scenario)


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


def test_retry_that_waits_for_a_probe_costs_no_budget() -> None:
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
            await writer.observe(closing=True)
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
