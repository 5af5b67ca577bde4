"""The simulated API makes the checks that the real one makes, and answers as it does."""

import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.support.loopback import EPOCH, Loopback, now, run
from worker.sandbox import Sandbox, SandboxAccount

PHONE = "01012345678"
NUMBERS = "/senderid/v1/numbers"


def _signed(account: SandboxAccount, *, date: str | None = None, salt: str | None = None, **wrong: str) -> str:
    """The header by the letter of the vendor's documentation."""
    moment = datetime.fromtimestamp(EPOCH + now(), UTC)
    date = moment.isoformat() if date is None else date
    salt = uuid4().hex if salt is None else salt
    given = {
        "apiKey": account.api_key,
        "date": date,
        "salt": salt,
        "signature": hmac.new(account.api_secret.encode(), (date + salt).encode(), sha256).hexdigest(),
    } | wrong
    return "HMAC-SHA256 " + ", ".join(f"{name}={value}" for name, value in given.items())


class _Caller:
    """Send requests, signed or not."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.account = next(iter(sandbox.accounts.values()))
        self.session = session
        self.headers: Mapping[str, str] = {}

    async def __call__(
        self, method: str, path: str = NUMBERS, *, header: str | None = None, body: bytes | None = None, **more: Any
    ) -> tuple[int, Any]:
        """The status, and the body as JSON; `headers` keeps the answer's."""
        headers = {"Authorization": _signed(self.account) if header is None else header}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        async with self.session.request(method, self.sandbox.url + path, headers=headers, data=body) as response:
            self.headers = response.headers
            return response.status, json.loads(await response.read())

    async def error(self, *given: Any, **more: Any) -> tuple[int, str]:
        """The status, and the code of a refusal."""
        status, body = await self(*given, **more)
        return status, body["errorCode"]

    async def put(self, phone: str = PHONE, status: str = "INACTIVE") -> tuple[int, Any]:
        """A write."""
        return await self("PUT", f"{NUMBERS}/{phone}", body=json.dumps({"status": status}).encode())


@asynccontextmanager
async def _calling(*accounts: SandboxAccount, **options: Any) -> AsyncIterator[_Caller]:
    given = accounts or (SandboxAccount.of({PHONE: "ACTIVE", "0212345678": "PENDING"}),)
    async with Loopback(*given, **options) as loopback, aiohttp.ClientSession() as session:
        yield _Caller(loopback.sandbox, session)


def test_a_read_and_a_write() -> None:
    """A signed read returns every number; a signed write changes one and returns the whole account afterwards."""

    async def scenario() -> None:
        async with _calling() as call:
            status, before = await call("GET")
            assert (status, before["accountId"]) == (200, "12925149")
            assert {row["phoneNumber"]: row["status"] for row in before["senderIds"]} == call.account.statuses
            status, after = await call.put()
            assert call.account.statuses[PHONE] == "INACTIVE"
            assert status == 200
            assert [row["status"] for row in after["senderIds"]] == ["INACTIVE", "PENDING"]
            assert after["senderIds"][0]["log"][-1]["message"].find("INACTIVE") > 0
            assert [request.applied for request in call.sandbox.wire] == [False, True]

    run(scenario())


@pytest.mark.parametrize(
    ("header", "refusal"),
    [
        (lambda a: _signed(a, signature="0" * 64), (403, "SignatureDoesNotMatch")),
        (lambda a: _signed(a, apiKey="NCSUNKNOWN"), (400, "InvalidApiKey")),
        (lambda a: _signed(a, salt="s" * 11), (400, "ValidationError")),
        (lambda a: _signed(a, salt="s" * 65), (400, "ValidationError")),
        (lambda a: _signed(a, date="2027-01-15T08:00:00"), (403, "RequestTimeTooSkewed")),
        (lambda a: _signed(a, date="today"), (400, "ValidationError")),
        (lambda a: _signed(a).replace("HMAC-SHA256", "Bearer"), (400, "ValidationError")),
        (lambda a: _signed(a).replace("salt=", "pepper="), (400, "ValidationError")),
        (lambda a: _signed(a, signature="é" * 64), (400, "ValidationError")),
        (lambda _: "Basic", (400, "ValidationError")),
        (lambda _: "", (401, "Unauthorized")),
    ],
)
def test_credentials_are_checked(header: Any, refusal: tuple[int, str]) -> None:
    """Whatever is wrong with the header has the vendor's status and code, and nothing is written."""

    async def scenario() -> None:
        async with _calling() as call:
            given = header(call.account)
            body = b'{"status": "INACTIVE"}'
            assert await call.error("PUT", f"{NUMBERS}/{PHONE}", header=given, body=body) == refusal
            assert call.account.statuses[PHONE] == "ACTIVE"
            assert not call.sandbox.wire[0].applied

    run(scenario())


