"""The account document gives the same account whether it is read as a whole or in pieces; anything else is an error."""

import random
import re

import msgspec
import pytest

from worker.model.accounts import Observed, ObservedAccount, Status
from worker.model.errors import ServerError
from worker.sandbox import SandboxAccount, generate
from worker.solapi.account_document import AccountDecoder


def _document(*rows: dict[str, object], **more: object) -> bytes:
    return msgspec.json.encode({"accountId": "12925149", "limit": 5, "senderIds": rows, **more})


def _row(phone: str = "01000000000", status: str = "ACTIVE", **more: object) -> dict[str, object]:
    return {"phoneNumber": phone, "status": status, "expireAt": None, "handleKey": "SED", "log": [{"a": 1}], **more}


def _read(*pieces: bytes) -> ObservedAccount:
    document = AccountDecoder()
    for piece in pieces:
        document.feed(piece)
    return document.finish()


def _split(text: bytes, seed: int) -> list[bytes]:
    """Split a text into pieces of every size up to that of a network read."""
    chance = random.Random(seed)
    pieces = []
    while text:
        size = chance.choice([1, 100, 5_000, 300_000, 2_000_000])
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def _statuses(account: ObservedAccount) -> dict[str, str]:
    return {phone: number.status.value for phone, number in account.numbers.items()}


def test_account_document_is_decoded() -> None:
    """Numbers, statuses, expiry dates and the account id are read."""
    account = _read(_document(_row(), _row("0212345678", "INACTIVE", expireAt="2027-01-01T00:00:00.000Z")))
    assert account.account_id == "12925149"
    assert account.numbers == {
        "01000000000": Observed("01000000000", Status.ACTIVE),
        "0212345678": Observed("0212345678", Status.INACTIVE, "2027-01-01T00:00:00.000Z"),
    }


def test_unknown_fields_and_statuses_are_tolerated() -> None:
    """An unknown field is skipped. An unknown status is kept and cannot be written."""
    account = _read(_document(_row(status="HIBERNATING", zebra={"x": [1]}), news=True))
    status = account.numbers["01000000000"].status
    assert status == "HIBERNATING"
    assert not status.is_writable


@pytest.mark.parametrize(
    ("fields", "since"),
    [
        ({"dateUpdated": "2026-11-20T09:00:00.123Z"}, "2026-11-20T09:00:00Z"),
        ({"dateUpdated": "2026-11-20T18:00:00+09:00"}, "2026-11-20T09:00:00Z"),
        ({"log": [{"createAt": "2026-11-20T09:00:00Z"}, {"createAt": "2026-11-20T10:00:00Z"}]}, "2026-11-20T10:00:00Z"),
        ({"dateUpdated": None, "log": []}, None),
        ({"dateUpdated": "yesterday"}, None),
        ({"dateUpdated": "2026-11-20T09:00:00"}, None),
        ({"dateUpdated": "2100-01-01T00:00:00Z"}, "2100-01-01T00:00:00Z"),
        ({"dateUpdated": "2107-01-01T00:00:00Z"}, None),
        ({"dateUpdated": "9999-11-20T09:00:00Z"}, None),
        ({"dateUpdated": "0001-01-01T00:00:00Z"}, None),
    ],
)
def test_time_of_change_falls_back_to_the_log(fields: dict[str, object], since: str | None) -> None:
    """The date of the row wins over the date of its last log entry.

    A date without a zone or out of range is ignored.
    """
    account = _read(_document(_row() | fields))
    assert account.updated_at({"01000000000"}) == ({} if since is None else {"01000000000": since})
    assert account.updated_at(()) == {}


def test_numeric_account_id_equals_its_text() -> None:
    """Ids are compared as text, however they are written."""
    assert _read(b'{"accountId": 12925149, "senderIds": []}').account_id == "12925149"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"senderIds": 3}',
        b'{"senderIds": [{"phoneNumber": "01000000000"}]}',
        b'{"senderIds": [{"phoneNumber": "010", "status": 7}]}',
        b'{"senderIds": [{"phoneNumber": "../x", "status": "ACTIVE"}]}',
        b'{"senderIds": [{"phoneNumber": "010\xff", "status": "ACTIVE"}]}',
        _document(_row(), _row()),
        _document(_row(status="ACTIVE"), _row(status="INACTIVE")),
        _document(_row())[:-5],
    ],
)
def test_invalid_account_document_is_an_error(body: bytes) -> None:
    """Garbage, a truncated document, an invalid number and a repeated number are refused completely."""
    with pytest.raises(ServerError):
        _read(body)


