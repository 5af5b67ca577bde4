"""A reader of the numbers of a document, in both forms: a mapping of numbers to statuses, and a list of entries."""

from array import array
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, TypeAlias

import yaml
from msgspec.structs import replace

from worker.config import yaml_reader
from worker.config.desired import schedules
from worker.config.desired.defaults import Defaults
from worker.config.desired.schedules import UnresolvedSchedule
from worker.config.fields import NOTE_CAP, read_flag, read_text
from worker.config.yaml_reader import PROBLEM_CAP, Mapping, Node, Reader, Scalar, describe, quote, suggest
from worker.model.accounts import MISSING, Acknowledgement, Desired, Schedule, Status
from worker.model.errors import Problem
from worker.model.messages import Message, PhoneNumber
from worker.model.phones import normalise, why_unusual
from worker.model.times import load_zone, to_utc

__all__ = ["FIELDS", "NumbersReader"]

_ODDITY_CAP: Final = 2000
"""Maximum count of unusual numbers per document that are checked for warnings. A check takes 20 µs."""

_MOBILE: Final = 11
"""Count of digits of an 010 number. Most numbers are 010 numbers, which need no check for warnings."""

FIELDS: Final = ("status", "owner", "note", "protected", "acknowledge", "schedule", "until", "then", "reason")
"""The fields of an entry."""
_KEYS: Final = ("status", "note", "owner", "protected", "acknowledge", *schedules.KEYS)
_ACKNOWLEDGE: Final = ("reason", "by", "until", "observed")
_REQUIRED: Final = {
    "reason": Message("say why the difference is left"),
    "until": Message("write the day on which it ends, such as 2026-12-31"),
}
"""The required keys of `acknowledge`, each with advice for its value."""
_STATUSES: Final = (*(status.value for status in Status), MISSING)
_PLAIN: Final = {
    **dict.fromkeys(("ACTIVE", "active", "Active"), Desired(Status.ACTIVE)),
    **dict.fromkeys(("INACTIVE", "inactive", "Inactive"), Desired(Status.INACTIVE)),
}
_BY_STATUS: Final = {Status.ACTIVE: _PLAIN["ACTIVE"], Status.INACTIVE: _PLAIN["INACTIVE"]}
_OWN: Final = frozenset({"note", "owner", "protected"})
_PLACEHOLDER: Final = Status.INACTIVE
"""The status of an entry with problems, whose file is refused anyway, or with a schedule, which is read later."""


_Entry: TypeAlias = tuple[Desired, UnresolvedSchedule | None, Acknowledgement | None]
"""The desired state of a number, its schedule, and its acknowledgement, whose `until` is not yet in a time zone."""


