"""Accounts of the simulated API, and their documents."""

from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import msgspec
from msgspec import Struct

from worker.model.accounts import Status
from worker.sandbox.messages import Mailbox, Scheduled, Sent

__all__ = ["SandboxAccount", "SandboxNumber", "generate", "load_state"]

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_MADE: Final = "2018-11-20T05:25:27.757Z"
_PREFIXES: Final = (("010", 8), ("010", 8), ("010", 8), ("02", 8), ("031", 7), ("051", 7), ("070", 8), ("15", 6))
_RARE: Final = (Status.PENDING, Status.EXPIRED, Status.BLOCKED, Status.DUPLICATED)
_MANY: Final = 50
"""Minimum count of numbers of a generated account that includes numbers whose status cannot be written."""


class SandboxNumber(Struct):
    """One registered number, with the variable fields of its row in the vendor's document."""

    phone: str
    status: str
    handle_key: str = "SED20181120142527G9MUYZKJXEV6ADY"
    method: str | None = "ARS"
    expire_at: str | None = None
    updated: str = _MADE
    log: tuple[tuple[str, str], ...] = ()
    auto_extension: Any = False
    necessary_measures: Any = None

    def row(self) -> dict[str, Any]:
        """Return the number as a row of `senderIds` in the account document."""
        return {
            "unlockDuplicate": dict.fromkeys(
                ("duplicateId", "reason", "reasonForRequested", "name", "status", "dateCreated", "dateUpdated")
            ),
            "status": self.status,
            "expireAt": self.expire_at,
            "method": self.method,
            "autoExtension": self.auto_extension,
            "necessaryMeasures": self.necessary_measures,
            "consignment": None,
            "dateCreated": _MADE,
            "dateUpdated": self.updated,
            "log": [{"createAt": moment, "message": message} for moment, message in self.log],
            "approvalDocuments": [],
            "phoneNumber": self.phone,
            "handleKey": self.handle_key,
        }