@pytest.mark.parametrize("length", [12, 64])
def test_salts_of_either_end_are_accepted(length: int) -> None:
    """A salt may have 12 to 64 characters, both included."""

    async def scenario() -> int:
        async with _calling() as call:
            return (await call("GET", header=_signed(call.account, salt="s" * length)))[0]

    assert run(scenario()) == 200


def test_either_header_carries_the_credentials() -> None:
    """The seed's `Authentication` is read where `Authorization` is not there, and case does not matter."""

    async def scenario() -> None:
        async with _calling() as call:
            header = _signed(call.account)
            assert await call("GET", header="", Authentication=header) == await call("GET")
            shouted = _signed(call.account).replace("HMAC-SHA256 apiKey", "hmac-sha256 APIKEY")
            assert (await call("GET", header=shouted))[0] == 200

    run(scenario())


def test_the_clock_may_be_fifteen_minutes_off() -> None:
    """A date 900 seconds off either way is accepted, one a second further is refused, in any zone."""

    async def scenario() -> None:
        async with _calling() as call:
            server = datetime.fromtimestamp(EPOCH, UTC).astimezone(tz=None)
            for seconds, status in ((900, 200), (-900, 200), (901, 403), (-901, 403)):
                date = (server + timedelta(seconds=seconds)).isoformat()
                assert (await call("GET", header=_signed(call.account, date=date)))[0] == status

    run(scenario())


def test_a_signature_is_good_for_one_request_in_fifteen_minutes() -> None:
    """The same signature again is refused until it is forgotten, also in capitals; the refused one changed nothing."""
    skipped = 0.0

    async def scenario() -> None:
        nonlocal skipped
        async with _calling(clock=lambda: EPOCH + skipped) as call:
            ahead = datetime.fromtimestamp(EPOCH + 800, UTC).isoformat()
            header = _signed(call.account, date=ahead)
            head, _, signature = header.rpartition("=")
            assert (await call("GET", header=header))[0] == 200
            body = b'{"status": "INACTIVE"}'
            for again in (header, f"{head}={signature.upper()}"):
                refusal = await call.error("PUT", f"{NUMBERS}/{PHONE}", header=again, body=body)
                assert refusal == (403, "DuplicatedSignature")
            skipped = 899.0
            assert (await call("GET", header=header))[0] == 403
            skipped = 900.0
            assert (await call("GET", header=header))[0] == 200
            assert call.account.statuses[PHONE] == "ACTIVE"

    run(scenario())


def test_windows_slide_and_are_each_methods_and_keys_own() -> None:
    """Each key has a window for reads and one for writes; a slot is free again five seconds after it was taken."""
    moment = 0.0

    async def scenario() -> None:
        nonlocal moment
        first, second = (
            SandboxAccount.of({PHONE: "ACTIVE"}, api_key=f"NCS{name}", account_id=name) for name in ("ONE", "TWO")
        )
        async with _calling(first, second, rate_limit=(3, 2), monotonic=lambda: moment) as call:
            assert (await call("GET"))[0] == 200
            assert call.headers["x-ratelimit-limit"] == "2"
            assert call.headers["x-ratelimit-remaining"] == "1"
            assert call.headers["x-ratelimit-reset"] == "5.000"
            moment = 3.0
            assert (await call("GET"))[0] == 200
            assert call.headers["x-ratelimit-reset"] == "2.000"
            status, body = await call("GET")
            assert (status, body["errorCode"]) == (429, "TooManyRequests")
            assert "message" in body
            assert call.headers["Retry-After"] == "3"
            assert [(await call.put())[0] for _ in range(4)] == [200, 200, 200, 429]
            assert (await call("GET", header=_signed(second)))[0] == 200
            moment = 4.999
            assert (await call("GET"))[0] == 429
            moment = 5.0
            assert [(await call("GET"))[0] for _ in range(2)] == [200, 429]
            assert call.headers["Retry-After"] == "4"

    run(scenario())


