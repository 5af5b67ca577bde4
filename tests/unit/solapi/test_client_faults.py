"""Every fault of the sandbox over real sockets: requests are counted, and the account ends in the right state."""

from collections.abc import Callable

import aiohttp
import pytest

from tests.support.loopback import Loopback, Peer, http_response, put, run
from worker.config.urls import Endpoint
from worker.model.accounts import Status
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    ClockSkewed,
    ConnectionFailed,
    NotRegistered,
    NotWritable,
    NumberRejected,
    RateLimited,
    ServerError,
    SignatureReused,
    TransientError,
)
from worker.model.results import Requests
from worker.sandbox import PROFILES, Fault, SandboxAccount
from worker.solapi.client import AccountReader

PHONE, OTHER = "01012345678", "0212345678"
_HOSTILE = PROFILES["hostile"].faults

_POSITIONS: dict[str, Callable[[Fault], list[Fault | None]]] = {
    "first": lambda fault: [fault],
    "second, on a connection that is kept alive": lambda fault: [None, fault],
    "first and second": lambda fault: [fault, fault],
    "after another fault": lambda fault: [Fault.RESET_AFTER, fault],
}


def _account() -> SandboxAccount:
    return SandboxAccount.of({PHONE: "ACTIVE", OTHER: "ACTIVE"})


def _check_requests(client: AccountReader, loopback: Loopback) -> None:
    """Check that the client counted the requests that arrived, and that no two have the same signature."""
    wire = loopback.sandbox.wire
    arrived = [sum(request.method == method for request in wire) for method in ("GET", "PUT")]
    assert [client.requests.reads, client.requests.writes] == arrived
    signatures = {request.signature for request in wire}
    assert None not in signatures
    assert len(signatures) == len(wire)


@pytest.mark.parametrize("position", _POSITIONS)
@pytest.mark.parametrize("fault", _HOSTILE)
def test_every_write_is_counted_signed_and_applied(fault: Fault, position: str) -> None:
    """For a fault at any position, counted requests equal received requests, and the number gets its desired status."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer()
            loopback.sandbox.script(None, "PUT", _POSITIONS[position](fault))
            await loopback.write(writer, PHONE, Status.INACTIVE)
            await loopback.write(writer, OTHER, Status.INACTIVE)
            assert loopback.account.statuses == {PHONE: "INACTIVE", OTHER: "INACTIVE"}
            _check_requests(writer, loopback)

    run(scenario())


@pytest.mark.parametrize("position", _POSITIONS)
@pytest.mark.parametrize("fault", _HOSTILE)
def test_every_read_is_counted_signed_and_correct(fault: Fault, position: str) -> None:
    """For a fault at any position, counted requests equal received requests, and the observed account is correct."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            reader = loopback.reader()
            loopback.sandbox.script(None, "GET", _POSITIONS[position](fault))
            for _ in range(2):
                observed = await reader.observe()
                assert {
                    phone: str(number.status) for phone, number in observed.numbers.items()
                } == loopback.account.statuses
            _check_requests(reader, loopback)

    run(scenario())


_ENDS: dict[Fault, tuple[type[ApiError] | None, str]] = {
    Fault.DUPLICATED_SIGNATURE: (SignatureReused, "ACTIVE"),
    Fault.CLOCK_SKEW: (ClockSkewed, "ACTIVE"),
    Fault.REDIRECT: (AccountRejected, "ACTIVE"),
    Fault.INVALID_KEY: (AccountRejected, "ACTIVE"),
    Fault.WRONG_SIGNATURE: (AccountRejected, "ACTIVE"),
    Fault.FORBIDDEN: (AccountRejected, "ACTIVE"),
    Fault.NOT_FOUND: (NumberRejected, "ACTIVE"),
    Fault.TEAPOT: (NumberRejected, "ACTIVE"),
    Fault.NOT_REGISTERED: (NotRegistered, "ACTIVE"),
    Fault.NOT_WRITABLE: (NotWritable, "ACTIVE"),
    Fault.EDITED_BEFORE: (NotWritable, "BLOCKED"),
    Fault.EDITED_AFTER: (None, "ACTIVE"),
    Fault.OTHER_ACCOUNT: (AccountRejected, "INACTIVE"),
    Fault.FLOOD: (AccountRejected, "INACTIVE"),
    **dict.fromkeys((fault for fault in Fault if fault.name.startswith("RATE_LIMITED")), (RateLimited, "ACTIVE")),
    **dict.fromkeys(
        (
            Fault.INTERNAL_ERROR,
            Fault.BAD_GATEWAY,
            Fault.UNAVAILABLE,
            Fault.REQUEST_TIMEOUT,
            Fault.RESET_BEFORE,
            Fault.ESCAPES,
        ),
        (Ambiguous, "ACTIVE"),
    ),
}
"""The error of a write with one permanent fault, and the final status of the number."""
_TRIED_AGAIN = (Ambiguous, TransientError)


