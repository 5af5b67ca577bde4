"""Mutated valid inputs and random bytes: each is accepted or refused by a WorkerError, in bounded time.

2,000 examples of each kind of external input: files, documents, headers, error bodies, saved plans.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from tests.property.test_desired import check
from tests.support import loopback
from tests.support.examples import examples
from tests.support.loopback import Loopback
from worker.config.settings import RateLimit, Retry
from worker.config.urls import Endpoint
from worker.model.accounts import PHONE_PATTERN, Status
from worker.model.errors import Ambiguous, ApiError, PlanFileError, ServerError, WorkerError
from worker.plan.build import as_plan
from worker.plan.planfile import SavedPlan, fingerprint, seal, unseal
from worker.render.json_document import encode
from worker.sandbox import SandboxAccount
from worker.solapi import wire
from worker.solapi.account_document import AccountDecoder
from worker.solapi.client import AccountWriter
from worker.solapi.limiter import Quota

PHONE = "01012345678"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

fuzzed = examples(
    2_000,
    deadline=timedelta(seconds=10),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""An example takes milliseconds: ten seconds are for an endless loop to show, on a machine however busy."""

_BITS = (
    *(b"", b"\0", b"\n", b"\r\n", b"\xff", b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b[2J"),
    *(b'"', b"\\", b"\\ud800", b"\\u0000", b"{", b"}", b"[", b"]", b"[" * 3000),
    *(b":", b",", b"'", b"-", b"#", b"&", b"*", b"%", b"<html>", b"../x", b"x" * 5000),
    *(b"null", b"true", b"0", b"-1", b"1e999", b"NaN", b"9" * 400, b"0.1"),
    *(b"ACTIVE", b"active", b"PENDING", b"BLOCKED", b"01012345678", b"0101234567\xd9\xa8", b"010-1234-5678"),
    *(b"9999-12-31T23:59:59Z", b"0001-01-01T00:00:00Z", b"GMT", b"+2400"),
)
_PARTS = st.sampled_from(_BITS) | st.binary(max_size=4)
"""Hypothesis checks a new strategy before its first draw, which takes longer than the draw."""


@st.composite
def mutated_texts(draw: st.DrawFn, seeds: st.SearchStrategy[bytes]) -> bytes:
    """Return one of the seeds with up to four spans replaced, some by unusual values."""
    text = draw(seeds)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(_PARTS) + text[end:]
    return text


def inputs(*seeds: bytes) -> st.SearchStrategy[bytes]:
    """Return mostly mutated seeds, and sometimes random bytes."""
    mutated = mutated_texts(st.sampled_from(seeds))
    return st.one_of(mutated, mutated, mutated, st.binary(max_size=200))


_STRANGE: tuple[Any, ...] = (
    *(None, True, 0, -1, 0.5, 2**70, 1e300, [], {}, [[]], {"a": 1}),
    *("", "0211", "0222", "010-1234-5678", "1" * 13, "ACTIVE", "INACTIVE", "BLOCKED", "activate", "deactivate"),
    *("https://evil.example", "ftp://x", "100%", "-1%", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"),
    *("\ud800", "\0", "a\r\nb\x1b[2J\u202e", "x" * 5000),
)
_ANY = st.sampled_from(_STRANGE).map(deepcopy)
_ALIKE = {
    kind: st.sampled_from([strange for strange in _STRANGE if type(strange) is kind]).map(deepcopy)
    for kind in set(map(type, _STRANGE))
}
_MUTATIONS = st.sampled_from(["alike", "alike", "alike", "replace", "drop", "double", "move"])
_COUNTS = st.sampled_from([1, 1, 2, 3])


@st.composite
def mutated_documents(draw: st.DrawFn, document: Any) -> bytes:
    """Return a JSON document with up to three values replaced, removed, duplicated or moved."""
    changed = deepcopy(document)
    for _ in range(draw(_COUNTS)):
        locations = list(_locations(changed))
        holder, key = locations[draw(st.integers(0, len(locations) - 1))]
        match draw(_MUTATIONS):
            case "alike":
                holder[key] = draw(_ALIKE[type(holder[key])])
            case "replace":
                holder[key] = draw(_ANY)
            case "drop":
                del holder[key]
            case "double" if isinstance(holder, list):
                holder.append(deepcopy(holder[key]))
            case _:
                other, source_key = locations[draw(st.integers(0, len(locations) - 1))]
                holder[key] = deepcopy(other[source_key])
        if not changed:
            break
    return json.dumps(changed).encode()


def _locations(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key or index of each value in a document."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _locations(inner)


def documents(document: Any, *more: bytes) -> st.SearchStrategy[bytes]:
    """Return a JSON document with mutated values or mutated text, and sometimes random bytes."""
    return st.one_of(
        mutated_documents(document), mutated_documents(document), inputs(json.dumps(document).encode(), *more)
    )


def _check_error(error: WorkerError) -> None:
    """Check that the text of an error is short and can be encoded in a document."""
    assert len(str(error)) < 700
    assert len(error.code) < 700
    assert json.loads(encode(error.number_error))["code"]


_FILES = [path.read_bytes() for path in sorted(Path("config/desired").glob("*.yaml"))]
_LISTED = b"""version: 1
account: "a"
account_id: '12'
endpoint: https://api.solapi.com
unmanaged: deactivate
safety: {max_deactivations: 30%, min_active: 1}
numbers:
- {phone: 112, status: active, protected: true}
- phone: "+82 2-312-4567"
  status: INACTIVE
  note: |
    old
    office
"""


@pytest.mark.slow
@fuzzed
@given(inputs(*_FILES, _LISTED))
def test_mutated_file_is_loaded_or_refused(data: bytes) -> None:
    """A refusal has problems that lie within the file and can be shown."""
    check(data)


_ACCOUNT = {
    "accountId": "12925149",
    "limit": 100,
    "senderIds": [
        {
            "phoneNumber": phone,
            "status": status,
            "handleKey": "SENDER0001",
            "method": "ARS",
            "expireAt": "2027-01-01T00:00:00.000Z",
            "dateUpdated": "2026-03-01T09:00:00.000+0900",
            "log": [{"createAt": "2026-03-01T00:00:00Z", "message": "상태 변경"}],
            "necessaryMeasures": None,
        }
        for phone, status in ((PHONE, "ACTIVE"), ("0212345678", "PENDING"), ("15881234", "HIBERNATING"))
    ],
    "limitationDocuments": [],
}
_DOCUMENT = json.dumps(_ACCOUNT, ensure_ascii=False, indent=2).encode()


@pytest.mark.slow
@fuzzed
@given(documents(_ACCOUNT, _DOCUMENT, b'{"accountId": 1}', b"{}"), st.integers(1, 400))
def test_mutated_account_document_is_an_account_or_an_error(body: bytes, piece: int) -> None:
    """Numbers have digits and dates parse, for any division of the document."""
    document = AccountDecoder()
    try:
        for start in range(0, len(body), piece):
            document.feed(body[start : start + piece])
        account = document.finish()
    except ServerError as error:
        _check_error(error)
        return
    assert all(phone.isascii() and phone.isdigit() for phone in account.numbers)
    assert all(isinstance(number.status, Status) for number in account.numbers.values())
    assert account.updated_at(account.numbers).keys() <= account.numbers.keys()


_ERROR = {
    "errorCode": "InvalidSenderId",
    "errorMessage": "등록되지 않은 번호입니다.",
    "senderIds": _ACCOUNT["senderIds"],
}
_ERRORS = (
    b'{"errorCode": "InvalidSenderId", "errorMessage": "\xeb\x93\xb1\xeb\xa1\x9d\xeb\x90\x98\xec\xa7\x80"}',
    b'{"errorCode": "TooManyRequests", "message": "slow down"}',
    b'{"errorCode":"ValidationError","errorMessage":"\\"apiKey\\" is required"}',
    b'{"errorCode": 400, "errorMessage": null, "more": {"a": [1, 2.5, true]}}',
    b"<html><head><title>502 Bad Gateway</title></head></html>",
    b'{"phoneNumber": "01012345678", "status": "ACTIVE"}',
)


@pytest.mark.slow
@fuzzed
@given(status=st.sampled_from(range(100, 600)), body=documents(_ERROR, *_ERRORS), is_write=st.booleans())
def test_any_error_body_is_one_short_error(status: int, body: bytes, *, is_write: bool) -> None:
    """Any body gives one WorkerError that fits a document. As a response to a write it is valid or ambiguous."""
    error = wire.refusal(status, body, is_write=is_write)
    assert isinstance(error, ApiError)
    assert error.http_status == status
    _check_error(error)
    try:
        assert isinstance(wire.write_response(body, PHONE).status, Status | None)
    except Ambiguous as doubt:
        _check_error(doubt)


_HEADERS = (
    b"Content-Length",
    b"Content-Encoding",
    b"Transfer-Encoding",
    b"Content-Type",
    b"Connection",
    b"Date",
    b"Retry-After",
    b"x-ratelimit-limit",
    b"x-ratelimit-remaining",
    b"X-RateLimit-Reset",
    b"Set-Cookie",
    b"Location",
)
_NAMES = st.sampled_from(_HEADERS) | st.sampled_from([b"Date", b"Retry-After"])
"""Two of them are computed with."""
_VALUES = (
    b"Fri, 15 Jan 2027 08:00:00 GMT",
    b"Fri, 15 Jan 2027 08:00:00 +0900",
    b"Fri, 31 Dec 9998 23:59:59 -2359",
    b"Fri, 31 Dec 9999 23:59:59 -2359",
    b"Mon, 01 Jan 0001 00:00:00 +2359",
    b"Fri Jan 15 08:00:00 2027",
    b"2027-01-15T08:00:00Z",
    b"7",
    b"86400",
    b"-1",
    b"1.5",
    b"gzip",
    b"GZIP, gzip",
    b"deflate",
    b"chunked",
    b"identity",
    b"close",
    b"application/json; charset=\xff",
    b"\xd9\xa3",
)
_BODIES = (_DOCUMENT, *_ERRORS, b'{"errorCode": "RequestTimeTooSkewed"}', b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xab\xae\x05\0")


class _RawServer:
    """Server on its own loop that sends the given bytes and closes the connection."""

    def __init__(self) -> None:
        self.response = b""
        self._runner = asyncio.Runner(loop_factory=loopback._Loop)

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._loopback = self._runner.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._stop())
        self._runner.__exit__(None, None, None)

    async def _start(self) -> Loopback:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return await Loopback(SandboxAccount.of({PHONE: "ACTIVE"})).__aenter__()

    async def _stop(self) -> None:
        await self._loopback.__aexit__(None, None, None)
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.response)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def exchange(self, response: bytes) -> float:
        """Read and write once each. Return the seconds until both ended and the quota is available again."""
        self.response = response
        return self._runner.run(self._exchange())

    async def _exchange(self) -> float:
        started_at = loopback.now()
        url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        quota = Quota(RateLimit(), clock=loopback.now)
        writer = self._loopback.writer(endpoint=Endpoint(url), retry=Retry(attempts=1), quota=quota)
        for call in (self._read(writer), self._loopback.write(writer, PHONE, Status.INACTIVE)):
            try:
                await call
            except WorkerError as error:
                _check_error(error)
        held = (window._paused_until for window in (quota.reads, quota.writes))
        return max(loopback.now(), *held) - started_at

    @staticmethod
    async def _read(writer: AccountWriter) -> None:
        assert (await writer.observe()).active >= 0
        offset = writer.clock_offset
        assert offset is None or abs(offset) < 10_000 * 366 * 86_400
        assert all(isinstance(value, str) for value in writer.rate_limit_headers.values())


@pytest.fixture(scope="module")
def raw_server() -> Iterator[_RawServer]:
    """Provide one server and one connection pool for all examples, on real sockets in virtual time."""
    with _RawServer() as serving:
        yield serving


@pytest.mark.slow
@fuzzed
@given(
    status=st.sampled_from([200, 200, 204, 206, 307, 400, 403, 403, 408, 429, 429, 500, 503, 999]),
    headers=st.lists(st.tuples(_NAMES, st.sampled_from(_VALUES) | inputs(*_VALUES)), max_size=5),
    body=st.sampled_from(_BODIES),
    has_length=st.booleans(),
)
def test_any_headers_end_in_a_response_or_an_error_in_time(
    raw_server: _RawServer, status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, has_length: bool
) -> None:
    """A read and a write end in time, and no header pauses the quota for more than a minute."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    if has_length:
        lines.append(b"Content-Length: %d\r\n" % len(body))
    response = b"HTTP/1.1 %d Whatever\r\n%b\r\n%b" % (status, b"".join(lines), body)
    # two requests, or four if the clock is corrected, of two seconds each, plus a minute for each window
    assert raw_server.exchange(response) <= 4 * 2 + 2 * 60 + 1


def _plan_file() -> dict[str, Any]:
    change = {"phone": "0211", "action": "activate", "observed": "INACTIVE", "desired": "ACTIVE", "reason": "listed"}
    down = {"phone": "0222", "action": "deactivate", "observed": "ACTIVE", "desired": "INACTIVE", "reason": "listed"}
    lost = {"phone": "0233", "action": "missing", "observed": None, "desired": "ACTIVE", "reason": "not registered"}
    account = {
        "account": "main",
        "account_id": "12925149",
        "source": "main.yaml",
        "endpoint": "solapi",
        "credentials": {"api_key": {"env": "MAIN_KEY"}, "api_secret": {"file": "/run/secrets/main"}},
        "safety": {"max_deactivations": "20%", "min_active": 1},
        "changes": [change, down],
        "impossible": [lost],
    }
    unreadable = {
        "account": "b",
        "account_id": None,
        "verdict": "error",
        "error": {"code": "Unauthorized", "message": "no"},
    }
    return {
        "schema": "senderid.saved-plan/v2",
        "id": "1d",
        "created_at": "2026-03-01T11:00:00Z",
        "version": "1",
        "fingerprint": "",
        "allow": ["min-active"],
        "accounts": [account],
        "left_out": [unreadable],
        "seal": "",
    }


def _is_valid_plan() -> SavedPlan:
    actual = msgspec.convert(_plan_file(), SavedPlan)
    return SavedPlan.of(
        actual.accounts,
        actual.left_out,
        id=actual.id,
        created_at=actual.created_at,
        version=actual.version,
        allow=actual.allow,
    )


def _resealed(data: bytes) -> bytes:
    """Return the plan file with a new fingerprint and seal, as anyone with write access could create it."""
    try:
        plan = msgspec.json.decode(data, type=SavedPlan)
        return seal(msgspec.structs.replace(plan, fingerprint=fingerprint(plan.accounts), seal=""))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return data


_PLAN = seal(_is_valid_plan())


@pytest.mark.slow
@fuzzed
@given(data=documents(json.loads(_PLAN), _PLAN), sealed=st.booleans())
@example(data=_PLAN, sealed=False)
def test_mutated_plan_file_is_refused_or_valid(data: bytes, *, sealed: bool) -> None:
    """The seal detects mutations. A mutated plan with a new seal is refused, or is a valid plan."""
    given_ = _resealed(data) if sealed else data
    try:
        plan = unseal(given_, now=NOON)
    except PlanFileError as error:
        _check_error(error)
        return
    for account in plan.accounts:
        assert all(_writes(change.phone, change.action, change.desired) for change in account.changes)
        assert as_plan(account).writes == account.changes
    if not sealed:
        assert plan == _is_valid_plan(), "a slip that the seal did not find"


def _writes(phone: str, action: str, desired: str) -> bool:
    expected = {"activate": "ACTIVE", "deactivate": "INACTIVE"}[action]
    return desired == expected and re.fullmatch(PHONE_PATTERN, phone) is not None
