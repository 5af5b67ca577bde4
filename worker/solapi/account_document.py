"""The account document, read piece by piece, so that a million rows take the memory of what is kept of them.

Pure: bytes in, a value or an error out.
"""

import re
from array import array
from codecs import BOM_UTF8
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec
from msgspec import Struct

from worker.model.accounts import PHONE_PATTERN, Observed, ObservedAccount, Status
from worker.model.errors import ServerError
from worker.model.messages import Message, PhoneNumber
from worker.solapi.wire import EXCERPT_BYTES, UNREADABLE, brief, count, excerpt, identifier

__all__ = ["AccountDecoder"]

_BATCH: Final = 1 << 20
"""Bytes that are decoded at once. Shorter documents are decoded whole."""
_LONGEST: Final = 16 << 20
"""Bytes in which an end of a row must be found; a row is some hundred."""
_TRIES: Final = 32
"""Places at which a row may seem to end, while only something inside it does."""
_NUMBERS_CAP: Final = 2_000_000
"""Numbers of one account: twice what a file may well hold."""
_CODE_LENGTH: Final = 64
"""Characters of an error's code that a message shows."""

_begin: Final = re.compile(rb'"senderIds"\s*:\s*\[').search
_ends: Final = re.compile(rb"\}\s*,(?=\s*\{)").finditer
_phone: Final = re.compile(PHONE_PATTERN, re.ASCII).fullmatch


_FIRST_YEAR: Final = 1971
_LAST_YEAR: Final = 2106
"""Years whose seconds are whole numbers of 32 bits."""

_ABSENT: Final = msgspec.Raw(b"null")
_MEASURES: Final = 10
_MEASURE_LENGTH: Final = 100
"""Measures of a number, and characters of one, that are kept."""


class _Logged(Struct, gc=False, rename={"at": "createAt"}):
    at: str | None = None