class SandboxAccount:
    """One simulated account.

    `numbers` maps digits to numbers. Change them by `switch` and `remove` only. `mailbox` contains the sent and
    scheduled messages. The document of an account without numbers is an empty object or, with `named_when_empty`, has
    the account id and an empty list.
    """

    def __init__(
        self,
        numbers: dict[str, SandboxNumber] | None = None,
        *,
        account_id: str = "12925149",
        api_key: str = "NCSAAAAAAAAAAAAA",
        api_secret: str = "sandbox-secret-0123456789ABCDEFG",  # noqa: S107 - of a simulated account
        limit: int | None = None,
        named_when_empty: bool = False,
    ) -> None:
        self.numbers = numbers or {}
        self.account_id = account_id
        self.api_key = api_key
        self.api_secret = api_secret
        self.limit = max(5, 2 * len(self.numbers)) if limit is None else limit
        self.named_when_empty = named_when_empty
        self.mailbox = Mailbox()
        self._rows: dict[str, bytes] = {}
        self._document: bytes | None = None

    @classmethod
    def of(cls, statuses: dict[str, str], **more: Any) -> "SandboxAccount":
        """Return an account with the numbers and statuses of `statuses`. `more` are arguments of the constructor."""
        return cls({phone: SandboxNumber(phone, status) for phone, status in statuses.items()}, **more)

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each number."""
        return {phone: number.status for phone, number in self.numbers.items()}

    def switch(self, phone: str, status: str, moment: datetime | None = None) -> None:
        """Set the status of a number, as a write to the API or a user of the vendor's console does."""
        number = self.numbers[phone]
        timestamp = (moment or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        number.status = status
        number.updated = timestamp
        number.log = (*number.log[-2:], (timestamp, f"발신번호 상태를 '{status}'로 변경하였습니다."))
        self._rows.pop(phone, None)
        self._document = None

    def remove(self, phone: str) -> None:
        """Delete a number, as a user of the vendor's console does."""
        del self.numbers[phone]
        self._document = None

    def add_sent(self, phone: str, moment: datetime) -> None:
        """Record that a number sent a message at `moment`, an aware time."""
        self.mailbox.sent.append(Sent(phone, moment.isoformat()))

    def add_scheduled(self, moment: datetime, *phones: str, status: str = "SCHEDULED") -> None:
        """Schedule a group with one message from each number, to be sent at `moment`, an aware time."""
        self.mailbox.scheduled.append(Scheduled(moment.isoformat(), list(phones), status))

    def document(self) -> bytes:
        """Return the account document, as the class describes it for accounts without numbers."""
        if not self.numbers and not self.named_when_empty:
            return b"{}"
        if self._document is None:
            for phone, number in self.numbers.items():
                if phone not in self._rows:
                    self._rows[phone] = msgspec.json.encode(number.row())
            head = msgspec.json.encode(
                {
                    "accountId": self.account_id,
                    "dateCreated": _MADE,
                    "dateUpdated": _MADE,
                    "limit": self.limit,
                    "limitationDocuments": [],
                }
            )
            rows = b",".join(self._rows[phone] for phone in self.numbers)
            self._document = head[:-1] + b',"senderIds":[' + rows + b"]}"
        return self._document

    def one_number_document(self, phone: str) -> bytes:
        """Return the account document with only this number."""
        return msgspec.json.encode(
            {"accountId": self.account_id, "limit": self.limit, "senderIds": [self.numbers[phone].row()]}
        )


def generate(numbers: int, *, seed: int = 0) -> SandboxAccount:
    """Return an account with `numbers` random numbers, most of them ACTIVE. The same seed gives the same account."""
    chance = Random(seed)  # noqa: S311 - repeatable, not secret
    numbers_by_phone: dict[str, SandboxNumber] = {}
    while len(numbers_by_phone) < numbers:
        prefix, digits = chance.choice(_PREFIXES)
        first = chance.choice("23456789") if prefix != "15" else chance.choice("4567")
        phone = prefix + first + "".join(chance.choices("0123456789", k=digits - 1))
        is_rare = numbers >= _MANY and chance.random() < 0.02  # noqa: PLR2004 - one in fifty
        status = chance.choice(_RARE) if is_rare else Status.INACTIVE if chance.random() < 0.25 else Status.ACTIVE  # noqa: PLR2004
        key = "SED20181120142527" + "".join(chance.choices(_ALPHABET, k=15))
        numbers_by_phone[phone] = SandboxNumber(phone, status, key, chance.choice(("ARS", "SELF-CERT", "DOCUMENT")))
    letters = "".join(chance.choices(_ALPHABET, k=13))
    secret = "".join(chance.choices(_ALPHABET, k=32))
    return SandboxAccount(numbers_by_phone, api_key=f"NCS{letters}", api_secret=secret)


class _NumberRow(Struct, rename="camel"):
    phone_number: str
    status: str
    method: str | None = None
    expire_at: str | None = None
    handle_key: str = "SED20181120142527G9MUYZKJXEV6ADY"
    auto_extension: bool = False
    necessary_measures: list[str] | None = None


class _StateDocument(Struct, rename="camel"):
    sender_ids: list[_NumberRow] = []
    account_id: str = "12925149"
    limit: int | None = None
    messages: list[Sent] = []
    scheduled: list[Scheduled] = []


def load_state(text: bytes) -> list[SandboxAccount]:
    """Return the accounts of an account document, or of a list of account documents.

    In addition to the vendor's keys, a document can have `messages` (with `from` and `dateUpdated`), which are sent
    messages, and `scheduled` (with `scheduledDate` and `senders`), which are scheduled groups.

    Raises:
        ValueError: the text is neither an account document nor a list of account documents. The message gives the
        reason.
    """
    try:
        decoded = msgspec.json.decode(text, type=_StateDocument | list[_StateDocument])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not an account document: {error}") from None
    documents = decoded if isinstance(decoded, list) else [decoded]
    if not documents:
        raise ValueError("there is no account in it")
    accounts = []
    for index, document in enumerate(documents):
        numbers = {
            row.phone_number: SandboxNumber(
                row.phone_number,
                row.status,
                row.handle_key,
                row.method,
                row.expire_at,
                auto_extension=row.auto_extension,
                necessary_measures=row.necessary_measures,
            )
            for row in document.sender_ids
        }
        key = f"NCS{index:013}"
        account = SandboxAccount(numbers, account_id=document.account_id, limit=document.limit, api_key=key)
        account.mailbox = Mailbox(document.messages, document.scheduled)
        accounts.append(account)
    return accounts
