"""Faults of the simulated API: each one does what its value says, and a seed reproduces all of them."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Sequence
from random import Random
from typing import Any

import aiohttp
import pytest

from tests.support.loopback import EPOCH, Loopback, credentials, now, put, run
from worker.config.settings import Retry, Timeout
from worker.model.accounts import Status
from worker.model.errors import Ambiguous
from worker.sandbox import PROFILES, Fault, SandboxAccount, generate, load_state
from worker.sandbox.faults import Faults
from worker.solapi.signing import Signer

PHONE, OTHER = "01012345678", "0212345678"
NUMBERS = "/senderid/v1/numbers"


class _Exchange:
    """The response to one request, as a plain client sees it: status, headers and body, or the type of the error."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.broke = ""
        self.seconds = 0.0
        self.statuses: dict[str, str] = {}
        self.applied = False

    @property
    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)


async def _request(loopback: Loopback, session: aiohttp.ClientSession, method: str, path: str) -> _Exchange:
    account = loopback.account
    exchange = _Exchange()
    header = Signer(credentials(account)).header(EPOCH + now(), f"{Random().random():.32f}"[:20])
    headers = {"Authorization": header, "Accept-Encoding": "identity"}
    start = now()
    try:
        async with session.request(
            method,
            loopback.sandbox.url + path,
            headers=headers,
            data=b'{"status": "INACTIVE"}' if method == "PUT" else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=60),
        ) as response:
            exchange.status = response.status
            exchange.headers = {name.lower(): value for name, value in response.headers.items()}
            exchange.body = b"".join([chunk async for chunk in response.content.iter_any()])
    except (aiohttp.ClientError, TimeoutError) as error:
        exchange.broke = type(error).__name__
    exchange.seconds = now() - start
    exchange.statuses = account.statuses
    exchange.applied = loopback.sandbox.wire[-1].is_applied
    return exchange


def _exchange(
    fault: Fault | None, method: str = "PUT", path: str | None = None, account: SandboxAccount | None = None
) -> _Exchange:
    """Send one request that meets `fault`."""
    phone = PHONE if method == "PUT" else None
    path = path or (f"{NUMBERS}/{PHONE}" if method == "PUT" else NUMBERS)
    account = account or SandboxAccount.of({PHONE: "ACTIVE", OTHER: "ACTIVE"})

    async def scenario() -> _Exchange:
        session = aiohttp.ClientSession(
            auto_decompress=False, middlewares=(_forbid_reconnect,), connector=aiohttp.TCPConnector(force_close=True)
        )
        async with Loopback(account) as loopback, session:
            loopback.sandbox.script(phone, method, [fault])
            return await _request(loopback, session, method, path)

    return run(scenario())


