"""Below HTTP: every way in which aiohttp can fail is one error, whose text holds no header."""

import ssl
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import client_exceptions
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from worker.config.settings import Timeout
from worker.model.errors import AccountRejected, Ambiguous, ApiError, ConnectionFailed
from worker.solapi.transport import Transport, transport_error

_CANARY = "signature=0123456789abcdef"

_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_HOPELESS = (
    aiohttp.ClientSSLError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
    aiohttp.TooManyRedirects,
)


def _exceptions() -> Iterator[type[BaseException]]:
    for name in client_exceptions.__all__:
        kind = getattr(client_exceptions, name)
        if isinstance(kind, type) and issubclass(kind, aiohttp.ClientError):
            yield kind


def _made(kind: type[BaseException]) -> BaseException:
    key = ConnectionKey("api.example", 443, True, True, None, None, None, None)  # noqa: FBT003 - aiohttp's own tuple
    info = aiohttp.RequestInfo(
        URL("https://api.example/"), "PUT", CIMultiDictProxy(CIMultiDict({"Authorization": _CANARY})), URL("https://x/")
    )
    arguments: list[tuple[Any, ...]] = []
    if issubclass(kind, aiohttp.ClientConnectorCertificateError):
        arguments.append((key, ssl.SSLCertVerificationError("self-signed")))
    if issubclass(kind, client_exceptions.UnixClientConnectorError):
        arguments.append(("/socket", key, OSError(2, "no")))
    if issubclass(kind, aiohttp.ServerFingerprintMismatch):
        arguments.append((b"a", b"b", "api.example", 443))
    arguments += [(key, OSError(111, "refused")), (info, ()), (URL("https://x/"),), ()]
    for given in arguments:
        try:
            return kind(*given)
        except TypeError:
            continue
    raise AssertionError(f"no way known to make {kind}")


@pytest.mark.parametrize("kind", [*_exceptions(), TimeoutError, OSError, ConnectionResetError])
def test_every_failure_below_http_is_exactly_one_error(kind: type[BaseException]) -> None:
    """Nothing that aiohttp raises is left over; nothing sent is transient, anything sent leaves a write in doubt."""
    for write in (False, True):
        error = transport_error(_made(kind), write=write)
        expected: type[ApiError] = Ambiguous if write else ConnectionFailed
        if issubclass(kind, _HOPELESS):
            expected = AccountRejected
        elif issubclass(kind, _NOT_SENT):
            expected = ConnectionFailed
        assert type(error) is expected
        assert _CANARY not in str(error)
        assert "Authorization" not in repr(error)


def test_only_a_timeout_may_still_arrive() -> None:
    """The error of a request that was given up on says so, for its slot to be held longer."""
    assert transport_error(TimeoutError(), write=True).timed_out
    assert not transport_error(ConnectionResetError(), write=True).timed_out


async def test_a_transport_is_used_inside_its_context() -> None:
    """Sending on a transport that was not opened raises."""
    with pytest.raises(AssertionError, match="context"):
        await Transport(Timeout()).exchange("GET", URL("http://127.0.0.1:1/"), {})
