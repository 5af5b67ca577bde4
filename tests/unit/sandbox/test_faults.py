"""Each fault of the simulated API does what its value says, and a seed repeats them all."""

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


class _Met:
    """What a client that knows nothing of faults met: a status, headers and body, or the name of what broke."""

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
        """The body, read."""
        return json.loads(self.body)


async def _request(loopback: Loopback, session: aiohttp.ClientSession, method: str, path: str) -> _Met:
    account = loopback.account
    met = _Met()
    header = Signer(credentials(account)).header(EPOCH + now(), f"{Random().random():.32f}"[:20])
    headers = {"Authorization": header, "Accept-Encoding": "identity"}
    began = now()
    try:
        async with session.request(
            method,
            loopback.sandbox.url + path,
            headers=headers,
            data=b'{"status": "INACTIVE"}' if method == "PUT" else None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=60),
        ) as response:
            met.status = response.status
            met.headers = {name.lower(): value for name, value in response.headers.items()}
            met.body = b"".join([chunk async for chunk in response.content.iter_any()])
    except (aiohttp.ClientError, TimeoutError) as error:
        met.broke = type(error).__name__
    met.seconds = now() - began
    met.statuses = account.statuses
    met.applied = loopback.sandbox.wire[-1].applied
    return met


def _meet(
    fault: Fault | None, method: str = "PUT", path: str | None = None, account: SandboxAccount | None = None
) -> _Met:
    """One request, after one that met nothing."""
    phone = PHONE if method == "PUT" else None
    path = path or (f"{NUMBERS}/{PHONE}" if method == "PUT" else NUMBERS)
    account = account or SandboxAccount.of({PHONE: "ACTIVE", OTHER: "ACTIVE"})

    async def scenario() -> _Met:
        session = aiohttp.ClientSession(
            auto_decompress=False, middlewares=(_never_again,), connector=aiohttp.TCPConnector(force_close=True)
        )
        async with Loopback(account) as loopback, session:
            loopback.sandbox.script(phone, method, [fault])
            return await _request(loopback, session, method, path)

    return run(scenario())


async def _never_again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
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
def test_a_write_meets_what_the_fault_says(fault: Fault) -> None:
    """Status or breakage are the fault's, and the write took effect exactly where the fault says so."""
    met = _meet(fault)
    assert met.broke == _BROKEN.get(fault, "")
    if not met.broke:
        assert met.status == _STATUSES.get(fault, 200)
    switched_back = fault in {Fault.EDITED_BEFORE, Fault.EDITED_AFTER}
    assert met.applied is (fault.takes_effect and fault is not Fault.EDITED_BEFORE)
    expected = "BLOCKED" if fault is Fault.EDITED_BEFORE else "INACTIVE"
    assert met.statuses == {
        PHONE: expected if fault.takes_effect and fault is not Fault.EDITED_AFTER else "ACTIVE",
        OTHER: "ACTIVE",
    }
    is_documented = "a write takes effect" in fault.value or "nothing takes effect" in fault.value
    if is_documented:
        assert ("a write takes effect" in fault.value) is fault.takes_effect
    assert switched_back or met.applied is (met.statuses[PHONE] == "INACTIVE")


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in _HUGE])
def test_a_read_meets_its_fault(fault: Fault) -> None:
    """A read never changes anything."""
    met = _meet(fault, "GET")
    assert met.broke == _BROKEN.get(fault, "")
    if not met.broke:
        assert met.status == (200 if fault is Fault.EDITED_BEFORE else _STATUSES.get(fault, 200))
    assert met.statuses == {PHONE: "ACTIVE", OTHER: "ACTIVE"}
    assert not met.applied


