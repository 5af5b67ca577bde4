"""When a number should be what: its windows as they are written, and the schedule that they come to.

The zone may stand below the numbers, so that windows are read first and settled at the end of the document.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from worker.config.fields import NOTE_CAP, read_text
from worker.config.yaml_reader import Mapping as MappingNode
from worker.config.yaml_reader import Node, Reader, Scalar, Sequence, describe
from worker.model.accounts import DatedWindow, Schedule, Status, WeeklyWindow
from worker.model.errors import Problem
from worker.model.messages import Message
from worker.model.schedule import find_contradictions
from worker.model.times import load_zone, parse_moment, parse_weekly, to_utc

__all__ = ["KEYS", "UnresolvedSchedule", "read_schedule", "read_status", "resolve_schedules"]

KEYS: Final = frozenset({"schedule", "until", "then", "reason"})
"""What makes a schedule of an entry."""

_WINDOW: Final = ("from", "until", "weekly", "status", "reason")
_ADVICE: Final = Message(
    "a window is {{from: 2026-12-01T09:00, until: 2026-12-22, status: ACTIVE}} or {{weekly: "
    '"Mon-Fri 09:00-18:00", status: ACTIVE}}'
)
_STATUSES: Final = {"active": Status.ACTIVE, "inactive": Status.INACTIVE}
"""By what is written in small letters, as it may be written in any."""


class _Position(Struct, frozen=True, gc=False):
    line: int
    column: int


class UnresolvedSchedule(Struct, frozen=True):
    """The windows of one number, each with its place; their moments are on the clock where they have no offset."""

    plain: Status | None
    dated: tuple[tuple[_Position, DatedWindow], ...] = ()
    weekly: tuple[tuple[_Position, WeeklyWindow], ...] = ()


def read_status(reader: Reader, node: Node) -> Status | None:
    """The status at a node; None where it is a problem."""
    found = _STATUSES.get(node.text.lower()) if isinstance(node, Scalar) else None
    if found is None:
        reader.problem(node, Message("a status is ACTIVE or INACTIVE, not {given}", given=describe(node)))
    return found


def read_schedule(reader: Reader, fields: Mapping[str, Node], plain: Status | None) -> UnresolvedSchedule | None:
    """The windows of an entry that has any of `KEYS`; `plain` is its own status. None where nothing can be read."""
    schedule = fields.get("schedule")
    if schedule is None:
        return _temporary(reader, fields, plain)
    for name in sorted(KEYS.intersection(fields) - {"schedule"}):
        reader.problem(fields[name], Message("{name} does not go with schedule: write it into a window", name=name))
    if not isinstance(schedule, Sequence) or not schedule.items:
        reader.problem(schedule, Message("schedule should be a list of one window or more: {advice}", advice=_ADVICE))
        return None
    dated: list[tuple[_Position, DatedWindow]] = []
    weeks: list[tuple[_Position, WeeklyWindow]] = []
    for node in schedule.items:
        window = _window(reader, node)
        if isinstance(window, DatedWindow):
            dated.append((_Position(node.line, node.column), window))
        elif window is not None:
            weeks.append((_Position(node.line, node.column), window))
    return UnresolvedSchedule(plain, tuple(dated), tuple(weeks))


def _temporary(reader: Reader, fields: Mapping[str, Node], plain: Status | None) -> UnresolvedSchedule | None:
    """A status that holds until a moment, and what comes then."""
    if "until" not in fields:
        for name in sorted(KEYS.intersection(fields)):
            advice = Message("; use note") if name == "reason" else ""
            reader.problem(
                fields[name],
                Message("{name} needs a moment at which the status ends, until{advice}", name=name, advice=advice),
            )
        return None
    end_node = fields["until"]
    end = _moment(reader, end_node, "until")
    reason = read_text(reader, fields["reason"], "reason", NOTE_CAP) if "reason" in fields else None
    then = read_status(reader, fields["then"]) if "then" in fields else None
    if plain is None or end is None:
        return None
    return UnresolvedSchedule(
        then, ((_Position(end_node.line, end_node.column), DatedWindow(plain, None, end, reason)),)
    )


def _window(reader: Reader, node: Node) -> DatedWindow | WeeklyWindow | None:
    if not isinstance(node, MappingNode):
        reader.problem(node, Message("{advice}, not {given}", advice=_ADVICE, given=describe(node)))
        return None
    fields = reader.fields(node, _WINDOW)
    wanted = read_status(reader, fields["status"]) if "status" in fields else None
    if "status" not in fields:
        reader.problem(node, Message("the window's status is missing: ACTIVE or INACTIVE"))
    reason = read_text(reader, fields["reason"], "reason", NOTE_CAP) if "reason" in fields else None
    limits = {name: _moment(reader, fields[name], name) for name in ("from", "until") if name in fields}
    if ("weekly" in fields) == bool(limits):
        problem = (
            Message("the window has both weekly and a moment; make two of it: {advice}", advice=_ADVICE)
            if limits
            else Message("the window has no time: {advice}", advice=_ADVICE)
        )
        reader.problem(node, problem)
        return None
    if limits:
        if wanted is None or None in limits.values():
            return None
        return DatedWindow(wanted, limits.get("from"), limits.get("until"), reason)
    return _weekly(reader, fields["weekly"], wanted, reason)


def _weekly(reader: Reader, node: Node, wanted: Status | None, reason: str | None) -> WeeklyWindow | None:
    given = read_text(reader, node, "weekly", NOTE_CAP)
    if given is None:
        return None
    try:
        spans = parse_weekly(given)
    except ValueError as error:
        reader.problem(node, str(error))
        return None
    return None if wanted is None else WeeklyWindow(wanted, given, spans, reason)


def _moment(reader: Reader, node: Node, name: str) -> datetime | None:
    given = node.text.strip() if isinstance(node, Scalar) else ""
    try:
        return parse_moment(given)
    except ValueError as error:
        reader.problem(
            node, Message("{name} cannot be {given}: {error}", name=name, given=describe(node), error=str(error))
        )
        return None


def resolve_schedules(reader: Reader, numbers: Mapping[str, UnresolvedSchedule], timezone: str) -> dict[str, Schedule]:
    """The schedules by the clock of a zone, equal ones shared; tells of windows that contradict each other."""
    if not numbers:
        return {}
    where = load_zone(timezone)
    shared: dict[Schedule, Schedule] = {}
    found: dict[str, Schedule] = {}
    for phone, each in numbers.items():
        dated = tuple(
            replace(
                window,
                start=None if window.start is None else to_utc(window.start, where),
                end=None if window.end is None else to_utc(window.end, where),
            )
            for _, window in each.dated
        )
        schedule = Schedule(each.plain, dated, tuple(window for _, window in each.weekly), timezone)
        if schedule not in shared:
            wrong = [*_empty(each, schedule), *_contradictory(each, schedule)]
            for place, message in wrong:
                reader.tell(Problem(reader.source, place.line, place.column, message))
            if wrong:
                # an equal one is wrong at its own place
                continue
            shared[schedule] = schedule
        found[phone] = shared[schedule]
    return found


def _empty(each: UnresolvedSchedule, schedule: Schedule) -> Iterator[tuple[_Position, str]]:
    for (place, _), window in zip(each.dated, schedule.dated, strict=True):
        if window.start is not None and window.end is not None and window.start >= window.end:
            yield place, Message("the window ends before it begins: until should be later than from")


def _contradictory(each: UnresolvedSchedule, schedule: Schedule) -> Iterator[tuple[_Position, str]]:
    dated, weeks = ([place for place, _ in some] for some in (each.dated, each.weekly))
    for places, windows in ((dated, schedule.dated), (weeks, schedule.weekly)):
        for first, second in find_contradictions(windows):
            told = Message(
                "this window overlaps that on line {line}, whose status is another: shorten one of them",
                line=places[first].line,
            )
            yield places[second], told