async def _forbid_reconnect(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ServerDisconnectedError as error:
        raise aiohttp.ClientError(str(error)) from None
    except aiohttp.ClientOSError as error:
        raise aiohttp.ClientError(str(error)) from None


_STATUSES = {
    Fault.INTERNAL_ERROR: 500,
    Fault.BAD_GATEWAY: 502,
    Fault.UNAVAILABLE: 503,
    Fault.GATEWAY_TIMEOUT: 504,
    Fault.REQUEST_TIMEOUT: 408,
    Fault.FAILS_AFTERWARDS: 500,
    Fault.RATE_LIMITED: 429,
    Fault.RATE_LIMITED_FRACTIONALLY: 429,
    Fault.RATE_LIMITED_UNTIL: 429,
    Fault.RATE_LIMITED_SILENTLY: 429,
    Fault.RATE_LIMITED_BEFORE: 429,
    Fault.RATE_LIMITED_OBSCURELY: 429,
    Fault.RATE_LIMITED_FOR_A_YEAR: 429,
    Fault.NO_CONTENT: 204,
    Fault.DUPLICATED_SIGNATURE: 403,
    Fault.CLOCK_SKEW: 403,
    Fault.ESCAPES: 500,
    Fault.REDIRECT: 307,
    Fault.INVALID_KEY: 400,
    Fault.WRONG_SIGNATURE: 403,
    Fault.FORBIDDEN: 403,
    Fault.NOT_FOUND: 404,
    Fault.NOT_REGISTERED: 400,
    Fault.NOT_WRITABLE: 409,
    Fault.TEAPOT: 418,
    Fault.EDITED_BEFORE: 409,
}
_BROKEN = {
    Fault.RESET_BEFORE: "ClientError",
    Fault.RESET_AFTER: "ClientError",
    Fault.TRUNCATED: "ClientPayloadError",
    Fault.STALL: "TimeoutError",
}
_HUGE = {Fault.BOMB, Fault.FLOOD}


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in _HUGE])
def test_write_has_the_response_and_effect_of_its_fault(fault: Fault) -> None:
    """The write takes effect only if the fault says so."""
    exchange = _exchange(fault)
    assert exchange.broke == _BROKEN.get(fault, "")
    if not exchange.broke:
        assert exchange.status == _STATUSES.get(fault, 200)
    has_external_change = fault in {Fault.EDITED_BEFORE, Fault.EDITED_AFTER}
    assert exchange.applied is (fault.takes_effect and fault is not Fault.EDITED_BEFORE)
    expected = "BLOCKED" if fault is Fault.EDITED_BEFORE else "INACTIVE"
    assert exchange.statuses == {
        PHONE: expected if fault.takes_effect and fault is not Fault.EDITED_AFTER else "ACTIVE",
        OTHER: "ACTIVE",
    }
    is_documented = "a write takes effect" in fault.value or "nothing takes effect" in fault.value
    if is_documented:
        assert ("a write takes effect" in fault.value) is fault.takes_effect
    assert has_external_change or exchange.applied is (exchange.statuses[PHONE] == "INACTIVE")


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in _HUGE])
def test_read_has_the_response_of_its_fault(fault: Fault) -> None:
    """A read never changes a number."""
    exchange = _exchange(fault, "GET")
    assert exchange.broke == _BROKEN.get(fault, "")
    if not exchange.broke:
        assert exchange.status == (200 if fault is Fault.EDITED_BEFORE else _STATUSES.get(fault, 200))
    assert exchange.statuses == {PHONE: "ACTIVE", OTHER: "ACTIVE"}
    assert not exchange.applied


def test_faults_apply_to_rejected_requests() -> None:
    """A rejected request can break in the same ways."""
    account = SandboxAccount.of({PHONE: "PENDING"})
    assert _exchange(None, account=account).status == 409
    assert _exchange(Fault.RESET_AFTER, account=account).broke == "ClientError"
    assert _exchange(Fault.STALL, account=account).broke == "TimeoutError"
    assert _exchange(Fault.SHORT_RESPONSE, account=account).json["errorCode"] == "FailedToUpdate"


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        (Fault.RATE_LIMITED, "1"),
        (Fault.RATE_LIMITED_UNTIL, "Fri, 15 Jan 2027 08:00:01 GMT"),
        (Fault.RATE_LIMITED_FRACTIONALLY, "1.5"),
        (Fault.RATE_LIMITED_SILENTLY, None),
        (Fault.RATE_LIMITED_BEFORE, "-5"),
        (Fault.RATE_LIMITED_OBSCURELY, "soon"),
        (Fault.RATE_LIMITED_FOR_A_YEAR, "31536000"),
    ],
)
def test_retry_after_is_that_of_the_fault(fault: Fault, wait: str | None) -> None:
    assert _exchange(fault).headers.get("retry-after") == wait


def test_refusals_are_those_of_the_vendor_and_its_proxies() -> None:
    """Error codes, HTML pages and redirects are the documented ones."""
    codes = {
        Fault.DUPLICATED_SIGNATURE: "DuplicatedSignature",
        Fault.CLOCK_SKEW: "RequestTimeTooSkewed",
        Fault.INVALID_KEY: "InvalidApiKey",
        Fault.WRONG_SIGNATURE: "SignatureDoesNotMatch",
        Fault.FORBIDDEN: "Forbidden",
        Fault.NOT_REGISTERED: "InvalidSenderId",
        Fault.NOT_WRITABLE: "FailedToUpdate",
    }
    assert {fault: _exchange(fault).json["errorCode"] for fault in codes} == codes
    for fault in (Fault.BAD_GATEWAY, Fault.UNAVAILABLE, Fault.HTML):
        exchange = _exchange(fault)
        assert exchange.headers["content-type"] == "text/html"
        assert exchange.body.startswith(b"<html>")
    for fault in (Fault.GATEWAY_TIMEOUT, Fault.REQUEST_TIMEOUT, Fault.NO_CONTENT):
        assert _exchange(fault).body == b""
    assert "\x1b" in _exchange(Fault.ESCAPES).json["errorMessage"]
    assert "elsewhere" in _exchange(Fault.REDIRECT).headers["location"]
    assert _exchange(Fault.STRANGE_DATE).headers["date"] == "yesterday, around noon"


