"""The numbers of a document, in both forms: a mapping of number to status, and a list of entries."""

from array import array
from collections.abc import Iterator
from typing import Any, Final

import yaml

from worker.config import yaml_reader
from worker.config.desired import schedules
from worker.config.desired.schedules import UnresolvedSchedule
from worker.config.fields import NOTE_CAP, read_text
from worker.config.yaml_reader import PROBLEM_CAP, Mapping, Node, Reader, Scalar, describe, quote
from worker.model.accounts import Desired, Schedule, Status
from worker.model.errors import Problem
from worker.model.messages import Message, PhoneNumber
from worker.model.phones import normalise, why_unusual

__all__ = ["NumbersReader"]

_ODDITY_CAP: Final = 2000
"""Unusual numbers of a document that are looked at twice, at 20 µs each; nobody writes more by hand."""

_MOBILE: Final = 11
"""Digits of an 010 number: most numbers are such, and none of them is unusual."""

_KEYS: Final = ("status", "note", "owner", "protected", *schedules.KEYS)
_PLAIN: Final = {
    **dict.fromkeys(("ACTIVE", "active", "Active"), Desired(Status.ACTIVE)),
    **dict.fromkeys(("INACTIVE", "inactive", "Inactive"), Desired(Status.INACTIVE)),
}
_SHARED: Final = {Status.ACTIVE: _PLAIN["ACTIVE"], Status.INACTIVE: _PLAIN["INACTIVE"]}
_REFUSED: Final = _SHARED[Status.INACTIVE]
"""Stands in for what was wrong, so that the number is known to stand here: the file is refused whatever it says. Also
for what a schedule is going to say."""


class NumbersReader:
    """Reads numbers from the stream. `desired` has what each should be, and `lines` where it stands, in one order."""

    def __init__(self, reader: Reader, stream: Iterator[Any], warnings: list[Problem]) -> None:
        self.desired: dict[str, Desired] = {}
        self.lines = array("I")
        self._written: dict[str, UnresolvedSchedule] = {}
        self._reader = reader
        self._stream = stream
        self._warnings = warnings
        self._asked = 0
        self._twice: list[tuple[str, int, int]] = []

    def read(self, start: Any) -> None:
        """Read the mapping or the list that begins with `start`."""
        if isinstance(start, yaml.MappingStartEvent):
            self._read_mapping()
        else:
            while not isinstance(event := next(self._stream), yaml.SequenceEndEvent):
                self._listed(self._composed(event))

    def finish(self, timezone: str) -> dict[str, Schedule]:
        """The schedules of numbers, by the clock of a zone; tells of the numbers that stand twice, with both lines."""
        first = dict(zip(self.desired, self.lines, strict=True)) if self._twice else {}
        for phone, line, column in self._twice:
            told = Message(
                "{phone} stands here and on line {first}: keep one of the two",
                phone=PhoneNumber(phone),
                first=first[phone],
            )
            self._reader.tell(Problem(self._reader.source, line, column, told))
        return schedules.resolve_schedules(self._reader, self._written, timezone)

    def _read_mapping(self) -> None:
        stream, plain = self._stream, _PLAIN
        for key in stream:  # pragma: no branch - it always breaks; `while` with `next` would be a tenth slower
            if type(key) is yaml.MappingEndEvent:
                break
            mark: yaml_reader.Position = key.start_mark
            if type(key) is not yaml.ScalarEvent:
                self._reader.problem(Node(mark), Message("a number should stand here, such as 010-1234-5678"))
                yaml_reader.skip(key, stream)
                yaml_reader.skip(next(stream), stream)
                continue
            value = next(stream)
            written = None
            desired = plain.get(value.value) if type(value) is yaml.ScalarEvent else None
            if desired is None:
                desired, written = self._entry(self._composed(value))
            self._add(key.value, mark.line + 1, mark.column + 1, desired, written)

    def _listed(self, node: Node) -> None:
        if not isinstance(node, Mapping):
            told = Message("an entry of the list should be {{phone: …, status: …}}, not {given}", given=describe(node))
            self._reader.problem(node, told)
            return
        fields = self._reader.fields(node, ("phone", *_KEYS))
        desired, written = self._desired(node, fields)
        phone = fields.get("phone")
        if isinstance(phone, Scalar) and not phone.null:
            self._add(phone.text, phone.line, phone.column, desired, written)
        else:
            self._reader.problem(phone or node, Message("phone is missing: a number such as 010-1234-5678"))

    def _add(self, text: str, line: int, column: int, desired: Desired, written: UnresolvedSchedule | None) -> None:
        phone = self._phone(text, line, column)
        if phone is None:
            return
        if phone in self.desired:
            if len(self._twice) < PROBLEM_CAP:
                self._twice.append((phone, line, column))
            else:
                self._reader.untold += 1
        else:
            self.desired[phone] = desired
            self.lines.append(line)
            if written is not None:
                self._written[phone] = written

    def _phone(self, written: str, line: int, column: int) -> str | None:
        try:
            phone = normalise(written)
        except ValueError as error:
            reason = (
                Message("merge keys (<<) are not allowed: write the numbers out") if written == "<<" else str(error)
            )
            self._reader.tell(
                Problem(
                    self._reader.source,
                    line,
                    column,
                    Message("{written}: {reason}", written=quote(written), reason=reason),
                )
            )
            return None
        if (len(phone) != _MOBILE or not phone.startswith("010")) and self._asked < _ODDITY_CAP:
            self._asked += 1
            odd = why_unusual(phone)
            if odd is not None:
                self._warnings.append(
                    Problem(
                        self._reader.source, line, column, Message("{written}: {odd}", written=quote(written), odd=odd)
                    )
                )
        return phone

    def _entry(self, node: Node) -> tuple[Desired, UnresolvedSchedule | None]:
        if isinstance(node, Mapping):
            return self._desired(node, self._reader.fields(node, _KEYS))
        return self._status(node), None

    def _desired(self, node: Mapping, fields: dict[str, Node]) -> tuple[Desired, UnresolvedSchedule | None]:
        if "status" in fields:
            plain = self._status(fields["status"])
        else:
            if "schedule" not in fields:
                self._reader.problem(node, Message("status is missing: ACTIVE or INACTIVE"))
            plain = _REFUSED
        note = read_text(self._reader, fields["note"], "note", NOTE_CAP, prose=True) if "note" in fields else None
        owner = read_text(self._reader, fields["owner"], "owner", NOTE_CAP, prose=True) if "owner" in fields else None
        protected = self._flag(fields["protected"]) if "protected" in fields else False
        written = None
        if not schedules.KEYS.isdisjoint(fields):
            written = schedules.read_schedule(self._reader, fields, plain.status if "status" in fields else None)
        if note is None and owner is None and not protected:
            return plain, written
        return Desired(plain.status, note, owner, protected), written

    def _status(self, node: Node) -> Desired:
        return _SHARED[schedules.read_status(self._reader, node) or Status.INACTIVE]

    def _flag(self, node: Node) -> bool:
        if isinstance(node, Scalar) and node.text.lower() in {"true", "false"}:
            return node.text.lower() == "true"
        self._reader.problem(node, Message("protected is true or false, not {given}", given=describe(node)))
        return False

    def _composed(self, event: Any) -> Node:
        return yaml_reader.compose(self._reader.source, event, self._stream)
