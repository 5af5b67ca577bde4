"""A reader of the schedules of numbers, which resolves their windows in the time zone of the document.

The key `timezone` may come after the numbers, so windows are resolved at the end of the document.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from worker.config.fields import NOTE_CAP, read_text
from worker.config.yaml_reader import Mapping as MappingNode
from worker.config.yaml_reader import Node, Reader, Scalar, Sequence, describe, quote, suggest
from worker.model.accounts import DatedWindow, Schedule, Status, WeeklyWindow
from worker.model.errors import Problem
from worker.model.messages import Message
from worker.model.schedule import find_contradictions
from worker.model.times import load_zone, parse_moment, parse_weekly, to_utc

__all__ = [
    "KEYS",
    "NO_SCHEDULE",
    "UnresolvedSchedule",
    "read_moment",
    "read_schedule",
    "read_status",
    "read_windows",
    "resolve_schedules",
    "without_positions",
]

KEYS: Final = frozenset({"schedule", "until", "then", "reason"})
"""The keys of an entry that give its number a schedule."""

NO_SCHEDULE: Final = "none"
"""The value of `schedule` of an entry that has no schedule, although there is one by default."""

_WINDOW: Final = ("from", "until", "weekly", "status", "reason")
_FORMS: Final = Message(
    '{{from: 2026-12-01T09:00, until: 2026-12-22, status: ACTIVE}} or {{weekly: "Mon-Fri 09:00-18:00", status: ACTIVE}}'
)
_STATUSES: Final = {"active": Status.ACTIVE, "inactive": Status.INACTIVE}
"""The statuses by name in lower case. Files may use any case."""


class _Position(Struct, frozen=True, gc=False):
    line: int
    column: int


class UnresolvedSchedule(Struct, frozen=True):
    """The windows of one number, with their positions. Times without an offset are not yet in a time zone."""

    base_status: Status | None
    dated: tuple[tuple[_Position, DatedWindow], ...] = ()
    weekly: tuple[tuple[_Position, WeeklyWindow], ...] = ()


def read_status(reader: Reader, node: Node) -> Status | None:
    """Return the status at a node. If the node is not a status, add a problem and return None."""
    status = _STATUSES.get(node.text.lower()) if isinstance(node, Scalar) else None
    if status is None:
        reader.problem(node, Message("status must be ACTIVE or INACTIVE, not {actual}", actual=describe(node)))
    return status


def read_schedule(
    reader: Reader,
    fields: Mapping[str, Node],
    base_status: Status | None,
    named: Mapping[str, UnresolvedSchedule | None],
) -> UnresolvedSchedule | None:
    """Return the windows of an entry that has any of `KEYS`; None for no schedule.

    Report problems to `reader`, and return None if any. `base_status` is the status of the entry outside its windows;
    None if it has none. `named` are the schedules that entries can name; None for a schedule with problems.
    """
    schedule = fields.get("schedule")
    if schedule is None:
        return _temporary(reader, fields, base_status)
    for name in sorted(KEYS.intersection(fields) - {"schedule"}):
        reader.problem(fields[name], Message("{name} conflicts with schedule: move it into a window", name=name))
    if is_none(schedule):
        return None
    if isinstance(schedule, Scalar) and not schedule.is_null:
        name = schedule.text.strip()
        if name not in named:
            hint = suggest(name, named) if named else Message("; define it under schedules")
            reader.problem(schedule, Message("unknown schedule {name}{hint}", name=quote(name), hint=hint))
        windows = named.get(name)
    else:
        windows = read_windows(reader, schedule)
    return windows and replace(windows, base_status=base_status)


def is_none(node: Node) -> bool:
    """Return True if the value of `schedule` means no schedule."""
    return isinstance(node, Scalar) and node.text.strip() == NO_SCHEDULE


def read_windows(reader: Reader, schedule: Node) -> UnresolvedSchedule | None:
    """Return the schedule of a list of windows. If it is not a list, add a problem and return None."""
    if not isinstance(schedule, Sequence) or not schedule.items:
        message = Message("schedule must be a list of windows, or the name of a schedule: {forms}", forms=_FORMS)
        reader.problem(schedule, message)
        return None
    dated: list[tuple[_Position, DatedWindow]] = []
    weeks: list[tuple[_Position, WeeklyWindow]] = []
    for node in schedule.items:
        window = _window(reader, node)
        if isinstance(window, DatedWindow):
            dated.append((_Position(node.line, node.column), window))
        elif window is not None:
            weeks.append((_Position(node.line, node.column), window))
    return UnresolvedSchedule(None, tuple(dated), tuple(weeks))


def without_positions(schedule: UnresolvedSchedule) -> UnresolvedSchedule:
    """Return a schedule for use in another file. A problem there is at the start of that file."""
    start = _Position(1, 1)
    return replace(
        schedule,
        dated=tuple((start, window) for _, window in schedule.dated),
        weekly=tuple((start, window) for _, window in schedule.weekly),
    )


def _temporary(reader: Reader, fields: Mapping[str, Node], base_status: Status | None) -> UnresolvedSchedule | None:
    """Return the schedule of an entry with `until`: its status until that time, and then the status `then`."""
    if "until" not in fields:
        for name in sorted(KEYS.intersection(fields)):
            reader.problem(
                fields[name],
                Message("reason needs until, the end of the status; use note")
                if name == "reason"
                else Message("{name} needs until, the end of the status", name=name),
            )
        return None
    end_node = fields["until"]
    end = read_moment(reader, end_node, "until")
    reason = read_text(reader, fields["reason"], "reason", NOTE_CAP) if "reason" in fields else None
    then = read_status(reader, fields["then"]) if "then" in fields else None
    if base_status is None or end is None:
        return None
    return UnresolvedSchedule(
        then, ((_Position(end_node.line, end_node.column), DatedWindow(base_status, None, end, reason)),)
    )


def _window(reader: Reader, node: Node) -> DatedWindow | WeeklyWindow | None:
    if not isinstance(node, MappingNode):
        reader.problem(node, Message("a window must be {forms}, not {actual}", forms=_FORMS, actual=describe(node)))
        return None
    fields = reader.fields(node, _WINDOW)
    status = read_status(reader, fields["status"]) if "status" in fields else None
    if "status" not in fields:
        reader.problem(node, Message("missing status of the window: write ACTIVE or INACTIVE"))
    reason = read_text(reader, fields["reason"], "reason", NOTE_CAP) if "reason" in fields else None
    limits = {name: read_moment(reader, fields[name], name) for name in ("from", "until") if name in fields}
    if ("weekly" in fields) == bool(limits):
        reader.problem(
            node,
            Message("the window has both weekly and from or until; write two windows: {forms}", forms=_FORMS)
            if limits
            else Message("the window has no time: write {forms}", forms=_FORMS),
        )
        return None
    if limits:
        if status is None or None in limits.values():
            return None
        return DatedWindow(status, limits.get("from"), limits.get("until"), reason)
    return _weekly(reader, fields["weekly"], status, reason)


def _weekly(reader: Reader, node: Node, status: Status | None, reason: str | None) -> WeeklyWindow | None:
    text = read_text(reader, node, "weekly", NOTE_CAP)
    if text is None:
        return None
    try:
        spans = parse_weekly(text)
    except ValueError as error:
        reader.problem(node, str(error))
        return None
    return None if status is None else WeeklyWindow(status, text, spans, reason)


def read_moment(reader: Reader, node: Node, name: str) -> datetime | None:
    """Return the time at a node, aware if it has an offset. If it is not a time, add a problem and return None."""
    text = node.text.strip() if isinstance(node, Scalar) else ""
    try:
        return parse_moment(text)
    except ValueError as error:
        message = Message("invalid {name} {actual}: {reason}", name=name, actual=describe(node), reason=str(error))
        reader.problem(node, message)
        return None


def resolve_schedules(
    reader: Reader,
    numbers: Mapping[str, UnresolvedSchedule],
    timezone: str,
    other_schedules: Iterable[UnresolvedSchedule] = (),
) -> dict[str, Schedule]:
    """Return the schedule of each number, with its times in `timezone`. Report empty and contradictory windows.

    Numbers with equal schedules share one instance. A number whose schedule has problems is left out. `other_schedules`
    are schedules that are checked too, although they belong to no number.
    """
    other_schedules = tuple(other_schedules)
    if not numbers and not other_schedules:
        return {}  # names of time zones take some milliseconds to read
    resolver = _Resolver(reader, timezone)
    for other in other_schedules:
        resolver.resolve(other)
    resolved = ((phone, resolver.resolve(unresolved)) for phone, unresolved in numbers.items())
    return {phone: schedule for phone, schedule in resolved if schedule is not None}


class _Resolver:
    """Resolver of schedules in a time zone. It reports each problem once."""

    def __init__(self, reader: Reader, timezone: str) -> None:
        self._reader = reader
        self._timezone = timezone
        self._zone = load_zone(timezone)
        self._distinct: dict[Schedule, Schedule] = {}
        self._resolved: dict[int, Schedule | None] = {}
        self._reported: set[tuple[_Position, str]] = set()

    def resolve(self, unresolved: UnresolvedSchedule) -> Schedule | None:
        """Return a schedule; None if it has problems. Numbers by default share one unresolved instance."""
        if id(unresolved) not in self._resolved:
            self._resolved[id(unresolved)] = self._resolve(unresolved)
        return self._resolved[id(unresolved)]

    def _resolve(self, unresolved: UnresolvedSchedule) -> Schedule | None:
        dated = tuple(
            replace(
                window,
                start=None if window.start is None else to_utc(window.start, self._zone),
                end=None if window.end is None else to_utc(window.end, self._zone),
            )
            for _, window in unresolved.dated
        )
        schedule = Schedule(
            unresolved.base_status, dated, tuple(window for _, window in unresolved.weekly), self._timezone
        )
        if schedule not in self._distinct:
            problems = [*_empty(unresolved, schedule), *_contradictory(unresolved, schedule)]
            for position, message in problems:
                if (position, message) not in self._reported:
                    self._reported.add((position, message))
                    self._reader.report(Problem(self._reader.source, position.line, position.column, message))
            if problems:
                # an equal schedule is reported at its own position
                return None
            self._distinct[schedule] = schedule
        return self._distinct[schedule]


def _empty(unresolved: UnresolvedSchedule, schedule: Schedule) -> Iterator[tuple[_Position, Message]]:
    for (position, _), window in zip(unresolved.dated, schedule.dated, strict=True):
        if window.start is not None and window.end is not None and window.start >= window.end:
            yield position, Message("the window ends before it starts: until must be later than from")


def _contradictory(unresolved: UnresolvedSchedule, schedule: Schedule) -> Iterator[tuple[_Position, Message]]:
    dated, weeks = ([position for position, _ in windows_at] for windows_at in (unresolved.dated, unresolved.weekly))
    for positions, windows in ((dated, schedule.dated), (weeks, schedule.weekly)):
        for first, second in find_contradictions(windows):
            message = Message(
                "the window overlaps the one on line {line}, which has another status: shorten one of them",
                line=positions[first].line,
            )
            yield positions[second], message
