"""A decoder of the account document, the response to a read of an account.

It decodes the document in pieces, so that a million rows need little memory. The module does no I/O.
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
from worker.solapi.wire import EXCERPT_BYTES, UNREADABLE, brief, count, excerpt, identifier, page_title

__all__ = ["AccountDecoder"]

_BATCH: Final = 1 << 20
"""Size in bytes of a piece to decode. Shorter documents are decoded as a whole."""
_LONGEST: Final = 16 << 20
"""Maximum count of bytes without the end of a row. A row has a few hundred bytes."""
_TRIES: Final = 32
"""Maximum count of candidates for the end of a row to try: the same characters also end objects inside a row."""
_NUMBERS_CAP: Final = 2_000_000
"""Maximum count of numbers of one account: twice the limit of a file."""
_CODE_LENGTH: Final = 64
"""Maximum count of characters of an error code that a message shows."""

_find_list: Final = re.compile(rb'"senderIds"\s*:\s*\[').search
_find_row_ends: Final = re.compile(rb"\}\s*,(?=\s*\{)").finditer
_match_phone: Final = re.compile(PHONE_PATTERN, re.ASCII).fullmatch


_FIRST_YEAR: Final = 1971
_LAST_YEAR: Final = 2106
"""The range of years whose Unix times in seconds fit into 32 bits; the last year is excluded."""

_ABSENT: Final = msgspec.Raw(b"null")
_TRUE: Final = msgspec.Raw(b"true")
_NO_MEASURES: Final = (_ABSENT, msgspec.Raw(b"[]"))
_MEASURES: Final = 10
_MEASURE_LENGTH: Final = 100
"""Maximum count of measures kept per number, and of characters of each."""


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
    """A row of `senderIds`. Optional values are decoded later, so that an unexpected form does not fail the row."""

    phone: str
    status: Status
    expires_at: str | None = None
    updated_at: str | None = None
    log: list[_Logged] | None = None
    extension: msgspec.Raw = _ABSENT
    necessary: msgspec.Raw = _ABSENT

    @property
    def is_extended(self) -> bool:
        """Return True if the vendor extends the registration automatically."""
        return self.extension is not _ABSENT and self.extension == _TRUE

    @property
    def measures(self) -> tuple[str, ...]:
        """The steps that the vendor still requires for the number; empty if the API sends no list of strings."""
        if self.necessary is _ABSENT or self.necessary in _NO_MEASURES:
            return ()
        try:
            texts = _TEXTS.decode(self.necessary)
        except UNREADABLE:
            return ()
        return tuple(brief(text)[:_MEASURE_LENGTH] for text in texts[:_MEASURES])

    @property
    def updated_second(self) -> int:
        """The Unix time of the last change, in seconds; 0 if the API sends no valid time with a UTC offset."""
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
        """The required keys that the document lacks."""
        no_id = self.account_id is None or not str(self.account_id).strip()
        return ("accountId",) * no_id + ("senderIds",) * (self.rows is None)


_DOCUMENT: Final = msgspec.json.Decoder(_Document)
_ROWS: Final = msgspec.json.Decoder(list[_SenderIdRow])


class AccountDecoder:
    """A decoder of one account document, which it receives in pieces.

    An account document has an `accountId` (a non-empty string or an integer) and `senderIds` (a list). The only
    exception is an empty JSON object, which means an account without numbers and with an unknown id. Any other document
    is an error.

    The decoder takes batches of complete rows. A batch of complete rows is valid JSON: one that ends inside a row has
    an open bracket or quote.
    """

    def __init__(self) -> None:
        self._excerpt = b""
        self._head = b""
        self._buffer = bytearray()
        self._numbers: dict[str, Observed] = {}
        self._update_times = array("I")
        self._with_extension: set[str] = set()
        self._measures: dict[str, tuple[str, ...]] = {}

    def feed(self, piece: bytes) -> None:
        """Decode the next piece of the document.

        Raises:
            ServerError: the response is not an account document, or has a number twice.
        """
        if len(self._excerpt) < EXCERPT_BYTES:
            self._excerpt = (self._excerpt + piece[:EXCERPT_BYTES])[:EXCERPT_BYTES]
        self._buffer += piece
        if len(self._buffer) >= _BATCH and (self._head or self._find_rows()):
            self._take_rows()
        if len(self._buffer) > _LONGEST:
            raise self._unlike(Message("{longest} MiB without a row", longest=_LONGEST >> 20))

    def finish(self) -> ObservedAccount:
        """Return the account after the last piece.

        Raises:
            ServerError: the response is not an account document, or has a number twice. The message may have the first
                200 printable characters of the response.
        """
        body = self._head + self._buffer
        try:
            document = _DOCUMENT.decode(body)
        except UNREADABLE as error:
            raise self._unreadable(error) from None
        if document.error_code is not None:
            raise self._unlike(
                Message("it is the error {error_code}", error_code=brief(str(document.error_code))[:_CODE_LENGTH])
            )
        if document.missing and b"".join(body.split()) != b"{}":
            raise self._unlike(Message("keys are missing: {missing}", missing=", ".join(document.missing)))
        self._add(document.rows or [])
        return ObservedAccount(
            identifier(document.account_id),
            self._numbers,
            self._update_times,
            frozenset(self._with_extension),
            self._measures,
            count(document.limit),
        )

    def _find_rows(self) -> bool:
        """Return True if the list of rows has started. Keep the bytes before the list for `finish`."""
        start = _find_list(self._buffer)
        if start is None:
            return False
        head = bytes(self._buffer[: start.end()])
        try:
            _DOCUMENT.decode(head + b"]}")
        except UNREADABLE as error:
            raise self._unreadable(error) from None
        self._head = head
        del self._buffer[: len(head)]
        return True

    def _take_rows(self) -> None:
        ends = [match.end() for match in _find_row_ends(self._buffer, max(0, len(self._buffer) - _BATCH // 16))]
        for end in islice(reversed(ends), _TRIES):
            batch = b"[" + self._buffer[: end - 1] + b"]"
            try:
                rows = _ROWS.decode(batch)
            except msgspec.ValidationError as error:
                raise self._unreadable(error) from None
            except UNREADABLE:
                continue
            self._add(rows)
            del self._buffer[:end]
            return

    def _add(self, rows: list[_SenderIdRow]) -> None:
        numbers = self._numbers
        for row in rows:
            if not _match_phone(row.phone):
                message = Message(
                    "the account document contains a number that is not 3 to 12 digits: {phone}",
                    phone=PhoneNumber(brief(repr(row.phone))),
                )
                raise ServerError(message)
            if row.phone in numbers:
                raise ServerError(Message("the account document contains {phone} twice", phone=PhoneNumber(row.phone)))
            numbers[row.phone] = Observed(row.phone, row.status, row.expires_at)
            self._update_times.append(row.updated_second)
            if row.is_extended:
                self._with_extension.add(row.phone)
            if measures := row.measures:
                self._measures[row.phone] = measures
        if len(numbers) > _NUMBERS_CAP:
            raise ServerError(
                Message("the account document contains more than {numbers_cap:,} numbers", numbers_cap=_NUMBERS_CAP)
            )

    def _unreadable(self, error: Exception) -> ServerError:
        excerpt = self._excerpt.removeprefix(BOM_UTF8).lstrip()
        if not excerpt:
            return ServerError(Message("not an account document: it is empty"))
        if excerpt.startswith(b"<"):
            page = Message("it is an HTML page, as from a captive portal, a proxy or a firewall")
            return self._unlike(Message("{page}{title}", page=page, title=page_title(self._excerpt)))
        return self._unlike(brief(str(error)))

    def _unlike(self, reason: str) -> ServerError:
        return ServerError(
            Message(
                "not an account document: {reason}; it starts with: {excerpt}",
                reason=reason,
                excerpt=excerpt(self._excerpt),
            )
        )
