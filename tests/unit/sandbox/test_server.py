"""The simulated API makes the checks of the real one and returns the same responses."""

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


def _authorization(
    account: SandboxAccount, *, date: str | None = None, salt: str | None = None, **overrides: str
) -> str:
    """Return the header that the vendor's documentation describes."""
    moment = datetime.fromtimestamp(EPOCH + now(), UTC)
    date = moment.isoformat() if date is None else date
    salt = uuid4().hex if salt is None else salt
    fields = {
        "apiKey": account.api_key,
        "date": date,
        "salt": salt,
        "signature": hmac.new(account.api_secret.encode(), (date + salt).encode(), sha256).hexdigest(),
    } | overrides
    return "HMAC-SHA256 " + ", ".join(f"{name}={value}" for name, value in fields.items())


class _Caller:
    """A client that sends signed or unsigned requests."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.account = next(iter(sandbox.accounts.values()))
        self.session = session
        self.headers: Mapping[str, str] = {}

    async def __call__(
        self,
        method: str,
        path: str = NUMBERS,
        *,
        header: str | None = None,
        body: bytes | None = None,
        **extra_headers: Any,
    ) -> tuple[int, Any]:
        """Return the status and the decoded body; `headers` are those of the last response."""
        headers = {"Authorization": _authorization(self.account) if header is None else header}
        headers |= {name.replace("_", "-"): value for name, value in extra_headers.items()}
        async with self.session.request(method, self.sandbox.url + path, headers=headers, data=body) as response:
            self.headers = response.headers
            return response.status, json.loads(await response.read())

    async def error(self, *args: Any, **extra_headers: Any) -> tuple[int, str]:
        """Return the status and the error code of a rejected request."""
        status, body = await self(*args, **extra_headers)
        return status, body["errorCode"]

    async def put(self, phone: str = PHONE, status: str = "INACTIVE") -> tuple[int, Any]:
        """Write the status of a number."""
        return await self("PUT", f"{NUMBERS}/{phone}", body=json.dumps({"status": status}).encode())


@asynccontextmanager
async def _sandbox_client(*accounts: SandboxAccount, **options: Any) -> AsyncIterator[_Caller]:
    sandbox_accounts = accounts or (SandboxAccount.of({PHONE: "ACTIVE", "0212345678": "PENDING"}),)
    async with Loopback(*sandbox_accounts, **options) as loopback, aiohttp.ClientSession() as session:
        yield _Caller(loopback.sandbox, session)


def test_read_and_write_return_the_account() -> None:
    """A write returns the account after its change."""

    async def scenario() -> None:
        async with _sandbox_client() as call:
            status, before = await call("GET")
            assert (status, before["accountId"]) == (200, "12925149")
            assert {row["phoneNumber"]: row["status"] for row in before["senderIds"]} == call.account.statuses
            status, after = await call.put()
            assert call.account.statuses[PHONE] == "INACTIVE"
            assert status == 200
            assert [row["status"] for row in after["senderIds"]] == ["INACTIVE", "PENDING"]
            assert after["senderIds"][0]["log"][-1]["message"].find("INACTIVE") > 0
            assert [request.is_applied for request in call.sandbox.wire] == [False, True]

    run(scenario())


@pytest.mark.parametrize(
    ("header", "refusal"),
    [
        (lambda a: _authorization(a, signature="0" * 64), (403, "SignatureDoesNotMatch")),
        (lambda a: _authorization(a, apiKey="NCSUNKNOWN"), (400, "InvalidApiKey")),
        (lambda a: _authorization(a, salt="s" * 11), (400, "ValidationError")),
        (lambda a: _authorization(a, salt="s" * 65), (400, "ValidationError")),
        (lambda a: _authorization(a, date="2027-01-15T08:00:00"), (403, "RequestTimeTooSkewed")),
        (lambda a: _authorization(a, date="today"), (400, "ValidationError")),
        (lambda a: _authorization(a).replace("HMAC-SHA256", "Bearer"), (400, "ValidationError")),
        (lambda a: _authorization(a).replace("salt=", "pepper="), (400, "ValidationError")),
        (lambda a: _authorization(a, signature="é" * 64), (400, "ValidationError")),
        (lambda _: "Basic", (400, "ValidationError")),
        (lambda _: "", (401, "Unauthorized")),
    ],
)
def test_credentials_are_checked(header: Any, refusal: tuple[int, str]) -> None:
    """An invalid header gets the status and error code of the vendor, and nothing is written."""

    async def scenario() -> None:
        async with _sandbox_client() as call:
            authorization = header(call.account)
            body = b'{"status": "INACTIVE"}'
            assert await call.error("PUT", f"{NUMBERS}/{PHONE}", header=authorization, body=body) == refusal
            assert call.account.statuses[PHONE] == "ACTIVE"
            assert not call.sandbox.wire[0].is_applied

    run(scenario())


@pytest.mark.parametrize("length", [12, 64])
def test_salts_of_12_and_64_characters_are_accepted(length: int) -> None:
    async def scenario() -> int:
        async with _sandbox_client() as call:
            return (await call("GET", header=_authorization(call.account, salt="s" * length)))[0]

    assert run(scenario()) == 200


def test_either_header_has_the_credentials() -> None:
    """The old `Authentication` header is read if `Authorization` is missing. Case does not matter."""

    async def scenario() -> None:
        async with _sandbox_client() as call:
            header = _authorization(call.account)
            assert await call("GET", header="", Authentication=header) == await call("GET")
            header_in_other_case = _authorization(call.account).replace("HMAC-SHA256 apiKey", "hmac-sha256 APIKEY")
            assert (await call("GET", header=header_in_other_case))[0] == 200

    run(scenario())


def test_clock_skew_of_fifteen_minutes_is_accepted() -> None:
    """The limit is 900 seconds in both directions, in any time zone."""

    async def scenario() -> None:
        async with _sandbox_client() as call:
            server = datetime.fromtimestamp(EPOCH, UTC).astimezone(tz=None)
            for seconds, status in ((900, 200), (-900, 200), (901, 403), (-901, 403)):
                date = (server + timedelta(seconds=seconds)).isoformat()
                assert (await call("GET", header=_authorization(call.account, date=date)))[0] == status

    run(scenario())


def test_signature_is_accepted_once_in_fifteen_minutes() -> None:
    """A repeated signature is rejected, even in capitals, and the rejected write changes nothing."""
    skipped = 0.0

    async def scenario() -> None:
        nonlocal skipped
        async with _sandbox_client(clock=lambda: EPOCH + skipped) as call:
            date = datetime.fromtimestamp(EPOCH + 800, UTC).isoformat()
            header = _authorization(call.account, date=date)
            prefix, _, signature = header.rpartition("=")
            assert (await call("GET", header=header))[0] == 200
            body = b'{"status": "INACTIVE"}'
            for repeated_header in (header, f"{prefix}={signature.upper()}"):
                refusal = await call.error("PUT", f"{NUMBERS}/{PHONE}", header=repeated_header, body=body)
                assert refusal == (403, "DuplicatedSignature")
            skipped = 899.0
            assert (await call("GET", header=header))[0] == 403
            skipped = 900.0
            assert (await call("GET", header=header))[0] == 200
            assert call.account.statuses[PHONE] == "ACTIVE"

    run(scenario())


def test_each_method_and_key_has_its_own_sliding_window() -> None:
    """A slot is free again five seconds after it was taken."""
    moment = 0.0

    async def scenario() -> None:
        nonlocal moment
        first, second = (
            SandboxAccount.of({PHONE: "ACTIVE"}, api_key=f"NCS{name}", account_id=name) for name in ("ONE", "TWO")
        )
        async with _sandbox_client(first, second, rate_limit=(3, 2), monotonic=lambda: moment) as call:
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
            assert (await call("GET", header=_authorization(second)))[0] == 200
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
    """An unknown number, a number that is not writable, an invalid number and an invalid body are rejected."""

    async def scenario() -> None:
        async with _sandbox_client() as call:
            before = call.account.statuses
            assert await call.error("PUT", f"{NUMBERS}/{phone}", body=body) == refusal
            assert call.account.statuses == before

    run(scenario())


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", f"{NUMBERS}/01012345678"), ("DELETE", NUMBERS), ("PUT", NUMBERS)]
)
def test_unknown_path_or_method_is_not_found(method: str, path: str) -> None:
    """The error is that of the API."""

    async def scenario() -> tuple[int, str]:
        async with _sandbox_client(rate_limit=(9, 9)) as call:
            return await call.error(method, path)

    assert run(scenario()) == (404, "ResourceNotFound")


def test_active_numbers_and_balance_are_returned() -> None:
    """Active numbers are a list of digits, and the balance is a number."""

    async def scenario() -> None:
        async with _sandbox_client() as call:
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
    """An invalid query is rejected, so that tests detect a client that sends one."""

    async def scenario() -> tuple[int, str]:
        async with _sandbox_client() as call:
            return await call.error("GET", path)

    assert run(scenario()) == refusal


def test_messages_are_returned_in_pages() -> None:
    """A page has the key of the next page, the last one has none, and each message is returned once."""

    async def scenario() -> None:
        account = SandboxAccount.of({PHONE: "ACTIVE"})
        for hour in range(5):
            account.add_sent(PHONE, datetime(2026, 11, 24, hour, tzinfo=UTC))
        async with _sandbox_client(account) as call:
            messages: list[str] = []
            key = ""
            while True:
                status, page = await call("GET", f"/messages/v4/list?from={PHONE}&limit=2{key}")
                assert status == 200
                messages += page["messageList"]
                if page["nextKey"] is None:
                    break
                key = f"&startKey={page['nextKey']}"
            assert len(messages) == len(set(messages)) == 5

    run(scenario())


@pytest.mark.parametrize(
    ("since", "until", "count"),
    [("10:00", "12:00", 3), ("10:00", "11:00", 2), ("11:00", "11:00", 1), ("10:01", "11:59", 1), ("12:01", "13:00", 0)],
)
def test_range_of_messages_includes_both_ends(since: str, until: str, count: int) -> None:
    account = SandboxAccount.of({PHONE: "ACTIVE"})
    for hour in (10, 11, 12):
        account.add_sent(PHONE, datetime(2026, 11, 24, hour, tzinfo=UTC))
    query = {"startDate": f"2026-11-24T{since}Z", "endDate": f"2026-11-24T{until}Z"}
    page = json.loads(account.mailbox.respond("/messages/v4/list", query) or b"{}")
    assert len(page["messageList"]) == count


def test_document_follows_every_change() -> None:
    """The document is cached, until a number is switched or removed."""
    account = SandboxAccount.of({PHONE: "ACTIVE", "0212345678": "ACTIVE"})

    def statuses() -> dict[str, str]:
        rows = json.loads(account.document())["senderIds"]
        return {row["phoneNumber"]: row["status"] for row in rows}

    assert statuses() == {PHONE: "ACTIVE", "0212345678": "ACTIVE"}
    account.switch(PHONE, "INACTIVE")
    assert statuses() == {PHONE: "INACTIVE", "0212345678": "ACTIVE"}
    account.remove(PHONE)
    assert statuses() == {"0212345678": "ACTIVE"}


def test_account_without_numbers_is_an_empty_document() -> None:
    """The response is neither an error nor does it have an account id."""

    async def scenario() -> None:
        async with _sandbox_client(SandboxAccount()) as call:
            assert await call("GET") == (200, {})
            assert await call("GET", f"{NUMBERS}/active") == (200, [])

    run(scenario())


def test_long_document_is_compressed_on_request() -> None:
    """A response of at least a kilobyte is compressed if the client accepts it."""

    async def scenario() -> None:
        account = SandboxAccount.of({f"0101234{number:04}": "ACTIVE" for number in range(10)})
        async with _sandbox_client(account) as call:
            response = await call("GET", Accept_Encoding="identity")
            assert "Content-Encoding" not in call.headers
            assert await call("GET", Accept_Encoding="gzip") == response
            assert call.headers["Content-Encoding"] == "gzip"
            await call("GET", "/cash/v1/balance", Accept_Encoding="gzip")
            assert "Content-Encoding" not in call.headers

    run(scenario())


def test_taken_port_is_an_error() -> None:
    """`start` raises OSError. `stop` does not, even if the server was never started."""

    async def scenario() -> None:
        async with _sandbox_client() as call:
            port = int(call.sandbox.url.rpartition(":")[2])
            second = Sandbox([SandboxAccount()])
            await second.stop()
            with pytest.raises(OSError, match="address already in use"):
                await second.start(port)
            await second.stop()

    run(scenario())