def test_a_request_that_is_refused_meets_its_fault_too() -> None:
    """What breaks on the way breaks for a refusal as well."""
    account = SandboxAccount.of({PHONE: "PENDING"})
    assert _meet(None, account=account).status == 409
    assert _meet(Fault.RESET_AFTER, account=account).broke == "ClientError"
    assert _meet(Fault.STALL, account=account).broke == "TimeoutError"
    assert _meet(Fault.SHORT_RESPONSE, account=account).json["errorCode"] == "FailedToUpdate"


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
def test_the_waits_that_are_asked_for(fault: Fault, wait: str | None) -> None:
    """Each kind of Retry-After is sent as its fault says."""
    assert _meet(fault).headers.get("retry-after") == wait


def test_the_words_of_refusals() -> None:
    """Codes, HTML and redirects are those of the vendor and its proxies."""
    codes = {
        Fault.DUPLICATED_SIGNATURE: "DuplicatedSignature",
        Fault.CLOCK_SKEW: "RequestTimeTooSkewed",
        Fault.INVALID_KEY: "InvalidApiKey",
        Fault.WRONG_SIGNATURE: "SignatureDoesNotMatch",
        Fault.FORBIDDEN: "Forbidden",
        Fault.NOT_REGISTERED: "InvalidSenderId",
        Fault.NOT_WRITABLE: "FailedToUpdate",
    }
    assert {fault: _meet(fault).json["errorCode"] for fault in codes} == codes
    for fault in (Fault.BAD_GATEWAY, Fault.UNAVAILABLE, Fault.HTML):
        met = _meet(fault)
        assert met.headers["content-type"] == "text/html"
        assert met.body.startswith(b"<html>")
    for fault in (Fault.GATEWAY_TIMEOUT, Fault.REQUEST_TIMEOUT, Fault.NO_CONTENT):
        assert _meet(fault).body == b""
    assert "\x1b" in _meet(Fault.ESCAPES).json["errorMessage"]
    assert "elsewhere" in _meet(Fault.REDIRECT).headers["location"]
    assert _meet(Fault.STRANGE_DATE).headers["date"] == "yesterday, around noon"


def test_bodies_that_are_none() -> None:
    """Garbage is no JSON, the other JSON no document, and what says gzip is none."""
    for fault in (Fault.GARBAGE, Fault.HTML):
        with pytest.raises(ValueError, match=r"decode|Expecting"):
            _meet(fault).json  # noqa: B018 - reading it is what fails
    assert isinstance(_meet(Fault.OTHER_JSON).json, list)
    met = _meet(Fault.NOT_GZIP)
    assert met.headers["content-encoding"] == "gzip"
    with pytest.raises(zlib.error):
        zlib.decompress(met.body, wbits=31)


def test_shapes_of_a_reply() -> None:
    """A reply may be stale, of one number, or two fields; these faults do not affect a read."""
    assert [row["status"] for row in _meet(Fault.STALE_ROWS).json["senderIds"]] == ["ACTIVE", "ACTIVE"]
    assert [row["phoneNumber"] for row in _meet(Fault.ONE_NUMBER_RESPONSE).json["senderIds"]] == [PHONE]
    assert _meet(Fault.SHORT_RESPONSE).json == {"phoneNumber": PHONE, "status": "INACTIVE"}
    plain = _meet(None, "GET").json
    for fault in (Fault.STALE_ROWS, Fault.ONE_NUMBER_RESPONSE, Fault.SHORT_RESPONSE):
        assert _meet(fault, "GET").json == plain