@pytest.mark.parametrize("body", [b"{}", b" {\r\n\t} \n"])
def test_empty_object_is_an_account_without_numbers(body: bytes) -> None:
    """An empty object is the only valid document without an id and a list. Whitespace does not matter."""
    account = _read(body)
    assert (account.account_id, account.numbers) == (None, {})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"senderIds": []}, "keys are missing: accountId"),
        ({"senderIds": [_row()]}, "keys are missing: accountId"),
        ({"accountId": None, "senderIds": [_row()]}, "keys are missing: accountId"),
        ({"accountId": "", "senderIds": [_row()]}, "keys are missing: accountId"),
        ({"accountId": " ", "senderIds": []}, "keys are missing: accountId"),
        ({"accountId": "1"}, "keys are missing: senderIds"),
        ({"accountId": 0, "senderIds": None}, "keys are missing: senderIds"),
        ({"accountId": None, "senderIds": None}, "keys are missing: accountId, senderIds"),
        ({"limit": 5}, "keys are missing: accountId, senderIds"),
        ({"errorCode": None}, "keys are missing: accountId, senderIds"),
        ({"errorCode": "InvalidApiKey"}, "it is the error InvalidApiKey"),
        ({"accountId": True, "senderIds": []}, "Expected `int | str | null`"),
        ({"accountId": ["1"], "senderIds": []}, "Expected `int | str | null`"),
        ({"accountId": "1", "senderIds": {}}, "Expected `array | null`"),
        ([], "Expected `object`"),
        ("{}", "Expected `object`"),
        (None, "Expected `object`"),
    ],
)
def test_json_without_id_and_list_is_refused(body: object, reason: str) -> None:
    """The message has the reason, such as the missing keys, and the first 200 characters of the response."""
    text = msgspec.json.encode(body)
    with pytest.raises(ServerError) as caught:
        _read(text)
    assert str(caught.value).startswith(f"not an account document: {reason}")
    assert str(caught.value).endswith(f"; it starts with: {' '.join(text.decode().split())[:200]}")


def test_nul_in_an_account_id_is_replaced() -> None:
    """PostgreSQL stores none, so one such response would end each worker of a fleet."""
    assert _read(b'{"accountId": "1\\u00002", "senderIds": []}').account_id == "1\ufffd2"


@pytest.mark.parametrize("account_id", ["0", 0, 12925149, "x"])
def test_account_id_is_any_text_or_integer(account_id: object) -> None:
    """An account without numbers is valid if it has an id and a list."""
    assert _read(msgspec.json.encode({"accountId": account_id, "senderIds": []})).account_id == str(account_id)


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_empty_body_is_not_an_account_document(body: bytes) -> None:
    """An empty body differs from an empty object."""
    with pytest.raises(ServerError, match=r"^not an account document: it is empty$"):
        _read(body)


def test_html_page_is_reported_as_html() -> None:
    """The message contains the start of the page."""
    with pytest.raises(ServerError, match=r"it is an HTML page, as from a captive portal.*<title>Log in"):
        _read(b"\r\n <!DOCTYPE html><title>Log", b" in to Hotel Wi-Fi</title>")
    with pytest.raises(ServerError, match="or a firewall, with the title 'Log in to Hotel Wi-Fi'; it starts with"):
        _read(b"\r\n <!DOCTYPE html><title>Log", b" in to Hotel Wi-Fi</title>")
    with pytest.raises(ServerError, match="it is an HTML page"):
        _read(b"\xef\xbb\xbf<!DOCTYPE html>")


def test_error_message_contains_200_printable_characters() -> None:
    """Control, escape and invisible characters are removed, whitespace is collapsed, and the rest is cut."""
    with pytest.raises(ServerError) as caught:
        _read(b"\x00\x1b[31m\xe2\x80\xae", " 가\n\t나 ".encode() * 1000)
    excerpt = str(caught.value).partition("it starts with: ")[2]
    assert excerpt == ("[31m" + " 가 나" * 100)[:200]