@pytest.mark.parametrize("fault", Fault)
def test_write_with_a_permanent_fault(fault: Fault) -> None:
    """The write succeeds if a read shows that it took effect. Otherwise it ends with the right error."""
    kind, status = _ENDS.get(fault, (None, "INACTIVE"))

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer(account_id="12925149")
            loopback.sandbox.script(PHONE, "PUT", [fault] * 99)
            raised: ApiError | None = None
            try:
                await loopback.write(writer, PHONE, Status.INACTIVE)
            except ApiError as error:
                raised = error
            assert type(raised) is (kind or type(None))
            assert loopback.account.statuses == {PHONE: status, OTHER: "ACTIVE"}
            _check_requests(writer, loopback)
            if isinstance(raised, _TRIED_AGAIN):
                assert writer.requests.writes == 5
            elif raised is not None:
                assert writer.requests.writes == (2 if kind is ClockSkewed else 1)

    run(scenario())


_LOOKS: dict[Fault, type[ApiError]] = {
    **{fault: kind for fault, (kind, _) in _ENDS.items() if kind in {RateLimited, SignatureReused, ClockSkewed}},
    **dict.fromkeys((Fault.REDIRECT, Fault.INVALID_KEY, Fault.WRONG_SIGNATURE, Fault.FORBIDDEN), AccountRejected),
    **dict.fromkeys((Fault.NOT_FOUND, Fault.NOT_REGISTERED, Fault.NOT_WRITABLE, Fault.TEAPOT), AccountRejected),
    Fault.OTHER_ACCOUNT: AccountRejected,
    **dict.fromkeys((Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.TRUNCATED, Fault.STALL), ConnectionFailed),
    **dict.fromkeys(
        (fault for fault in Fault if fault.value.startswith(("500", "502", "503", "504", "408"))), ServerError
    ),
    **dict.fromkeys((Fault.HTML, Fault.GARBAGE, Fault.NO_CONTENT, Fault.OTHER_JSON, Fault.NOT_GZIP), ServerError),
    **dict.fromkeys((Fault.NO_ACCOUNT_ID, Fault.NO_NUMBER_LIST, Fault.NULL_NUMBER_LIST), ServerError),
    Fault.EMPTY_OBJECT: AccountRejected,
    **dict.fromkeys((Fault.BOMB, Fault.FLOOD), ServerError),
}


@pytest.mark.parametrize("fault", Fault)
def test_read_with_a_permanent_fault(fault: Fault) -> None:
    """The read ends with the correct account, or with an error that says if a retry can help."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            reader = loopback.reader(account_id="12925149")
            loopback.sandbox.script(None, "GET", [fault] * 99)
            kind = _LOOKS.get(fault)
            if kind is None:
                observed = await reader.observe()
                assert observed.numbers[PHONE].status is Status.ACTIVE
            else:
                with pytest.raises(kind) as raised:
                    await reader.observe()
                assert type(raised.value) is kind
            _check_requests(reader, loopback)
            if kind is not None and issubclass(kind, TransientError):
                assert reader.requests == Requests(5, 0, 4)

    run(scenario())


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_dropped_keep_alive_connection_is_not_resent(method: str) -> None:
    """On a kept-alive connection that drops, aiohttp alone would send the request again."""
    document = http_response(body=b'{"accountId": "1", "senderIds": []}')

    async def with_aiohttp() -> list[str]:
        async with Peer(document, b"", document) as peer, aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.request(method, peer.url, headers={"Authorization": "once"}) as response:
                    await response.read()
            return peer.requests

    async def with_client() -> tuple[list[str], int, list[str]]:
        async with Peer(document, b"", document) as peer, Loopback(_account()) as loopback:
            client = loopback.writer(endpoint=Endpoint(peer.url))
            if method == "GET":
                await client.observe()
                await client.observe()
                attempts = client.requests.reads
            else:
                for _ in range(2):
                    await put(client, PHONE, Status.ACTIVE)
                attempts = client.requests.writes
            return list(peer.header("Authorization")), attempts, peer.requests

    assert len(run(with_aiohttp())) == 3, "aiohttp no longer sends again by itself: this test shows nothing"
    signatures, attempts, requests = run(with_client())
    assert attempts == len(requests) == len(set(signatures)) == 3


def test_read_decides_if_an_ambiguous_write_is_sent_again() -> None:
    """A lost response to a write that took effect costs a read and no second write. A failed read is an error."""

    async def scenario() -> None:
        async with Loopback(_account()) as loopback:
            writer = loopback.writer()
            loopback.sandbox.script(PHONE, "PUT", [Fault.RESET_AFTER])
            await loopback.write(writer, PHONE, Status.INACTIVE)
            assert (writer.requests.reads, writer.requests.writes) == (1, 1)
            loopback.sandbox.script(OTHER, "PUT", [Fault.RESET_BEFORE])
            loopback.sandbox.script(None, "GET", [Fault.FORBIDDEN])
            with pytest.raises(AccountRejected):
                await loopback.write(writer, OTHER, Status.INACTIVE)
            assert loopback.account.statuses == {PHONE: "INACTIVE", OTHER: "ACTIVE"}

    run(scenario())