def test_documents_that_lack_something() -> None:
    """A read lacks the id, the list, both or every second number; a write and another read meet nothing."""
    phones = {PHONE: "ACTIVE", OTHER: "ACTIVE", "0311234567": "ACTIVE"}
    plain = _meet(None, "GET", account=SandboxAccount.of(phones)).json
    rows = plain["senderIds"]
    lacking = {
        Fault.NO_ACCOUNT_ID: {key: value for key, value in plain.items() if key != "accountId"},
        Fault.NO_NUMBER_LIST: {key: value for key, value in plain.items() if key != "senderIds"},
        Fault.NULL_NUMBER_LIST: plain | {"senderIds": None},
        Fault.EMPTY_OBJECT: {},
        Fault.SHRUNKEN: plain | {"senderIds": [rows[0], rows[2]]},
    }
    for fault, document in lacking.items():
        assert _meet(fault, "GET", account=SandboxAccount.of(phones)).json == document
        assert _meet(fault).json == _meet(None).json
        assert _meet(fault, "GET", f"{NUMBERS}/active").json == [PHONE, OTHER]
        assert _meet(fault, "GET", f"{NUMBERS}/nowhere").status == 404


def test_an_account_without_numbers_has_two_documents() -> None:
    """It is an empty object, or an id and an empty list."""
    assert _meet(None, "GET", account=SandboxAccount()).json == {}
    named = _meet(None, "GET", account=SandboxAccount(named_when_empty=True)).json
    assert (named["accountId"], named["senderIds"]) == ("12925149", [])


@pytest.mark.parametrize(
    ("fault", "encoding"), [(Fault.BLANK_ENCODING, ""), (Fault.X_GZIP, "x-gzip"), (Fault.TWO_GZIP_MEMBERS, "gzip")]
)
def test_rare_encodings(fault: Fault, encoding: str) -> None:
    """The header is the fault's, and the body is the document in that encoding."""
    met = _meet(fault, "GET")
    assert met.headers["content-encoding"] == encoding
    plain = gzip.decompress(met.body) if encoding else met.body
    assert json.loads(plain) == _meet(None, "GET").json
    first = zlib.decompressobj(wbits=31)
    if fault is Fault.TWO_GZIP_MEMBERS:
        assert first.decompress(met.body) != plain
        assert first.unused_data


def test_unknown_fields() -> None:
    """Any object has them, an empty one too; a list has no fields."""
    plain = _meet(None, "GET").json
    assert _meet(Fault.UNKNOWN_FIELDS, "GET").json == plain | {"zebra": {"stripes": [1, 2]}}
    assert "zebra" in _meet(Fault.UNKNOWN_FIELDS, "GET", account=SandboxAccount()).json
    assert _meet(Fault.UNKNOWN_FIELDS, "GET", f"{NUMBERS}/active").json == [PHONE, OTHER]


def test_another_account() -> None:
    """The answer names an account that is not ours."""
    assert _meet(Fault.OTHER_ACCOUNT, "GET").json["accountId"] == "99999999"


