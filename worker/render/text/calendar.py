"""Calendar of scheduled changes to the desired state: the document of `senderid calendar`, and its text."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from worker.model.accounts import DesiredAccount
from worker.model.messages import Message
from worker.model.phones import hyphenated
from worker.model.plans import Phone, Timestamp
from worker.model.schedule import next_transition, transitions
from worker.model.times import format_local, format_utc, load_zone
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.marks import count
from worker.render.terminal import Paint, safe
from worker.render.terminal import width as cells
from worker.render.text.layout import header, indented
from worker.render.view.parts import MANY

__all__ = ["AccountCalendar", "Calendar", "CalendarEntry", "account_calendar", "text"]

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NOT_SET: Final = Message("not set")
"""Shown in place of a desired status if there is none."""
_INSTANT: Final = timedelta(microseconds=1)
_REMARK_COLUMNS: Final = 20
"""Minimum width in columns of a remark, even if the page is narrower."""


class CalendarEntry(Struct, frozen=True):
    """A change of a number's desired status at a time: the status before and after, null for none, and why."""

    phone: Phone
    at: Timestamp
    before: str | None
    after: str | None
    reason: str
    note: str | None = None
    owner: str | None = None


class AccountCalendar(Struct, frozen=True):
    """The changes of one account by time; `timezone` is the IANA name of its file's zone.

    `next` is the time of the first change after those; null if there is none.
    """

    account: str
    timezone: str
    due: tuple[CalendarEntry, ...]
    next: Timestamp | None = None


class Calendar(Struct, frozen=True, kw_only=True):
    """The document of `calendar`: the changes that the files schedule in [from, until)."""

    schema: Literal["senderid.calendar/v1"] = "senderid.calendar/v1"
    created_at: Timestamp
    start: Annotated[Timestamp, Meta(description="UTC, ISO 8601.")] = field(name="from")
    until: Timestamp
    accounts: tuple[AccountCalendar, ...]


def account_calendar(account: DesiredAccount, start: datetime, end: datetime) -> AccountCalendar:
    """Return the changes of an account in [start, end). Both are aware times."""
    due = tuple(
        CalendarEntry(
            transition.phone,
            format_utc(transition.when),
            transition.before,
            transition.after,
            transition.why,
            desired.note,
            desired.owner,
        )
        for transition in transitions(account, start, end)
        for desired in (account.numbers[transition.phone],)
    )
    later = next_transition(account, end - _INSTANT)
    return AccountCalendar(account.name, account.timezone, due, None if later is None else format_utc(later))


def text(calendar: Calendar, *, color: bool, width: int = 80) -> str:
    """Return a calendar as text in `width` columns, ended by a newline.

    Changes are listed day by day, in the time zone of each file.
    """
    paint = Paint(color=color)
    lines: list[str] = []
    for account in calendar.accounts:
        if account.due:
            lines += [*_account(account, paint, width), ""]
    total = sum(len(account.due) for account in calendar.accounts)
    zone = _zone_of(calendar.accounts)
    start, until = (_local(moment, zone) for moment in (calendar.start, calendar.until))
    verdict = _("{changes} from {start} until {until}.") if total else _("No changes from {start} until {until}.")
    verdict = verdict.format(changes=count(total, "change"), start=start, until=until)
    later = min((account.next for account in calendar.accounts if account.next is not None), default=None)
    if later is not None:
        verdict += " " + _("The next change after that is at {time}.").format(time=_local(later, zone))
    return "\n".join([*lines, *indented(verdict, width, "", "  ", lambda line: paint("bold", line))]) + "\n"


def _account(account: AccountCalendar, paint: Paint, width: int) -> Iterator[str]:
    yield f"{header(account.account, None, paint, width)} ({account.timezone})"
    for day, entries_of_day in groupby(account.due, lambda due: _local(due.at, account.timezone)[:10]):
        yield ""
        yield paint("bold", f"{day} {translate(DAYS[datetime.fromisoformat(day).weekday()])}")
        for (at, before, after, reason), same_entries in groupby(
            entries_of_day, lambda due: (due.at, due.before, due.after, due.reason)
        ):
            yield from _rows(_local(at, account.timezone)[11:], before, after, tuple(same_entries), width)
            yield from indented(translate(reason), width, " " * 4, " " * 4, lambda line: paint("quiet", line))


def _rows(
    time: str, before: str | None, after: str | None, entries: Sequence[CalendarEntry], width: int
) -> Iterator[str]:
    none = translate(_NOT_SET)
    change = f"{before or none} → {after or none}"
    for due in entries[:MANY]:
        row = f"  {time}  {hyphenated(due.phone):<13}  {change}"
        remark = " · ".join(" ".join(word.split()) for word in (due.note, due.owner) if word)
        yield f"{row}  {safe(remark, max(width - cells(row) - 2, _REMARK_COLUMNS))}".rstrip()
    if len(entries) > MANY:
        yield f"  {time}  {_('and {count} more').format(count=f'{len(entries) - MANY:,}')}  {change}"


def _local(at: str, timezone: str) -> str:
    return format_local(datetime.fromisoformat(at), load_zone(timezone))


def _zone_of(accounts: Iterable[AccountCalendar]) -> str:
    """Return the time zone that all accounts share, or UTC if they have several."""
    zones = {account.timezone for account in accounts}
    return zones.pop() if len(zones) == 1 else "UTC"