@pytest.mark.parametrize(
    ("phone", "body", "refusal"),
    [
        ("0212345678", b'{"status": "ACTIVE"}', (409, "FailedToUpdate")),
        ("01099999999", b'{"status": "ACTIVE"}', (400, "InvalidSenderId")),
        (PHONE, b'{"status": "BLOCKED"}', (400, "ValidationError")),
        (PHONE, b'{"status": 1}', (400, "ValidationError")),
        (PHONE, b'["ACTIVE"]', (400, "ValidationError")),
        (PHONE, b"", (400, "ValidationError")),
        (PHONE, b'{"status": "INACTIVE"', (400, "ValidationError")),
        (PHONE, b"\xff", (400, "ValidationError")),
        (PHONE, b"[" * 100_000, (400, "ValidationError")),
        ("active", b'{"status": "ACTIVE"}', (400, "ValidationError")),
        ("01012345678%0A", b'{"status": "ACTIVE"}', (400, "ValidationError")),
    ],
)
def test_writes_are_checked(phone: str, body: bytes, refusal: tuple[int, str]) -> None:
    """A number that is not there, is not switchable or is no number, and a body that asks for nothing, are refused."""

    async def scenario() -> None:
        async with _calling() as call:
            before = call.account.statuses
            assert await call.error("PUT", f"{NUMBERS}/{phone}", body=body) == refusal
            assert call.account.statuses == before

    run(scenario())


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", f"{NUMBERS}/01012345678"), ("DELETE", NUMBERS), ("PUT", NUMBERS)]
)
def test_there_is_nothing_else(method: str, path: str) -> None:
    """A path or method that the API does not have is a 404 in its own words."""

    async def scenario() -> tuple[int, str]:
        async with _calling(rate_limit=(9, 9)) as call:
            return await call.error(method, path)

    assert run(scenario()) == (404, "ResourceNotFound")


def test_the_smaller_reads() -> None:
    """The ACTIVE numbers come as a list of digits, the balance as a number."""

    async def scenario() -> None:
        async with _calling() as call:
            assert await call("GET", f"{NUMBERS}/active") == (200, [PHONE])
            status, balance = await call("GET", "/cash/v1/balance")
            assert status == 200
            assert isinstance(balance["balance"], int)

    run(scenario())


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("/messages/v4/list?startDate=yesterday", (400, "ValidationError")),
        ("/messages/v4/list?dateType=SENT", (400, "ValidationError")),
        ("/messages/v4/list?limit=501", (400, "ValidationError")),
        ("/messages/v4/groups", (400, "ValidationError")),
        ("/messages/v4/groups/G4V1/messages", (404, "ResourceNotFound")),
        ("/messages/v4/other", (404, "ResourceNotFound")),
    ],
)
def test_queries_of_messages_are_checked(path: str, refusal: tuple[int, str]) -> None:
    """A query that the API would not take is refused, so that a client that sends one is found out."""

    async def scenario() -> tuple[int, str]:
        async with _calling() as call:
            return await call.error("GET", path)

    assert run(scenario()) == refusal


def test_messages_come_in_pages() -> None:
    """Each page has the key of the next, the last one none, and all of them together every message once."""

    async def scenario() -> None:
        account = SandboxAccount.of({PHONE: "ACTIVE"})
        for hour in range(5):
            account.add_sent(PHONE, datetime(2026, 11, 24, hour, tzinfo=UTC))
        async with _calling(account) as call:
            found: list[str] = []
            key = ""
            while True:
                status, page = await call("GET", f"/messages/v4/list?from={PHONE}&limit=2{key}")
                assert status == 200
                found += page["messageList"]
                if page["nextKey"] is None:
                    break
                key = f"&startKey={page['nextKey']}"
            assert len(found) == len(set(found)) == 5

    run(scenario())


def test_an_account_without_numbers_is_an_empty_document() -> None:
    """No number gives neither an error nor an account id."""

    async def scenario() -> None:
        async with _calling(SandboxAccount()) as call:
            assert await call("GET") == (200, {})
            assert await call("GET", f"{NUMBERS}/active") == (200, [])

    run(scenario())


def test_a_long_document_is_compressed_for_those_who_like_it() -> None:
    """From a kilobyte on an answer is compressed, if the client says that it can read that."""

    async def scenario() -> None:
        account = SandboxAccount.of({f"0101234{number:04}": "ACTIVE" for number in range(10)})
        async with _calling(account) as call:
            whole = await call("GET", Accept_Encoding="identity")
            assert "Content-Encoding" not in call.headers
            assert await call("GET", Accept_Encoding="gzip") == whole
            assert call.headers["Content-Encoding"] == "gzip"
            await call("GET", "/cash/v1/balance", Accept_Encoding="gzip")
            assert "Content-Encoding" not in call.headers

    run(scenario())


def test_taken_port_is_an_error() -> None:
    """Listening on it raises OSError; stopping a server that never listened does not."""

    async def scenario() -> None:
        async with _calling() as call:
            port = int(call.sandbox.url.rpartition(":")[2])
            second = Sandbox([SandboxAccount()])
            await second.stop()
            with pytest.raises(OSError, match="address already in use"):
                await second.start(port)
            await second.stop()

    run(scenario())
