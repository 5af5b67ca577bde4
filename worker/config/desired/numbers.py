"""A reader of the numbers of a document, in both forms: a mapping of numbers to statuses, and a list of entries."""

from array import array
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import yaml
from msgspec.structs import replace

from worker.config import yaml_reader
from worker.config.desired import schedules
from worker.config.desired.defaults import Defaults
from worker.config.desired.schedules import UnresolvedSchedule
from worker.config.fields import NOTE_CAP, read_flag, read_text
from worker.config.yaml_reader import PROBLEM_CAP, Mapping, Node, Reader, Scalar, describe, quote
from worker.model.accounts import Desired, Schedule, Status
from worker.model.errors import Problem
from worker.model.messages import Message, PhoneNumber
from worker.model.phones import normalise, why_unusual

__all__ = ["FIELDS", "NumbersReader"]

_ODDITY_CAP: Final = 2000
"""Maximum count of unusual numbers per document that are checked for warnings. A check takes 20 µs."""

_MOBILE: Final = 11
"""Count of digits of an 010 number. Most numbers are 010 numbers, which need no check for warnings."""

FIELDS: Final = ("status", "owner", "note", "protected", "schedule", "until", "then", "reason")
"""The fields of an entry."""
_KEYS: Final = ("status", "note", "owner", "protected", *schedules.KEYS)
_PLAIN: Final = {
    **dict.fromkeys(("ACTIVE", "active", "Active"), Desired(Status.ACTIVE)),
    **dict.fromkeys(("INACTIVE", "inactive", "Inactive"), Desired(Status.INACTIVE)),
}
_BY_STATUS: Final = {Status.ACTIVE: _PLAIN["ACTIVE"], Status.INACTIVE: _PLAIN["INACTIVE"]}
_OWN: Final = frozenset({"note", "owner", "protected"})
_PLACEHOLDER: Final = Status.INACTIVE
"""The status of an entry with problems, whose file is refused anyway, or with a schedule, which is read later."""


class NumbersReader:
    """A reader of numbers from the event stream. `lines` are the lines of the numbers, in the order of `desired`."""

    def __init__(self, reader: Reader, stream: Iterator[Any], warnings: list[Problem]) -> None:
        self.desired: dict[str, Desired] = {}
        self.lines = array("I")
        self._schedules: dict[str, UnresolvedSchedule] = {}
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
            schedule = None
            desired = plain.get(value.value) if type(value) is yaml.ScalarEvent else None
            if desired is None:
                desired, schedule = self._entry(self._compose(value))
            elif self._defaults.schedule is not None:
                schedule = self._by_default[desired.status]
            self._add(key.value, mark.line + 1, mark.column + 1, desired, schedule)

    def _read_entry(self, node: Node) -> None:
        if isinstance(node, Scalar) and not node.is_null and self._defaults.are_sufficient:
            self._add(node.text, node.line, node.column, *self._desired(node, {}))
            return
        if not isinstance(node, Mapping):
            message = Message("an entry must be {{phone: …, status: …}}, not {actual}", actual=describe(node))
            self._reader.problem(node, message)
            return
        fields = self._reader.fields(node, ("phone", *_KEYS))
        desired, schedule = self._desired(node, fields)
        phone = fields.get("phone")
        if isinstance(phone, Scalar) and not phone.is_null:
            self._add(phone.text, phone.line, phone.column, desired, schedule)
        else:
            self._reader.problem(phone or node, Message("missing phone: write a number such as 010-1234-5678"))

    def _add(self, text: str, line: int, column: int, desired: Desired, schedule: UnresolvedSchedule | None) -> None:
        phone = self._phone(text, line, column)
        if phone is None:
            return
        if phone in self.desired:
            if len(self._duplicates) < PROBLEM_CAP:
                self._duplicates.append((phone, line, column))
            else:
                self._reader.omitted_count += 1
        else:
            self.desired[phone] = desired
            self.lines.append(line)
            if schedule is not None:
                self._schedules[phone] = schedule

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

    def _entry(self, node: Node) -> tuple[Desired, UnresolvedSchedule | None]:
        if isinstance(node, Mapping):
            return self._desired(node, self._reader.fields(node, _KEYS))
        if isinstance(node, Scalar) and node.is_null and self._defaults.are_sufficient:
            return self._desired(node, {})
        status = schedules.read_status(self._reader, node) or Status.INACTIVE
        return self._by_status[status], self._by_default[status]

    def _desired(self, node: Node, fields: dict[str, Node]) -> tuple[Desired, UnresolvedSchedule | None]:
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
        if _OWN.isdisjoint(fields):
            return plain, schedule
        note, owner = (
            read_text(self._reader, fields[name], name, NOTE_CAP, prose=True) if name in fields else default
            for name, default in (("note", defaults.note), ("owner", defaults.owner))
        )
        protected = plain.protected
        if "protected" in fields:
            protected = read_flag(self._reader, fields["protected"], "protected")
        return Desired(plain.status, note, owner, protected), schedule

    def _has_schedule(self, fields: dict[str, Node]) -> bool:
        """Return True if an entry has a schedule, even one with problems."""
        if "schedule" in fields:
            return not schedules.is_none(fields["schedule"])
        return schedules.KEYS.isdisjoint(fields) and self._defaults.schedule is not None

    def _compose(self, event: Any) -> Node:
        return yaml_reader.compose(self._reader.source, event, self._stream)
