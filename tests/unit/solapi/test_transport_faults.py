"""Faults below HTTP as aiohttp reports them, at every request: one attempt each, and the right error."""

import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tests.support.loopback import put
from tests.support.model_account import Recorder
from worker.config.settings import RateLimit, Retry, Timeout
from worker.config.urls import Endpoint
from worker.model.accounts import Status
from worker.model.credentials import Credentials, Secret
from worker.model.errors import AccountRejected, Ambiguous, ApiError, ConnectionFailed, ServerError
from worker.model.results import Requests
from worker.solapi.client import AccountWriter
from worker.solapi.limiter import Quota
from worker.solapi.runtime import Runtime
from worker.solapi.transport import Transport

PHONE = "01012345678"
_URL = "https://api.example/senderid/v1/numbers"
_KEY = ConnectionKey("api.example", 443, True, True, None, None, None, None)  # noqa: FBT003 - aiohttp's own tuple
_DOCUMENT = b'{"accountId": "1", "senderIds": [{"phoneNumber": "01012345678", "status": "INACTIVE"}]}'

_TUNNEL = aiohttp.RequestInfo(URL("https://api.example"), "CONNECT", CIMultiDictProxy(CIMultiDict()), URL("https://x"))
_NOTHING_SENT: list[Exception] = [
    aiohttp.ClientConnectorError(_KEY, OSError(111, "refused")),
    aiohttp.ClientConnectorDNSError(_KEY, OSError(-2, "unknown")),
    aiohttp.ConnectionTimeoutError("connecting"),
    aiohttp.ClientProxyConnectionError(_KEY, OSError(111, "refused")),
    aiohttp.ClientHttpProxyError(_TUNNEL, (), status=502, message="Bad Gateway"),
]
_LOST: list[Exception] = [
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientOSError(104, "reset"),
    aiohttp.ClientPayloadError("half"),
    aiohttp.SocketTimeoutError("reading"),
    TimeoutError(),
    ConnectionResetError(),
    BrokenPipeError(),
]
_HOPELESS: list[Exception] = [
    aiohttp.ClientConnectorCertificateError(_KEY, ssl.SSLCertVerificationError("self-signed")),
    aiohttp.ClientConnectorSSLError(_KEY, ssl.SSLError("handshake")),
    aiohttp.ServerFingerprintMismatch(b"a", b"b", "api.example", 443),
    aiohttp.InvalidUrlClientError("x"),
]

Do = Callable[[AccountWriter], Any]


async def _with_client(do: Do, attempts: int = 3) -> Requests:
    quota = Quota(RateLimit(per_seconds=0.001), clock=Runtime().clock)
    async with Transport(Timeout(connect_seconds=0.3, total_seconds=0.3)) as transport:
        client = AccountWriter(
            transport,
            Endpoint("https://api.example"),
            Credentials("NCSAAAAAAAAAAAAA", Secret("secret")),
            quota,
            retry=Retry(attempts=attempts, base_seconds=0.001),
            log=Recorder(),
        )
        await do(client)
        return client.requests


async def _raises(kind: type[ApiError], do: Do) -> ApiError:
    raised: list[ApiError] = []

    async def caught(client: AccountWriter) -> None:
        with pytest.raises(kind) as error:
            await do(client)
        raised.append(error.value)

    await _with_client(caught, attempts=1)
    return raised[0]


async def _read(client: AccountWriter) -> None:
    assert (await client.observe()).numbers[PHONE].status is Status.INACTIVE


async def _write(client: AccountWriter) -> None:
    await put(client, PHONE, Status.INACTIVE)


@pytest.mark.parametrize("fault", [*_NOTHING_SENT, *_LOST], ids=lambda fault: type(fault).__name__)
async def test_fault_costs_one_attempt_and_the_next_is_signed_again(fault: Exception, responses: Any) -> None:
    """A read and a write succeed with one more request each, and no signature is used twice."""
    for method in ("GET", "PUT"):
        url = _URL if method == "GET" else f"{_URL}/{PHONE}"
        responses.add(url, method=method, exception=fault)
        responses.add(url, method=method, body=_DOCUMENT)
    assert await _with_client(_read) == Requests(2, 0, 1)
    assert await _with_client(_write) == Requests(0, 2, 1)
    headers = [call.kwargs["headers"]["Authorization"] for calls in responses.requests.values() for call in calls]
    assert len(set(headers)) == 4


@pytest.mark.parametrize("fault", _NOTHING_SENT, ids=lambda fault: type(fault).__name__)
async def test_write_without_a_connection_is_not_ambiguous(fault: Exception, responses: Any) -> None:
    """The write was not sent, so it needs no read."""
    responses.add(f"{_URL}/{PHONE}", method="PUT", exception=fault)
    assert type(await _raises(ConnectionFailed, _write)) is ConnectionFailed


@pytest.mark.parametrize("fault", _LOST, ids=lambda fault: type(fault).__name__)
async def test_lost_response_is_ambiguous_for_writes_only(fault: Exception, responses: Any) -> None:
    """The write may have taken effect. A read can be repeated."""
    responses.add(f"{_URL}/{PHONE}", method="PUT", exception=fault)
    responses.add(_URL, exception=fault)
    doubt = await _raises(Ambiguous, _write)
    assert doubt.timed_out is isinstance(fault, TimeoutError)
    assert type(await _raises(ConnectionFailed, _read)) is ConnectionFailed


@pytest.mark.parametrize("fault", _HOPELESS, ids=lambda fault: type(fault).__name__)
async def test_permanent_fault_ends_the_account(fault: Exception, responses: Any) -> None:
    """An unverified certificate and an invalid URL are reported after one attempt."""
    responses.add(f"{_URL}/{PHONE}", method="PUT", exception=fault)
    responses.add(_URL, exception=fault)
    for do in (_read, _write):
        assert (await _raises(AccountRejected, do)).http_status is None
    assert sum(map(len, responses.requests.values())) == 2


async def test_status_and_body_are_passed_through(responses: Any) -> None:
    """The same session follows no redirect."""
    responses.add(_URL, body=b"<html>")
    responses.add(_URL, status=307, headers={"Location": "https://elsewhere.example/"})
    responses.add("https://elsewhere.example/", body=_DOCUMENT)
    assert (await _raises(ServerError, _read)).http_status in {200, None}
    assert (await _raises(AccountRejected, _read)).http_status == 307
    assert ("GET", URL("https://elsewhere.example/")) not in responses.requests


@pytest.mark.parametrize("status", [403, 407])
async def test_refusal_of_a_proxy_ends_the_account(status: int, responses: Any) -> None:
    """Nothing was sent to the API, and the next attempt would be refused too."""
    fault = aiohttp.ClientHttpProxyError(_TUNNEL, (), status=status, message="Refused")
    responses.add(f"{_URL}/{PHONE}", method="PUT", exception=fault)
    error = await _raises(AccountRejected, _write)
    assert (error.http_status, "proxy" in str(error)) == (status, True)
