"""Sent and scheduled messages of simulated accounts, and the API responses that list them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

__all__ = ["LIST", "InvalidQuery", "Mailbox", "Scheduled", "Sent"]

LIST: Final = "/messages/v4/list"
_GROUPS: Final = "/messages/v4/groups"
_PAGE: Final = 20
_MAX_LIMIT: Final = 500
"""Maximum count of entries of a page, and the default."""


class InvalidQuery(ValueError):
    """The API does not accept a query or a date. The message has the reason."""


class Sent(Struct, rename={"sender": "from", "date": "dateUpdated"}):
    """One message that a number has sent. `date` is in ISO 8601 with an offset."""

    sender: str
    date: str


class Scheduled(Struct, rename="camel"):
    """One scheduled group of messages. `senders` are the senders of its messages."""

    scheduled_date: str
    senders: list[str]
    status: str = "SCHEDULED"


class Mailbox:
    """The sent messages and scheduled groups of one account.

    `can_read_messages` is True if the account's API key has the scope `message:read`.

    Raises:
        InvalidQuery: a date is invalid.
    """

    def __init__(self, sent: list[Sent] | None = None, scheduled: list[Scheduled] | None = None) -> None:
        self.sent = sent or []
        self.scheduled = scheduled or []
        self.can_read_messages = True
        times = (*(message.date for message in self.sent), *(group.scheduled_date for group in self.scheduled))
        for text in times:
            _parse_time(text)

    def respond(self, path: str, query: Mapping[str, str]) -> bytes | None:
        """Return the response body with the list at a path, or None if the path does not exist.

        Raises:
            InvalidQuery: the query is invalid.
        """
        if path == LIST:
            return _page("messageList", self._sent(query), query)
        if path == _GROUPS:
            return _page("groupList", self._scheduled(query), query)
        group_id, _, collection = path.removeprefix(f"{_GROUPS}/").partition("/")
        for index, group in enumerate(self.scheduled):
            if group_id == _group_id(index) and collection == "messages":
                messages = {
                    f"M4V{index:04}{number:06}": _message(f"M4V{index:04}{number:06}", sender, None)
                    for number, sender in enumerate(group.senders)
                }
                return _page("messageList", messages, query)
        return None

    def _sent(self, query: Mapping[str, str]) -> dict[str, Any]:
        since, until = (_optional_time(query.get(name)) for name in ("startDate", "endDate"))
        if query.get("dateType", "CREATED") not in {"CREATED", "UPDATED"}:
            raise InvalidQuery('"dateType" must be one of [CREATED, UPDATED]')
        messages = {}
        for index, message in enumerate(self.sent):
            when = _parse_time(message.date)
            is_outside = (since is not None and when < since) or (until is not None and when > until)
            if query.get("from", message.sender) == message.sender and not is_outside:
                name = f"M4V9999{index:06}"
                messages[name] = _message(name, message.sender, message.date)
        return messages

    def _scheduled(self, query: Mapping[str, str]) -> dict[str, Any]:
        criterion = [query.get(name) for name in ("criteria", "cond")]
        since = _optional_time(query.get("value"))
        if criterion != ["scheduledDate", "gte"] or since is None:
            raise InvalidQuery("the sandbox supports only criteria=scheduledDate with cond=gte and a date")
        return {
            _group_id(index): {
                "groupId": _group_id(index),
                "status": group.status,
                "scheduledDate": group.scheduled_date,
                "count": {"total": len(group.senders)},
            }
            for index, group in enumerate(self.scheduled)
            if _parse_time(group.scheduled_date) >= since
        }


def _group_id(index: int) -> str:
    return f"G4V20261124{index:06}"


def _message(name: str, sender: str, date: str | None) -> dict[str, Any]:
    return {
        "messageId": name,
        "from": sender,
        "to": "01000000000",
        "type": "SMS",
        "status": "PENDING" if date is None else "COMPLETE",
        "statusCode": "2000" if date is None else "4000",
        "dateUpdated": date,
    }


def _page(kind: str, items: Mapping[str, Any], query: Mapping[str, str]) -> bytes:
    text = query.get("limit", str(_PAGE))
    if not text.isdecimal() or not 1 <= int(text) <= _MAX_LIMIT:
        raise InvalidQuery(f'"limit" must be a number from 1 to {_MAX_LIMIT}')
    names = list(items)
    start = query.get("startKey")
    first = 0 if start is None else names.index(start) if start in items else len(names)
    last = first + int(text)
    return msgspec.json.encode(
        {
            kind: {name: items[name] for name in names[first:last]},
            "limit": int(text),
            "startKey": start,
            "nextKey": names[last] if last < len(names) else None,
        }
    )


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else _parse_time(text)


def _parse_time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidQuery(f"{text!r} is not a date of ISO 8601") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