def test_echoed_credentials_are_removed() -> None:
    """An error page of a proxy may contain the headers of the request. They are removed before the text is cut."""
    header = "Authorization: HMAC-SHA256 apiKey=NCS, date=2026, salt=0123456789abcdef, signature=deadbeef"
    with pytest.raises(ServerError) as caught:
        _read(f"<pre>{'x' * 190} {header}</pre>".encode())
    assert "HMAC" not in str(caught.value)
    assert str(caught.value).endswith("x Auth")
    with pytest.raises(ServerError) as caught:
        _read(f"<pre>Author\x00ization: x\nsal\x1bt=secretsalt {header}</pre>".encode())
    assert not any(secret in str(caught.value) for secret in ("secretsalt", "deadbeef", "0123456789abcdef"))


@pytest.mark.parametrize("phone", ["../x", "0101234567890", "01"])
def test_number_that_cannot_be_in_a_url_is_refused(phone: str) -> None:
    """The message contains the number and the reason."""
    with pytest.raises(ServerError, match=f"a number that is not 3 to 12 digits: '{re.escape(phone)}'"):
        _read(_document(_row(), _row(phone)))


@pytest.fixture(scope="module")
def large() -> SandboxAccount:
    """Return an account whose document spans several batches, with logs inside its rows."""
    account = generate(12_000, seed=3)
    for phone in list(account.numbers)[::3]:
        account.switch(phone, "INACTIVE")
        account.switch(phone, "ACTIVE")
    return account


@pytest.mark.parametrize("seed", range(5))
def test_document_in_pieces_is_the_same_account(large: SandboxAccount, seed: int) -> None:
    """Every number is read once with its status, at any boundaries of the pieces."""
    account = _read(*_split(large.document(), seed))
    assert account.account_id == large.account_id
    assert _statuses(account) == large.statuses


def test_whitespace_and_key_order_do_not_matter(large: SandboxAccount) -> None:
    """An indented document whose account id comes last gives the same account."""
    decoded = msgspec.json.decode(large.document())
    account_id = decoded.pop("accountId")
    text = msgspec.json.format(msgspec.json.encode({**decoded, "accountId": account_id}), indent=1)
    account = _read(*_split(text, 1))
    assert (account.account_id, _statuses(account)) == (large.account_id, large.statuses)


def test_row_separator_inside_a_text_is_text() -> None:
    """A long document is not split inside texts or inner lists that contain the separator of rows."""
    traps = [{"note": '},{"phoneNumber":"1","status":"ACTIVE"},{', "inner": [{"x": 1}, {"x": 2}]}] * 3
    rows = [_row(f"010{n:08}", log=traps) for n in range(9_000)]
    account = _read(*_split(_document(*rows), 2))
    assert list(account.numbers) == [row["phoneNumber"] for row in rows]


def test_long_document_is_buffered_one_batch_at_a_time(large: SandboxAccount) -> None:
    """Decoded bytes are released, so the buffer stays near one batch for any length of the document."""
    document = AccountDecoder()
    longest = 0
    for piece in _split(large.document(), 4):
        document.feed(piece)
        longest = max(longest, len(document._buffer))
    assert len(large.document()) > 5 << 20
    assert longest < 4 << 20


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text[:-2],
        lambda text: text.replace(b'"status":"ACTIVE"', b'"status":7', 1),
        lambda text: text.replace(b"},{", b"},,{", 1),
        lambda text: text.replace(b'"phoneNumber":"0', b'"phoneNumber":"/', 1),
        lambda text: text[:-2] + text[text.index(b"[{") :].replace(b"[{", b",{", 1),
        lambda text: text.replace(b'"accountId"', b'"accountID"', 1),
        lambda text: text.replace(b'"12925149"', b"null", 1),
        lambda text: text.replace(b'"senderIds":[', b'"senderIds":null,"rows":[', 1),
        lambda text: b"<html>" + text,
        lambda text: b"[" + text,
        lambda text: b'{"more":' + text + b"}",
        lambda text: text.replace(b'"senderIds"', b'"senderIDS"', 1) + b" " * (17 << 20),
        lambda _: b'{"senderIds":[' + b" " * (17 << 20) + b"]}",
    ],
)
def test_error_anywhere_in_a_long_document_is_reported(large: SandboxAccount, spoil: object) -> None:
    """A truncated, mistyped, repeated, nested or endless document is refused completely."""
    assert callable(spoil)
    with pytest.raises(ServerError):
        _read(*_split(spoil(large.document()), 5))