def test_invalid_bodies_cannot_be_decoded() -> None:
    """The bodies are not JSON, JSON of another type, or not gzip despite the header."""
    for fault in (Fault.GARBAGE, Fault.HTML):
        with pytest.raises(ValueError, match=r"decode|Expecting"):
            _exchange(fault).json  # noqa: B018 - reading it is what fails
    assert isinstance(_exchange(Fault.OTHER_JSON).json, list)
    exchange = _exchange(Fault.NOT_GZIP)
    assert exchange.headers["content-encoding"] == "gzip"
    with pytest.raises(zlib.error):
        zlib.decompress(exchange.body, wbits=31)


def test_write_response_can_be_stale_or_short() -> None:
    """A response is stale, of one number, or has two fields. These faults do not affect a read."""
    assert [row["status"] for row in _exchange(Fault.STALE_ROWS).json["senderIds"]] == ["ACTIVE", "ACTIVE"]
    assert [row["phoneNumber"] for row in _exchange(Fault.ONE_NUMBER_RESPONSE).json["senderIds"]] == [PHONE]
    assert _exchange(Fault.SHORT_RESPONSE).json == {"phoneNumber": PHONE, "status": "INACTIVE"}
    document = _exchange(None, "GET").json
    for fault in (Fault.STALE_ROWS, Fault.ONE_NUMBER_RESPONSE, Fault.SHORT_RESPONSE):
        assert _exchange(fault, "GET").json == document


def test_incomplete_documents_affect_only_the_account_read() -> None:
    """The document lacks the id, the list, both, or every second number."""
    phones = {PHONE: "ACTIVE", OTHER: "ACTIVE", "0311234567": "ACTIVE"}
    full_document = _exchange(None, "GET", account=SandboxAccount.of(phones)).json
    rows = full_document["senderIds"]
    documents = {
        Fault.NO_ACCOUNT_ID: {key: value for key, value in full_document.items() if key != "accountId"},
        Fault.NO_NUMBER_LIST: {key: value for key, value in full_document.items() if key != "senderIds"},
        Fault.NULL_NUMBER_LIST: full_document | {"senderIds": None},
        Fault.EMPTY_OBJECT: {},
        Fault.SHRUNKEN: full_document | {"senderIds": [rows[0], rows[2]]},
    }
    for fault, document in documents.items():
        assert _exchange(fault, "GET", account=SandboxAccount.of(phones)).json == document
        assert _exchange(fault).json == _exchange(None).json
        assert _exchange(fault, "GET", f"{NUMBERS}/active").json == [PHONE, OTHER]
        assert _exchange(fault, "GET", f"{NUMBERS}/nowhere").status == 404


def test_account_without_numbers_has_two_documents() -> None:
    """The document is an empty object, or an id and an empty list."""
    assert _exchange(None, "GET", account=SandboxAccount()).json == {}
    with_id = _exchange(None, "GET", account=SandboxAccount(named_when_empty=True)).json
    assert (with_id["accountId"], with_id["senderIds"]) == ("12925149", [])


@pytest.mark.parametrize(
    ("fault", "encoding"), [(Fault.BLANK_ENCODING, ""), (Fault.X_GZIP, "x-gzip"), (Fault.TWO_GZIP_MEMBERS, "gzip")]
)
def test_rare_encodings_are_valid(fault: Fault, encoding: str) -> None:
    """The header is that of the fault, and the body has that encoding."""
    exchange = _exchange(fault, "GET")
    assert exchange.headers["content-encoding"] == encoding
    document = gzip.decompress(exchange.body) if encoding else exchange.body
    assert json.loads(document) == _exchange(None, "GET").json
    decompressor = zlib.decompressobj(wbits=31)
    if fault is Fault.TWO_GZIP_MEMBERS:
        assert decompressor.decompress(exchange.body) != document
        assert decompressor.unused_data