class NumbersReader:
    """A reader of numbers from the event stream. `lines` are the lines of the numbers, in the order of `desired`."""

    def __init__(self, reader: Reader, stream: Iterator[Any], warnings: list[Problem]) -> None:
        self.desired: dict[str, Desired] = {}
        self.lines = array("I")
        self._schedules: dict[str, UnresolvedSchedule] = {}
        self._acknowledgements: dict[str, Acknowledgement] = {}
        self._reader = reader
        self._stream = stream
        self._warnings = warnings
        self.use(Defaults())
        self._warning_checks = 0
        self._duplicates: list[tuple[str, int, int]] = []

    def use(self, defaults: Defaults) -> None:
        """Complete the entries that are read from now on with `defaults`."""
        self._defaults = defaults
        self._by_status = _BY_STATUS
        if defaults.note is not None or defaults.owner is not None or defaults.protected:
            self._by_status = {
                status: Desired(status, defaults.note, defaults.owner, bool(defaults.protected))
                for status in _BY_STATUS
            }
        self._by_text = {text: self._by_status[plain.status] for text, plain in _PLAIN.items()}
        self._by_default = {
            status: defaults.schedule and replace(defaults.schedule, base_status=status)
            for status in (None, *_BY_STATUS)
        }

    def read(self, start: Any) -> None:
        """Read the mapping or the list that starts with `start`."""
        if isinstance(start, yaml.MappingStartEvent):
            self._read_mapping()
        else:
            while not isinstance(event := next(self._stream), yaml.SequenceEndEvent):
                self._read_entry(self._compose(event))

    def finish(self, timezone: str, named: Collection[UnresolvedSchedule] = ()) -> dict[str, Schedule]:
        """Return the schedules of numbers in a time zone, and report each duplicate number with both of its lines.

        `named` are schedules that are checked too, although no number may use them.
        """
        first = dict(zip(self.desired, self.lines, strict=True)) if self._duplicates else {}
        for phone, line, column in self._duplicates:
            message = Message(
                "{name} is a duplicate of line {line}: keep one", name=PhoneNumber(phone), line=first[phone]
            )
            self._reader.report(Problem(self._reader.source, line, column, message))
        by_default = self._by_default[None]
        others = (*named, by_default) if by_default is not None else named
        return schedules.resolve_schedules(self._reader, self._schedules, timezone, others)

    def acknowledgements(self, timezone: str) -> dict[str, Acknowledgement]:
        """Return the acknowledgements of numbers. Their times without an offset are in a time zone."""
        return {
            phone: replace(acknowledgement, until=to_utc(acknowledgement.until, load_zone(timezone)), timezone=timezone)
            for phone, acknowledgement in self._acknowledgements.items()
        }

    def _read_mapping(self) -> None:
        stream, plain = self._stream, self._by_text
        for key in stream:  # pragma: no branch - always breaks; `while` with `next` is a tenth slower
            if type(key) is yaml.MappingEndEvent:
                break
            mark: yaml.Mark = key.start_mark
            if type(key) is not yaml.ScalarEvent:
                self._reader.problem(Node(mark), Message("expected a number, such as 010-1234-5678"))
                yaml_reader.skip(key, stream)
                yaml_reader.skip(next(stream), stream)
                continue
            value = next(stream)
            schedule = acknowledgement = None
            desired = plain.get(value.value) if type(value) is yaml.ScalarEvent else None
            if desired is None:
                desired, schedule, acknowledgement = self._entry(self._compose(value))
            elif self._defaults.schedule is not None:
                schedule = self._by_default[desired.status]
            self._add(key.value, mark.line + 1, mark.column + 1, (desired, schedule, acknowledgement))

    def _read_entry(self, node: Node) -> None:
        if isinstance(node, Scalar) and not node.is_null and self._defaults.are_sufficient:
            self._add(node.text, node.line, node.column, self._desired(node, {}))
            return
        if not isinstance(node, Mapping):
            message = Message("an entry must be {{phone: …, status: …}}, not {actual}", actual=describe(node))
            self._reader.problem(node, message)
            return
        fields = self._reader.fields(node, ("phone", *_KEYS))
        entry = self._desired(node, fields)
        phone = fields.get("phone")
        if isinstance(phone, Scalar) and not phone.is_null:
            self._add(phone.text, phone.line, phone.column, entry)
        else:
            self._reader.problem(phone or node, Message("missing phone: write a number such as 010-1234-5678"))

    def _add(self, text: str, line: int, column: int, entry: _Entry) -> None:
        phone = self._phone(text, line, column)
        if phone is None:
            return
        if phone in self.desired:
            if len(self._duplicates) < PROBLEM_CAP:
                self._duplicates.append((phone, line, column))
            else:
                self._reader.omitted_count += 1
        else:
            self.desired[phone], schedule, acknowledgement = entry
            self.lines.append(line)
            if schedule is not None:
                self._schedules[phone] = schedule
            if acknowledgement is not None:
                self._acknowledgements[phone] = acknowledgement

    def _phone(self, text: str, line: int, column: int) -> str | None:
        try:
            phone = normalise(text)
        except ValueError as error:
            merge_key = Message("merge keys (<<) are not allowed: write the numbers out")
            self._report(text, merge_key if text == "<<" else str(error), self._reader.report, line, column)
            return None
        if (len(phone) != _MOBILE or not phone.startswith("010")) and self._warning_checks < _ODDITY_CAP:
            self._warning_checks += 1
            warning = why_unusual(phone)
            if warning is not None:
                self._report(text, warning, self._warnings.append, line, column)
        return phone

    def _report(self, text: str, reason: str, add: Callable[[Problem], None], line: int, column: int) -> None:
        message = Message("{phone}: {reason}", phone=quote(text), reason=reason)
        add(Problem(self._reader.source, line, column, message))

    def _entry(self, node: Node) -> _Entry:
        if isinstance(node, Mapping):
            return self._desired(node, self._reader.fields(node, _KEYS))
        if isinstance(node, Scalar) and node.is_null and self._defaults.are_sufficient:
            return self._desired(node, {})
        status = schedules.read_status(self._reader, node) or Status.INACTIVE
        return self._by_status[status], self._by_default[status], None

    def _desired(self, node: Node, fields: dict[str, Node]) -> _Entry:
        defaults = self._defaults
        status = defaults.status
        if "status" in fields:
            status = schedules.read_status(self._reader, fields["status"]) or Status.INACTIVE
        schedule = self._by_default[status]
        if not schedules.KEYS.isdisjoint(fields):
            schedule = schedules.read_schedule(self._reader, fields, status, defaults.schedules)
        if status is None and not self._has_schedule(fields):
            self._reader.problem(node, Message("missing status: write ACTIVE or INACTIVE"))
        plain = self._by_status[status or _PLACEHOLDER]
        acknowledgement = None
        if "acknowledge" in fields:
            acknowledgement = self._acknowledgement(fields["acknowledge"], None if schedule else status)
        if _OWN.isdisjoint(fields):
            return plain, schedule, acknowledgement
        note, owner = (
            read_text(self._reader, fields[name], name, NOTE_CAP, is_multiline=True) if name in fields else default
            for name, default in (("note", defaults.note), ("owner", defaults.owner))
        )
        protected = plain.protected
        if "protected" in fields:
            protected = read_flag(self._reader, fields["protected"], "protected")
        return Desired(plain.status, note, owner, protected), schedule, acknowledgement

    def _acknowledgement(self, node: Node, desired: Status | None) -> Acknowledgement | None:
        """Return an acknowledgement; None if it has problems. `desired` is None if the status depends on the time."""
        reader = self._reader
        if not isinstance(node, Mapping):
            message = Message("acknowledge must be {{reason: …, until: 2026-12-31}}, optionally with by and observed")
            reader.problem(node, message)
            return None
        fields = reader.fields(node, _ACKNOWLEDGE)
        for name, advice in _REQUIRED.items():
            if name not in fields:
                reader.problem(node, Message("acknowledge: missing {name}: {advice}", name=name, advice=advice))
        reason, by = (
            read_text(reader, fields[name], name, NOTE_CAP) if name in fields else None for name in ("reason", "by")
        )
        until = schedules.read_moment(reader, fields["until"], "until") if "until" in fields else None
        observed = self._known_status(fields["observed"], desired) if "observed" in fields else None
        return None if reason is None or until is None else Acknowledgement(reason, until, by, observed)

    def _known_status(self, node: Node, desired: Status | None) -> str | None:
        text = node.text.strip().upper() if isinstance(node, Scalar) else ""
        if text not in _STATUSES:
            message = Message("invalid observed {actual}{hint}", actual=describe(node), hint=suggest(text, _STATUSES))
            self._reader.problem(node, message)
        elif text == desired:
            message = Message("observed is the desired status: write the status that is known to differ")
            self._reader.problem(node, message)
        return text

    def _has_schedule(self, fields: dict[str, Node]) -> bool:
        """Return True if an entry has a schedule, even one with problems."""
        if "schedule" in fields:
            return not schedules.is_none(fields["schedule"])
        return schedules.KEYS.isdisjoint(fields) and self._defaults.schedule is not None

    def _compose(self, event: Any) -> Node:
        return yaml_reader.compose(self._reader.source, event, self._stream)