class _SenderIdRow(
    Struct,
    gc=False,
    rename={
        "phone": "phoneNumber",
        "expires_at": "expireAt",
        "updated_at": "dateUpdated",
        "extension": "autoExtension",
        "necessary": "necessaryMeasures",
    },
):
    """A row of `senderIds`. Optional information is kept raw, so that an unexpected form does not fail the row."""

    phone: str
    status: Status
    expires_at: str | None = None
    updated_at: str | None = None
    log: list[_Logged] | None = None
    extension: msgspec.Raw = _ABSENT
    necessary: msgspec.Raw = _ABSENT

    @property
    def extended(self) -> bool:
        """Whether the vendor extends the registration automatically, by its own account."""
        return bytes(self.extension) == b"true"

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that an operator still has to take for the number; empty if the API sends no list of texts."""
        raw = bytes(self.necessary)
        if raw == b"null":
            return ()
        try:
            found = _TEXTS.decode(raw)
        except UNREADABLE:
            return ()
        return tuple(brief(text)[:_MEASURE_LENGTH] for text in found[:_MEASURES])

    @property
    def updated(self) -> int:
        """The Unix second of the last change; 0 if the API sends none or no valid time with a UTC offset."""
        text = self.updated_at or (self.log[-1].at if self.log else None)
        if text is None:
            return 0
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return 0
        if moment.tzinfo is None or not _FIRST_YEAR <= moment.year < _LAST_YEAR:
            return 0
        return int(moment.timestamp())


_TEXTS: Final = msgspec.json.Decoder(list[str])


class _Document(Struct, gc=False, rename={"account_id": "accountId", "rows": "senderIds", "error_code": "errorCode"}):
    account_id: str | int | None = None
    rows: list[_SenderIdRow] | None = None
    error_code: str | int | None = None
    limit: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def missing(self) -> tuple[str, ...]:
        """The keys that every account document has and this one lacks."""
        unnamed = self.account_id is None or not str(self.account_id).strip()
        return ("accountId",) * unnamed + ("senderIds",) * (self.rows is None)


_DOCUMENT: Final = msgspec.json.Decoder(_Document)
_ROWS: Final = msgspec.json.Decoder(list[_SenderIdRow])


class AccountDecoder:
    """The decoder of account documents, fed in pieces. Every reader of such a document uses it.

    An account document has an `accountId` (a non-empty string or an integer) and `senderIds` (a list). The one
    exception is an empty JSON object: an account without numbers, whose id stays unknown. Any other reply is an error.

    A batch of rows ends where what was cut off is valid JSON: a cut inside a row leaves a bracket or a quote open.
    """

    def __init__(self) -> None:
        self._opening = b""
        self._head = b""
        self._rest = bytearray()
        self._numbers: dict[str, Observed] = {}
        self._updated = array("I")
        self._extended: set[str] = set()
        self._measures: dict[str, tuple[str, ...]] = {}

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            ServerError: the reply is not an account document, or contradicts itself.
        """
        if len(self._opening) < EXCERPT_BYTES:
            self._opening = (self._opening + piece[:EXCERPT_BYTES])[:EXCERPT_BYTES]
        self._rest += piece
        if len(self._rest) >= _BATCH and (self._head or self._begun()):
            self._take_rows()
        if len(self._rest) > _LONGEST:
            raise self._unlike(Message("{longest} MiB without a row", longest=_LONGEST >> 20))

    def finish(self) -> ObservedAccount:
        """Return the account, once every piece was fed.

        Raises:
            ServerError: the reply is not an account document, or contradicts itself. The message has its first 200
                printable characters.
        """
        whole = self._head + self._rest
        try:
            document = _DOCUMENT.decode(whole)
        except UNREADABLE as error:
            raise self._unreadable(error) from None
        if document.error_code is not None:
            raise self._unlike(
                Message("it is the error {error_code}", error_code=brief(str(document.error_code))[:_CODE_LENGTH])
            )
        if document.missing and b"".join(whole.split()) != b"{}":
            raise self._unlike(Message("keys are missing: {missing}", missing=", ".join(document.missing)))
        self._add(document.rows or [])
        return ObservedAccount(
            identifier(document.account_id),
            self._numbers,
            self._updated,
            frozenset(self._extended),
            self._measures,
            count(document.limit),
        )

    def _begun(self) -> bool:
        """Whether the list of rows has begun; what stands before it is kept for the end."""
        found = _begin(self._rest)
        if found is None:
            return False
        head = bytes(self._rest[: found.end()])
        try:
            _DOCUMENT.decode(head + b"]}")
        except UNREADABLE as error:
            raise self._unreadable(error) from None
        self._head = head
        del self._rest[: len(head)]
        return True

    def _take_rows(self) -> None:
        ends = [found.end() for found in _ends(self._rest, max(0, len(self._rest) - _BATCH // 16))]
        for end in islice(reversed(ends), _TRIES):
            batch = b"[" + self._rest[: end - 1] + b"]"
            try:
                rows = _ROWS.decode(batch)
            except msgspec.ValidationError as error:
                raise self._unreadable(error) from None
            except UNREADABLE:
                continue
            self._add(rows)
            del self._rest[:end]
            return

    def _add(self, rows: list[_SenderIdRow]) -> None:
        numbers = self._numbers
        for row in rows:
            if not _phone(row.phone):
                told = Message(
                    "the account document holds a number that is not 3 to 12 digits: {phone}",
                    phone=PhoneNumber(brief(repr(row.phone))),
                )
                raise ServerError(told)
            if row.phone in numbers:
                raise ServerError(Message("the account document holds {phone} twice", phone=PhoneNumber(row.phone)))
            numbers[row.phone] = Observed(row.phone, row.status, row.expires_at)
            self._updated.append(row.updated)
            if row.extended:
                self._extended.add(row.phone)
            if measures := row.measures:
                self._measures[row.phone] = measures
        if len(numbers) > _NUMBERS_CAP:
            raise ServerError(
                Message("the account document holds more than {numbers_cap:,} numbers", numbers_cap=_NUMBERS_CAP)
            )

    def _unreadable(self, error: Exception) -> ServerError:
        opening = self._opening.removeprefix(BOM_UTF8).lstrip()
        if not opening:
            return ServerError(Message("not an account document: it is empty"))
        if opening.startswith(b"<"):
            return self._unlike(Message("it is an HTML page, as a captive portal, a proxy or a firewall answers"))
        return self._unlike(brief(str(error)))

    def _unlike(self, reason: str) -> ServerError:
        return ServerError(
            Message(
                "not an account document: {reason}; it starts with: {excerpt}",
                reason=reason,
                excerpt=excerpt(self._opening),
            )
        )