def test_unknown_fields_are_added_to_objects() -> None:
    """A list has no fields."""
    document = _exchange(None, "GET").json
    assert _exchange(Fault.UNKNOWN_FIELDS, "GET").json == document | {"zebra": {"stripes": [1, 2]}}
    assert "zebra" in _exchange(Fault.UNKNOWN_FIELDS, "GET", account=SandboxAccount()).json
    assert _exchange(Fault.UNKNOWN_FIELDS, "GET", f"{NUMBERS}/active").json == [PHONE, OTHER]


def test_other_account_has_another_id() -> None:
    assert _exchange(Fault.OTHER_ACCOUNT, "GET").json["accountId"] == "99999999"


def test_slow_faults_take_their_time() -> None:
    """A slow response takes 0.3 s, a drip arrives in parts, and a stall exceeds the timeout."""
    assert _exchange(None).seconds == 0
    assert _exchange(Fault.SLOW).seconds == pytest.approx(0.3, abs=0.1)
    assert 0.1 < _exchange(Fault.DRIP).seconds < 1
    assert _exchange(Fault.STALL).seconds == pytest.approx(60, abs=1)


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.DRIP])
def test_client_that_disconnects_early_does_not_affect_others(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    """The write takes effect without an error, and the next client is served."""

    async def scenario() -> None:
        account = SandboxAccount.of({PHONE: "ACTIVE"})
        async with Loopback(account, timeout=Timeout(0.1, 0.1)) as loopback:
            loopback.sandbox.script(PHONE, "PUT", [fault])
            with pytest.raises(Ambiguous):
                await put(loopback.writer(retry=Retry(attempts=1)), PHONE, Status.INACTIVE)
            await asyncio.sleep(1)
            assert (await loopback.reader().observe()).numbers[PHONE].status is Status.INACTIVE

    run(scenario())
    assert not caplog.records


def test_bomb_and_flood_exceed_the_size_limit() -> None:
    """The bomb is less than 2 MB and inflates to 300 MiB. The flood is 80 MiB."""
    bomb = _exchange(Fault.BOMB).body
    assert len(bomb) < 2_000_000
    inflater = zlib.decompressobj(wbits=31)
    size = 0
    while bomb:
        size += len(inflater.decompress(bomb, 1 << 24))
        bomb = inflater.unconsumed_tail
    assert inflater.eof
    assert size > 300 << 20
    flood = _exchange(Fault.FLOOD)
    assert (len(flood.body), flood.headers["content-encoding"]) == (80 << 20, "gzip")


def _draw_faults(profile: str, seed: int, requests: Sequence[tuple[str, str]]) -> list[Fault | None]:
    faults = Faults(profile, seed)
    return [faults.next(method, phone) for method, phone in requests]


@pytest.mark.parametrize("profile", PROFILES)
def test_seed_reproduces_every_fault(profile: str) -> None:
    """The same seed gives the same faults, in the share of the profile and within its limit of consecutive faults."""
    chance = Random(1)
    requests = [(chance.choice(("GET", "PUT")), chance.choice((PHONE, OTHER))) for _ in range(4000)]
    drawn_faults = _draw_faults(profile, 5, requests)
    assert drawn_faults == _draw_faults(profile, 5, requests)
    allowed, share, limit = PROFILES[profile]
    assert {fault for fault in drawn_faults if fault is not None} == set(allowed)
    assert sum(fault is not None for fault in drawn_faults) / len(drawn_faults) == pytest.approx(share, abs=0.05)
    for request in set(requests):
        has_fault = [
            fault is not None for drawn_for, fault in zip(requests, drawn_faults, strict=True) if drawn_for == request
        ]
        longest = max(map(len, "".join("x" if is_fault else " " for is_fault in has_fault).split()), default=0)
        assert longest <= limit
    if allowed:
        assert drawn_faults != _draw_faults(profile, 6, requests)


def test_scripts_precede_random_faults() -> None:
    """The script of a number precedes the script of any number."""
    faults = Faults("calm", 0)
    faults.script("PUT", None, [Fault.HTML])
    faults.script("PUT", PHONE, [None, Fault.DRIP])
    assert [faults.next("PUT", PHONE) for _ in range(4)] == [None, Fault.DRIP, Fault.HTML, None]
    assert faults.next("GET", PHONE) is None


@pytest.mark.parametrize("numbers", [0, 1, 49, 500])
def test_seed_reproduces_the_account(numbers: int) -> None:
    """The same seed gives the same numbers, statuses and keys. Some numbers of large accounts are not writable."""
    account, same_account, other_account = (
        generate(numbers, seed=3),
        generate(numbers, seed=3),
        generate(numbers, seed=4),
    )
    assert account.document() == same_account.document()
    assert (
        (account.api_key, account.api_secret)
        == (same_account.api_key, same_account.api_secret)
        != (other_account.api_key, other_account.api_secret)
    )
    assert len(account.numbers) == numbers
    assert account.limit >= max(5, numbers)
    statuses = set(account.statuses.values())
    assert statuses <= {"ACTIVE", "INACTIVE"} or numbers >= 50
    if numbers == 500:
        assert len(statuses) > 3


def test_state_file_is_loaded_as_accounts() -> None:
    """A document is one account, a list several accounts, each with its own key. Rows keep their fields."""
    document = generate(20, seed=1).document()
    (account,) = load_state(document)
    original = generate(20, seed=1)
    assert account.statuses == original.statuses
    assert {phone: number.method for phone, number in account.numbers.items()} == {
        phone: number.method for phone, number in original.numbers.items()
    }
    assert (account.account_id, account.limit) == (original.account_id, original.limit)
    first, second = load_state(
        b'[{"accountId": "1", "limit": 9}, {"senderIds": [{"phoneNumber": "1335", "status": "ODD"}]}]'
    )
    assert (first.account_id, first.limit, first.statuses) == ("1", 9, {})
    assert second.statuses == {"1335": "ODD"}
    assert first.api_key != second.api_key


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b'{"senderIds": [{}]}', b"\xff", b'{"x": ' + b"[" * 100_000])
def test_invalid_state_is_refused(text: bytes) -> None:
    """The message says what is wrong with the account document."""
    with pytest.raises(ValueError, match="account"):
        load_state(text)


