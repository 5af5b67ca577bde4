"""Queries for the numbers that are in use, and the decoding of the responses. The caller passes `fetch`, which sends.

The vendor documents:

- `GET /messages/v4/list` takes `from`, `dateType` (CREATED or UPDATED), and `startDate` and `endDate` in ISO 8601.
- `GET /messages/v4/groups` takes `criteria=scheduledDate`, `cond=gte` and `value`. A page has up to 500 groups.
- A group does not list its senders. They are the `from` of `GET /messages/v4/groups/{id}/messages`.
- `messageList` and `groupList` are objects keyed by id. `nextKey` is null or absent on the last page; otherwise it is
  the `startKey` of the next page.
- All of these requests need the scope `message:read`.

The vendor does not document, and this module assumes:

- The last update of a message is its sending or its delivery report. So UPDATED also finds messages that were
  registered earlier and sent now.
- A page of messages also has up to 500.
- A group that is COMPLETE, FAILED or DELETED sends nothing more, whatever its date.
"""

import re
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from worker.model.accounts import NumberUse
from worker.model.errors import AccountRejected, ApiError, ServerError
from worker.model.messages import Message
from worker.model.phones import parse_digits
from worker.solapi.wire import UNREADABLE, brief

__all__ = ["Body", "Fetch", "read_number_use"]

T = TypeVar("T")
Page = TypeVar("Page", "_Messages", "_Groups")

_CAP_MIB: Final = 16
"""Maximum size of one response, in MiB: 500 messages of the longest kind are about 2 MiB."""
_ABOUT_NOW: Final = timedelta(minutes=1)
"""Overlap of both queries around the present: seconds are truncated, clocks differ, and due messages may be unsent."""
_PAGE: Final = 500
_PAGES: Final = 60
"""Maximum count of reads per account for scheduled messages: 30,000 messages, or about 20 seconds of the quota."""
_FINISHED: Final = frozenset({"COMPLETE", "FAILED", "DELETED"})

_match_group_id: Final = re.compile("[0-9A-Za-z_-]{1,64}", re.ASCII).fullmatch


class Fetch(Protocol):
    """A function that sends one read, with retries."""

    async def __call__(self, query: str, decode: Callable[[bytearray], T], /) -> T:
        """Return the decoded response to a GET of `query`, a path with its query string.

        Raises:
            ApiError: the request failed, or `decode` raised the error.
        """
        ...


class Body:
    """A buffer for the body of a response, of at most 16 MiB."""

    __slots__ = ("content",)

    def __init__(self) -> None:
        self.content = bytearray()

    def feed(self, piece: bytes) -> None:
        """Append the next piece.

        Raises:
            AccountRejected: the body is larger than the limit.
        """
        self.content += piece
        if len(self.content) > _CAP_MIB << 20:
            raise AccountRejected(Message("the response is larger than {cap_mib} MiB", cap_mib=_CAP_MIB))


class _Message(Struct, rename={"sender": "from", "updated": "dateUpdated"}):
    sender: str | None = None
    updated: str | None = None


class _Messages(Struct, rename="camel"):
    message_list: dict[str, _Message] | list[_Message]
    next_key: str | None = None

    @property
    def messages(self) -> Iterable[_Message]:
        """The messages of the page."""
        return self.message_list.values() if isinstance(self.message_list, dict) else self.message_list


class _Group(Struct, rename="camel"):
    scheduled_date: str | None = None
    status: str | None = None


class _Groups(Struct, rename="camel"):
    group_list: dict[str, _Group]
    next_key: str | None = None


_MESSAGES: Final = msgspec.json.Decoder(_Messages)
_GROUPS: Final = msgspec.json.Decoder(_Groups)


async def read_number_use(fetch: Fetch, phones: Collection[str], now: datetime, hours: int) -> NumberUse:
    """Return which of `phones` have messages scheduled, or have sent messages in the `hours` before `now`.

    The first failed request ends the check, and the use of the remaining numbers is unknown. If more messages are
    scheduled than the check can read, the use of every number that is not found in use is also unknown.

    Raises:
        WorkerError: an error of `fetch` other than ApiError, such as CircuitOpen.
    """
    in_use: dict[str, str] = {}
    clear_phones: set[str] = set()
    failure = ""
    try:
        is_complete = await _read_scheduled(fetch, frozenset(phones), now, in_use)
        if not is_complete:
            failure = Message(
                "more than {pages:,} messages are scheduled, which is the limit of this check", pages=_PAGES * _PAGE
            )
        for phone in phones:
            if phone in in_use:
                continue
            reason = await fetch(_sent_query(phone, now, hours), partial(_sending, phone, hours))
            if reason is not None:
                in_use[phone] = reason
            elif is_complete:
                clear_phones.add(phone)
    except ApiError as error:
        failure = Message("{code}: {error}", code=error.code, error=str(error))
    return NumberUse(in_use, frozenset(phones).difference(in_use, clear_phones), failure)


