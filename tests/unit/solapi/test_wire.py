"""The wire format: three shapes of write responses, account documents with unknown content, one error per refusal."""

import msgspec
import pytest

from worker.model.accounts import Status
from worker.model.errors import (
    AccountRejected,
    Ambiguous,
    ApiError,
    ClockSkewed,
    NotRegistered,
    NotWritable,
    NumberRejected,
    RateLimited,
    ServerError,
    SignatureReused,
)
from worker.solapi import wire


def _document(*rows: dict[str, object], **more: object) -> bytes:
    return msgspec.json.encode({"accountId": "12925149", "limit": 5, "senderIds": rows, **more})


def _row(phone: str = "01000000000", status: str = "ACTIVE", **more: object) -> dict[str, object]:
    return {"phoneNumber": phone, "status": status, "expireAt": None, "handleKey": "SED", "log": [{"a": 1}], **more}


def test_numeric_account_id_equals_its_text() -> None:
    assert wire.write_response(b'{"accountId": 12925149}', "01000000000").account == "12925149"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (_document(_row("0212345678", "ACTIVE"), _row(status="INACTIVE")), Status.INACTIVE),
        (_document(_row(status="INACTIVE")), Status.INACTIVE),
        (b'{"phoneNumber": "01000000000", "status": "INACTIVE"}', Status.INACTIVE),
        (_document(_row("0212345678")), None),
        (b'{"phoneNumber": "0212345678", "status": "INACTIVE"}', None),
        (b"{}", None),
    ],
)
def test_response_in_any_shape_gives_the_written_number_only(body: bytes, status: Status | None) -> None:
    assert wire.write_response(body, "01000000000").status is status


@pytest.mark.parametrize("body", [b"", b"OK", b"[]", b"<html>", b'{"status": ', b'{"errorCode": "InternalError"}'])
def test_unclear_response_makes_the_write_ambiguous(body: bytes) -> None:
    """A 200 without a valid body does not prove the write."""
    with pytest.raises(Ambiguous) as error:
        wire.write_response(body, "01000000000")
    assert error.value.http_status == 200


_REFUSALS: list[tuple[int, str | None, str, type[ApiError], type[ApiError]]] = [
    # status, errorCode, message, after a read, after a write
    (400, "InvalidSenderId", "", AccountRejected, NotRegistered),
    (409, "FailedToUpdate", "", AccountRejected, NotWritable),
    (400, "InvalidApiKey", "", AccountRejected, AccountRejected),
    (403, "InvalidAPIKey", "", AccountRejected, AccountRejected),
    (400, "SignatureDoesNotMatch", "", AccountRejected, AccountRejected),
    (403, "SignatureDoesNotMatch", "", AccountRejected, AccountRejected),
    (401, "Unauthorized", "", AccountRejected, AccountRejected),
    (401, None, "", AccountRejected, AccountRejected),
    (407, None, "", AccountRejected, AccountRejected),
    (400, "ValidationError", '"apiKey" is required', AccountRejected, AccountRejected),
    (400, "ValidationError", '"status" must be one of', AccountRejected, NumberRejected),
    (400, "InvalidToken", "", AccountRejected, AccountRejected),
    (403, "Forbidden", "", AccountRejected, AccountRejected),
    (403, None, "", AccountRejected, AccountRejected),
    (403, "RequestTimeTooSkewed", "", ClockSkewed, ClockSkewed),
    (403, "DuplicatedSignature", "", SignatureReused, SignatureReused),
    (429, "TooManyRequests", "", RateLimited, RateLimited),
    (404, "ResourceNotFound", "", AccountRejected, NumberRejected),
    (418, "Teapot", "", AccountRejected, NumberRejected),
    (408, None, "", ServerError, Ambiguous),
    *((status, None, "", ServerError, Ambiguous) for status in (500, 501, 502, 503, 504, 520, 599)),
    *((status, None, "", ServerError, Ambiguous) for status in (201, 202, 204, 206)),
    *((status, None, "", AccountRejected, AccountRejected) for status in (300, 301, 302, 303, 304, 307, 308)),
]


