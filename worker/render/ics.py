"""Renderer of a calendar as an iCalendar file (RFC 5545), with one event for each change of a number."""

from datetime import datetime
from hashlib import sha256
from typing import Final

from icalendar import Calendar as ICalendar
from icalendar import Event

from worker.model.phones import hyphenated
from worker.render.terminal import safe
from worker.render.text.calendar import Calendar, CalendarEntry

__all__ = ["icalendar"]

_UID_DIGITS: Final = 32
"""Count of hex digits of a SHA-256 in the UID of an event: enough to keep events distinct."""


def icalendar(calendar: Calendar) -> bytes:
    """Return a calendar as an iCalendar file. Each change is an event without duration, at a time in UTC.

    The UID of an event depends only on its account, number, time and status, so that a calendar program that imports
    a newer file updates its events.
    """
    document = ICalendar()
    document.add("prodid", "-//senderid//calendar//EN")
    document.add("version", "2.0")
    created_at = datetime.fromisoformat(calendar.created_at)
    for account in calendar.accounts:
        for due in account.due:
            document.add_component(_event(account.account, due, created_at))
    data: bytes = document.to_ical()
    return data


def _event(account: str, due: CalendarEntry, created_at: datetime) -> Event:
    event = Event()
    identity = "\0".join((account, due.phone, due.at, str(due.after)))
    event.add("uid", sha256(identity.encode("utf-8", "replace")).hexdigest()[:_UID_DIGITS] + "@senderid")
    event.add("dtstamp", created_at)
    event.add("dtstart", datetime.fromisoformat(due.at))
    event.add(
        "summary", safe(f"{hyphenated(due.phone)}: {due.before or 'not set'} → {due.after or 'not set'} ({account})")
    )
    parts = (due.reason, due.note, due.owner)
    event.add("description", "\n".join(safe(" ".join(part.split())) for part in parts if part))
    return event
