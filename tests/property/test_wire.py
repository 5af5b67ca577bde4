"""For any bytes, the wire format gives a value or a WorkerError."""

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from worker.model.accounts import ObservedAccount, Status
from worker.model.errors import Ambiguous, ApiError, ServerError
from worker.solapi import wire
from worker.solapi.account_document import AccountDecoder

_NAMES = st.sampled_from(
    ["accountId", "senderIds", "phoneNumber", "status", "expireAt", "errorCode", "errorMessage", "message", "zebra"]
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.from_regex(r"[0-9]{3,12}"),
)
_ROWS = st.lists(
    st.fixed_dictionaries({"phoneNumber": st.from_regex(r"\A[0-9]{3,12}\Z"), "status": st.sampled_from(list(Status))}),
    max_size=3,
)
_NEARLY_ACCOUNTS = st.fixed_dictionaries(
    {}, optional={"accountId": _SCALARS, "senderIds": _ROWS | _SCALARS, "limit": _SCALARS}
)
"""Objects that are account documents, or lack what makes one."""
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=5), max_leaves=20
)
_BODIES = st.one_of(
    st.binary(max_size=200),
    _JSON.map(msgspec.json.encode),
    _NEARLY_ACCOUNTS.map(msgspec.json.encode),
    st.builds(lambda value, cut: msgspec.json.encode(value)[:cut], _JSON, st.integers(0, 60)),
)
_DEEP = b'{"zebra": ' + b"[" * 100_000
_HUGE = b'{"accountId": ' + b"9" * 10_000 + b', "errorCode": ' + b"9" * 10_000 + b"}"
_HALF = b'{"accountId": "\\ud800", "errorMessage": "\\udfff"}'


def _account(body: bytes, piece: int) -> ObservedAccount | ServerError:
    document = AccountDecoder()
    try:
        for start in range(0, len(body), piece):
            document.feed(body[start : start + piece])
        return document.finish()
    except ServerError as error:
        return error


@given(_BODIES, st.integers(1, 50))
@example(_DEEP, 1 << 20)
@example(_HUGE, 1 << 20)
@example(_HALF, 1 << 20)
def test_any_document_is_an_account_or_an_error(body: bytes, piece: int) -> None:
    """Every number has digits and a status, for any division of the bytes."""
    account = _account(body, piece)
    if isinstance(account, ServerError):
        assert len(str(account)) < 700
        return
    decoded = msgspec.json.decode(body)
    if account.account_id is None:
        assert decoded == {}
    else:
        assert account.account_id == str(decoded["accountId"]) != ""
        assert [row["phoneNumber"] for row in decoded["senderIds"]] == list(account.numbers)
    for phone, number in account.numbers.items():
        assert phone == number.phone
        assert phone.isascii()
        assert phone.isdigit()
        assert isinstance(number.status, Status)


def _response(body: bytes) -> wire.WriteResponse | Ambiguous:
    try:
        return wire.write_response(body, "01012345678")
    except Ambiguous as error:
        return error


@given(_BODIES)
@example(_DEEP)
@example(_HUGE)
@example(_HALF)
def test_any_response_to_a_write_is_valid_or_ambiguous(body: bytes) -> None:
    """A readable response gives a status or None for a number."""
    response = _response(body)
    if isinstance(response, Ambiguous):
        assert len(str(response)) < 700
        return
    assert isinstance(response.status, Status | None)
    assert response.account is None or isinstance(response.account, str)


@given(status=st.integers(100, 999), body=_BODIES, is_write=st.booleans())
@example(status=500, body=_DEEP, is_write=True)
@example(status=400, body=_HUGE, is_write=True)
@example(status=400, body=_HALF, is_write=False)
def test_any_refusal_is_one_short_error(status: int, body: bytes, *, is_write: bool) -> None:
    """Every status and body gives one error, which keeps the status."""
    error = wire.refusal(status, body, is_write=is_write)
    assert isinstance(error, ApiError)
    assert error.http_status == status
    assert len(str(error)) < 700
    assert len(error.code) < 700