def test_switch_updates_the_document() -> None:
    """A row follows its number and has the last changes. Other rows stay unchanged."""
    account = SandboxAccount.of({PHONE: "ACTIVE", OTHER: "ACTIVE"})
    before = json.loads(account.document())["senderIds"]
    for status in ("INACTIVE", "ACTIVE", "INACTIVE", "BLOCKED"):
        account.switch(PHONE, status)
    after = json.loads(account.document())["senderIds"]
    assert (after[0]["status"], len(after[0]["log"])) == ("BLOCKED", 3)
    assert after[1] == before[1]


def test_state_may_have_messages_and_schedules() -> None:
    """An invalid date is an error."""
    document = (
        b'{"senderIds": [{"phoneNumber": "01012345678", "status": "ACTIVE", "autoExtension": true,'
        b' "necessaryMeasures": ["ID"]}],'
        b' "messages": [{"from": "01012345678", "dateUpdated": "2026-11-24T00:00:00Z"}],'
        b' "scheduled": [{"scheduledDate": "2026-12-24T00:00:00Z", "senders": ["01012345678"]}]}'
    )
    (account,) = load_state(document)
    row = account.numbers["01012345678"].row()
    assert (row["autoExtension"], row["necessaryMeasures"]) == (True, ["ID"])
    assert [message.sender for message in account.mailbox.sent] == ["01012345678"]
    assert [group.senders for group in account.mailbox.scheduled] == [["01012345678"]]
    with pytest.raises(ValueError, match="'soon' is not a date"):
        load_state(document.replace(b"2026-12-24T00:00:00Z", b"soon"))