def test_number_count_is_limited(monkeypatch: pytest.MonkeyPatch, large: SandboxAccount) -> None:
    """An endless document cannot fill the memory with numbers."""
    monkeypatch.setattr("worker.solapi.account_document._NUMBERS_CAP", 5_000)
    with pytest.raises(ServerError, match="more than 5,000 numbers"):
        _read(*_split(large.document(), 6))


@pytest.mark.parametrize(
    ("fields", "extended", "measures"),
    [
        ({}, False, ()),
        ({"autoExtension": True, "necessaryMeasures": None}, True, ()),
        ({"autoExtension": False, "necessaryMeasures": []}, False, ()),
        (
            {"autoExtension": "true", "necessaryMeasures": ["BUSINESS_DOCUMENTS", "ID"]},
            False,
            ("BUSINESS_DOCUMENTS", "ID"),
        ),
        ({"autoExtension": {"from": 1}, "necessaryMeasures": "ID"}, False, ()),
        ({"autoExtension": 1, "necessaryMeasures": [1, None]}, False, ()),
        ({"necessaryMeasures": ["x" * 1000] * 100}, False, ("x" * 100,) * 10),
    ],
)
def test_invalid_optional_fields_are_unknown(
    fields: dict[str, object], measures: tuple[str, ...], *, extended: bool
) -> None:
    """Optional fields of a row are kept if they are valid and unknown otherwise. The account stays readable."""
    account = _read(_document(_row() | fields, _row("0211")))
    assert account.extended == (frozenset({"01000000000"}) if extended else frozenset())
    assert account.measures == ({"01000000000": measures} if measures else {})
    assert account.status("0211") is Status.ACTIVE


@pytest.mark.parametrize(
    ("limit", "known"), [(5, 5), (0, 0), (-1, None), ("5", None), (None, None), (2.5, None), ({}, None), (10**30, None)]
)
def test_invalid_registration_limit_is_unknown(limit: object, known: int | None) -> None:
    """Only an integer is a limit, at any position in the document."""
    assert _read(_document(_row(), limit=limit)).limit == known
    assert _read(msgspec.json.encode({"accountId": "1", "senderIds": [], "limit": limit})).limit == known
    assert _read(b'{"accountId": "1", "senderIds": []}').limit is None


_HTML = "not an account document: it is an HTML page, as from a captive portal, a proxy or a firewall"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (_document(_row(), _row()), "the account document contains 01000000000 twice"),
        (
            _document(_row("01")),
            "the account document contains a number that is not 3 to 12 digits: '01'",
        ),
        (
            b'{"errorCode": "Down"}',
            'not an account document: it is the error Down; it starts with: {"errorCode": "Down"}',
        ),
        (
            b'{"limit": 5}',
            'not an account document: keys are missing: accountId, senderIds; it starts with: {"limit": 5}',
        ),
        (
            b" <html>",
            f"{_HTML}; it starts with: <html>",
        ),
        (b" ", "not an account document: it is empty"),
    ],
)
def test_error_of_a_document_has_its_reason(body: bytes, message: str) -> None:
    with pytest.raises(ServerError) as raised:
        _read(body)
    assert str(raised.value) == message


def test_bytes_without_a_row_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit itself is accepted."""
    monkeypatch.setattr("worker.solapi.account_document._LONGEST", 3 << 20)
    document = AccountDecoder()
    document.feed(b"[" + b" " * ((3 << 20) - 1))
    with pytest.raises(ServerError) as raised:
        document.feed(b" ")
    assert str(raised.value) == "not an account document: 3 MiB without a row; it starts with: ["