def test_slowness() -> None:
    """Late is a third of a second, drops come one by one, and a stall outlasts any patience."""
    assert _meet(None).seconds == 0
    assert _meet(Fault.SLOW).seconds == pytest.approx(0.3, abs=0.1)
    assert 0.1 < _meet(Fault.DRIP).seconds < 1
    assert _meet(Fault.STALL).seconds == pytest.approx(60, abs=1)


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.DRIP])
def test_client_that_leaves_early_harms_no_other(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    """Its write is carried out without an error, and the next client is served."""

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


def test_bomb_and_flood() -> None:
    """Half a megabyte becomes 300, and 80 travel as they are."""
    bomb = _meet(Fault.BOMB).body
    assert len(bomb) < 2_000_000
    inflater = zlib.decompressobj(wbits=31)
    size = 0
    while bomb:
        size += len(inflater.decompress(bomb, 1 << 24))
        bomb = inflater.unconsumed_tail
    assert inflater.eof
    assert size > 300 << 20
    flood = _meet(Fault.FLOOD)
    assert (len(flood.body), flood.headers["content-encoding"]) == (80 << 20, "gzip")


def _lots(profile: str, seed: int, requests: Sequence[tuple[str, str]]) -> list[Fault | None]:
    faults = Faults(profile, seed)
    return [faults.next(method, phone) for method, phone in requests]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_seed_repeats_every_fault(profile: str) -> None:
    """The same seed gives the same faults in the profile's share, and never too many to one request in a row."""
    chance = Random(1)
    requests = [(chance.choice(("GET", "PUT")), chance.choice((PHONE, OTHER))) for _ in range(4000)]
    lots = _lots(profile, 5, requests)
    assert lots == _lots(profile, 5, requests)
    allowed, share, most = PROFILES[profile]
    assert {lot for lot in lots if lot is not None} == set(allowed)
    assert sum(lot is not None for lot in lots) / len(lots) == pytest.approx(share, abs=0.05)
    for request in set(requests):
        own = [lot is not None for of, lot in zip(requests, lots, strict=True) if of == request]
        longest = max(map(len, "".join("x" if met else " " for met in own).split()), default=0)
        assert longest <= most
    if allowed:
        assert lots != _lots(profile, 6, requests)


def test_scripts_come_first_and_in_order() -> None:
    """A number's own script goes before the script for any number, which goes before the lot."""
    faults = Faults("calm", 0)
    faults.script("PUT", None, [Fault.HTML])
    faults.script("PUT", PHONE, [None, Fault.DRIP])
    assert [faults.next("PUT", PHONE) for _ in range(4)] == [None, Fault.DRIP, Fault.HTML, None]
    assert faults.next("GET", PHONE) is None


@pytest.mark.parametrize("numbers", [0, 1, 49, 500])
def test_a_seed_repeats_the_account(numbers: int) -> None:
    """The same seed gives the same numbers, statuses and keys; large accounts have some that cannot be switched."""
    account, again, other = generate(numbers, seed=3), generate(numbers, seed=3), generate(numbers, seed=4)
    assert account.document() == again.document()
    assert (
        (account.api_key, account.api_secret) == (again.api_key, again.api_secret) != (other.api_key, other.api_secret)
    )
    assert len(account.numbers) == numbers
    assert account.limit >= max(5, numbers)
    statuses = set(account.statuses.values())
    assert statuses <= {"ACTIVE", "INACTIVE"} or numbers >= 50
    if numbers == 500:
        assert len(statuses) > 3


def test_a_state_file_becomes_accounts() -> None:
    """A document is one account, a list of them as many, each with a key of its own; rows keep what they say."""
    document = generate(20, seed=1).document()
    (one,) = load_state(document)
    original = generate(20, seed=1)
    assert one.statuses == original.statuses
    assert {p: n.method for p, n in one.numbers.items()} == {p: n.method for p, n in original.numbers.items()}
    assert (one.account_id, one.limit) == (original.account_id, original.limit)
    first, second = load_state(
        b'[{"accountId": "1", "limit": 9}, {"senderIds": [{"phoneNumber": "1335", "status": "ODD"}]}]'
    )
    assert (first.account_id, first.limit, first.statuses) == ("1", 9, {})
    assert second.statuses == {"1335": "ODD"}
    assert first.api_key != second.api_key


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b'{"senderIds": [{}]}', b"\xff", b'{"x": ' + b"[" * 100_000])
def test_invalid_state_is_refused(text: bytes) -> None:
    """Each kind of error has a reason."""
    with pytest.raises(ValueError, match="account"):
        load_state(text)


def test_a_switch_shows_in_the_document() -> None:
    """A row follows its number, remembers the last changes and leaves other rows alone."""
    account = SandboxAccount.of({PHONE: "ACTIVE", OTHER: "ACTIVE"})
    before = json.loads(account.document())["senderIds"]
    for status in ("INACTIVE", "ACTIVE", "INACTIVE", "BLOCKED"):
        account.switch(PHONE, status)
    after = json.loads(account.document())["senderIds"]
    assert (after[0]["status"], len(after[0]["log"])) == ("BLOCKED", 3)
    assert after[1] == before[1]


def test_a_state_may_have_messages_and_schedules() -> None:
    """An account lists the messages and schedules of its given state; an invalid date is an error."""
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