@pytest.mark.parametrize(("status", "code", "message", "after_read", "after_write"), _REFUSALS)
def test_each_error_response_is_one_error(
    status: int, code: str | None, message: str, after_read: type[ApiError], after_write: type[ApiError]
) -> None:
    """Every row of the vendor's error table maps to one type. A write whose response is lost is ambiguous."""
    body = msgspec.json.encode({"errorCode": code, "errorMessage": message}) if code else b""
    for write, kind in ((False, after_read), (True, after_write)):
        error = wire.refusal(status, body, is_write=write)
        assert type(error) is kind
        assert error.http_status == status
        assert error.api_code == code


def test_every_status_except_200_is_one_error() -> None:
    """Known and unknown statuses map to an `ApiError`."""
    for status in range(201, 600):
        for write in (False, True):
            assert isinstance(wire.refusal(status, b"", is_write=write), ApiError), status


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500])
def test_html_page_is_not_a_response_of_the_api(status: int) -> None:
    """An HTML page gives no information about credentials or numbers, with any status."""
    page = b"\n <html><body>Forbidden</body></html>"
    assert type(wire.refusal(status, page, is_write=False)) is ServerError
    assert type(wire.refusal(status, page, is_write=True)) is Ambiguous


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"<html><TITLE lang=ko>\n Log in &amp; surf\n</TITLE>", "Log in & surf"),
        ("<title>호텔 와이파이</title>".encode(), "호텔 와이파이"),
        ("<title>호텔 와이파이</title>".encode("cp949"), "호텔 와이파이"),
        (b"<title>\x1b[31mred\x07</title>", "[31mred"),
        (b"<title>Authorization: HMAC-SHA256 canary</title>", "Authorization=[removed]"),
        (b"<title>" + b"x" * 500 + b"</title>", "x" * 80),
    ],
)
def test_title_of_a_web_page_is_named(page: bytes, title: str) -> None:
    """The title shows the operator whose page it is."""
    error = wire.refusal(403, page, is_write=False)
    assert str(error) == (
        "HTTP 403 with a web page instead of JSON, probably from a proxy, a firewall or a captive portal, with the "
        f"title {title!r}"
    )


@pytest.mark.parametrize("page", [b"<html>", b"<title></title>", b"<title>\x07</title>", b"<title>never closed"])
def test_web_page_without_a_title_is_named(page: bytes) -> None:
    assert str(wire.refusal(200, page, is_write=True)).endswith("a proxy, a firewall or a captive portal")


def test_message_key_of_a_429_is_read() -> None:
    """A 429 calls its text `message`. A wait from the headers is kept."""
    error = wire.refusal(429, b'{"errorCode": "TooManyRequests", "message": "slow"}', is_write=True, retry_after=3.0)
    assert isinstance(error, RateLimited)
    assert (str(error), error.retry_after) == ("slow", 3.0)


def test_api_message_is_cut() -> None:
    """A message of a megabyte floods neither the log nor the report."""
    error = wire.refusal(
        418, msgspec.json.encode({"errorCode": "x" * 10**6, "errorMessage": "y" * 10**6}), is_write=True
    )
    assert (str(error), error.code) == ("y" * 500 + "…", "x" * 500 + "…")
    assert wire.brief("z" * 500) == "z" * 500


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30", 30),
        (" 30\t", 30),
        ("30.0", 30),
        ("30.5", 31),
        ("0.001", 1),
        ("30.000000000001", 31),
        ("9" * 40, 999_999_999),
        ("-1", None),
        ("+30", None),
        ("1e3", None),
        ("inf", None),
        ("nan", None),
        ("30.", None),
        (".5", None),
        ("30.5.1", None),
        ("30 s", None),
        ("1_0", None),
        ("٣٠", None),
        ("", None),
    ],
)
def test_wait_in_the_message_is_rounded_up(text: str, seconds: float | None) -> None:
    """An early retry would be refused again. Any other text is ignored."""
    assert wire.retry_after({"Retry-After": text}) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:03 GMT"}, None),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:03 GMT", "Date": "Fri, 15 Jan 2027 08:00:00 GMT"}, 3),
        ({"Retry-After": "Fri, 15 Jan 2027 17:00:03 +0900", "Date": "Fri, 15 Jan 2027 08:00:00 -0000"}, 3),
    ],
)
def test_date_of_a_retry_is_relative_to_the_date_of_the_response(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert wire.retry_after(headers) == seconds