class _Lists:
    """A reader of paginated lists. All its lists together have a limit of 60 pages."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._pages = iter(range(_PAGES))

    async def read(
        self,
        path: str,
        query: dict[str, str],
        decode: Callable[[bytearray], Page],
        is_enough: Callable[[Page], bool],
    ) -> bool:
        """Read a list until its end, or until `is_enough(page)`. Return False if the limit of pages is reached."""
        page_query: dict[str, str] = {}
        for _ in self._pages:
            page = await self._fetch(f"{path}?{urlencode(query | page_query | {'limit': str(_PAGE)})}", decode)
            if is_enough(page) or not page.next_key:
                return True
            page_query = {"startKey": page.next_key}
        return False


async def _read_scheduled(fetch: Fetch, phones: frozenset[str], now: datetime, in_use: dict[str, str]) -> bool:
    """Add each of `phones` that is the sender of scheduled messages to `in_use`.

    Return True if all scheduled messages were read, or all `phones` are in use. Return False if the limit of pages
    ended the search.
    """
    lists = _Lists(fetch)
    groups: dict[str, _Group] = {}

    def note_groups(page: _Groups) -> bool:
        groups.update(page.group_list)
        return False

    is_complete = await lists.read("/messages/v4/groups", _ahead_of(now), _groups, note_groups)
    for group_id, group in groups.items():
        if group.status in _FINISHED:
            continue
        if not _match_group_id(group_id):
            raise ServerError(
                Message("a scheduled group has an invalid id: {group_id}", group_id=brief(repr(group_id)))
            )

        def note_senders(page: _Messages, moment: str | None = _moment(group.scheduled_date)) -> bool:
            senders = {_sender(message.sender) for message in page.messages}
            for phone in phones.intersection(senders):
                in_use.setdefault(phone, _scheduled(moment))
            if len(in_use) < len(phones) and None in senders:
                raise ServerError(Message("a scheduled message has no readable sender, so it may be any number"))
            return len(in_use) == len(phones)

        path = f"/messages/v4/groups/{group_id}/messages"
        is_complete = await lists.read(path, {}, _messages, note_senders) and is_complete
        if len(in_use) == len(phones):
            return True
    return is_complete


def _scheduled(moment: str | None) -> Message:
    """Return why the sender of messages that are scheduled for `moment` is in use."""
    if moment is None:
        return Message("it is the sender of scheduled messages: wait until they are sent")
    return Message("it is the sender of messages scheduled for {when}: wait until they are sent", when=moment)


def _sender(text: str | None) -> str | None:
    """Return the digits of a sender in any notation; None if it is not a phone number."""
    try:
        return parse_digits(text or "")
    except ValueError:
        return None


def _ahead_of(now: datetime) -> dict[str, str]:
    return {"criteria": "scheduledDate", "cond": "gte", "value": _iso(now - _ABOUT_NOW)}


def _sent_query(phone: str, now: datetime, hours: int) -> str:
    since, until = _iso(now - timedelta(hours=hours)), _iso(now + _ABOUT_NOW)
    query = {"from": phone, "dateType": "UPDATED", "startDate": since, "endDate": until, "limit": "1"}
    return f"/messages/v4/list?{urlencode(query)}"


def _sending(phone: str, hours: int, body: bytearray) -> str | None:
    """Return why the number is in use, from the response with its messages; None if there are no messages."""
    messages = list(_messages(body).messages)
    if not messages:
        return None
    message_of_number = next((message for message in messages if _sender(message.sender) == phone), None)
    if message_of_number is None:
        raise ServerError(Message("the API returned the messages of another number"))
    moment = _moment(message_of_number.updated)
    if moment is None:
        return Message("it has sent messages in the last {hours:,} hours", hours=hours)
    return Message(
        "it has sent messages in the last {hours:,} hours, one of them at {moment}", hours=hours, moment=moment
    )


def _messages(body: bytearray) -> _Messages:
    return _decode(_MESSAGES, body)


def _groups(body: bytearray) -> _Groups:
    return _decode(_GROUPS, body)


def _decode(decoder: msgspec.json.Decoder[T], body: bytearray) -> T:
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise ServerError(Message("the response cannot be read: {error}", error=brief(str(error)))) from None


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str | None) -> str | None:
    """Format a time from the API for users. Return any other text shortened; None if there is none."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return brief(text)
