"""The numbers of a document, in both forms: a mapping of number to status, and a list of entries."""

from array import array
from collections.abc import Iterator
from typing import Any, Final

import yaml

from worker import strictyaml
from worker.desired.texts import NOTE_CAP, text
from worker.errors import Problem
from worker.model import Desired, Status
from worker.phones import normalise, oddity
from worker.strictyaml import PROBLEM_CAP, Mapping, Node, Reader, Scalar

__all__ = ["Numbers"]

_ODDITY_CAP: Final = 2000
"""Unusual numbers of a document that are looked at twice, at 20 µs each; nobody writes more by hand."""
_SHOWN: Final = 40
"""Characters of a wrong text that a message repeats."""

_KEYS: Final = ("status", "note", "owner", "protected")
_PLAIN: Final = {
    **dict.fromkeys(("ACTIVE", "active", "Active"), Desired(Status.ACTIVE)),
    **dict.fromkeys(("INACTIVE", "inactive", "Inactive"), Desired(Status.INACTIVE)),
}
_SHARED: Final = {Status.ACTIVE: _PLAIN["ACTIVE"], Status.INACTIVE: _PLAIN["INACTIVE"]}


class Numbers:
    """Reads numbers from the stream. `desired` has what each should be, and `lines` where it stands, in one order."""

    def __init__(self, reader: Reader, stream: Iterator[Any], warnings: list[Problem]) -> None:
        self.desired: dict[str, Desired] = {}
        self.lines = array("I")
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
            for event in self._stream:
                if isinstance(event, yaml.SequenceEndEvent):
                    return
                self._listed(self._composed(event))

    def finish(self) -> None:
        """Tell of the numbers that stand twice, with the lines of both places."""
        first = dict(zip(self.desired, self.lines, strict=True)) if self._twice else {}
        for phone, line, column in self._twice:
            told = f"{phone} stands here and on line {first[phone]}: keep one of the two"
            self._reader.tell(Problem(self._reader.source, line, column, told))

    def _read_mapping(self) -> None:
        stream, plain = self._stream, _PLAIN
        for key in stream:
            if type(key) is yaml.MappingEndEvent:
                return
            mark: strictyaml.Mark = key.start_mark
            if type(key) is not yaml.ScalarEvent:
                self._reader.problem(self._composed(key), "a number should stand here")
                self._composed(next(stream))
                continue
            value = next(stream)
            desired = plain.get(value.value) if type(value) is yaml.ScalarEvent else None
            if desired is None:
                desired = self._entry(self._composed(value))
            self._add(key.value, mark.line + 1, mark.column + 1, desired)

    def _listed(self, node: Node) -> None:
        if not isinstance(node, Mapping):
            self._reader.problem(node, "an entry of the list should be {phone: …, status: …}")
            return
        fields = self._reader.fields(node, ("phone", *_KEYS))
        desired = self._desired(node, fields)
        phone = fields.get("phone")
        if isinstance(phone, Scalar):
            self._add(phone.text, phone.line, phone.column, desired)
        else:
            self._reader.problem(phone or node, "phone is missing")

    def _add(self, written: str, line: int, column: int, desired: Desired | None) -> None:
        phone = self._phone(written, line, column)
        if phone is None:
            return
        if phone in self.desired:
            if len(self._twice) < PROBLEM_CAP:
                self._twice.append((phone, line, column))
            else:
                self._reader.untold += 1
        elif desired is not None:
            self.desired[phone] = desired
            self.lines.append(line)

    def _phone(self, written: str, line: int, column: int) -> str | None:
        try:
            phone = normalise(written)
        except ValueError as error:
            shown = written if len(written) <= _SHOWN else written[:_SHOWN] + "…"
            reason = "merge keys (<<) are not allowed: write the numbers out" if written == "<<" else str(error)
            self._reader.tell(Problem(self._reader.source, line, column, f"{shown!r}: {reason}"))
            return None
        if not phone.startswith("010") and self._asked < _ODDITY_CAP:
            self._asked += 1
            odd = oddity(phone)
            if odd is not None:
                self._warnings.append(Problem(self._reader.source, line, column, f"{written!r}: {odd}"))
        return phone

    def _entry(self, node: Node) -> Desired | None:
        if isinstance(node, Mapping):
            return self._desired(node, self._reader.fields(node, _KEYS))
        if isinstance(node, Scalar):
            status = self._status(node)
            return None if status is None else _SHARED[status]
        self._reader.problem(node, "a status should stand here, or {status: …, note: …}")
        return None

    def _desired(self, node: Mapping, fields: dict[str, Node]) -> Desired | None:
        if "status" not in fields:
            self._reader.problem(node, "status is missing: ACTIVE or INACTIVE")
        status = self._status(fields["status"]) if "status" in fields else None
        note = text(self._reader, fields["note"], "note", NOTE_CAP) if "note" in fields else None
        owner = text(self._reader, fields["owner"], "owner", NOTE_CAP) if "owner" in fields else None
        protected = self._flag(fields["protected"]) if "protected" in fields else False
        if status is None:
            return None
        if note is None and owner is None and not protected:
            return _SHARED[status]
        return Desired(status, note, owner, protected)

    def _status(self, node: Node) -> Status | None:
        if isinstance(node, Scalar):
            written = node.text.upper()
            if written in {"ACTIVE", "INACTIVE"}:
                return Status(written)
            told = "nothing" if node.null else repr(node.text[:_SHOWN])
            self._reader.problem(node, f"a status is ACTIVE or INACTIVE, not {told}")
        else:
            self._reader.problem(node, "a status is ACTIVE or INACTIVE")
        return None

    def _flag(self, node: Node) -> bool:
        if isinstance(node, Scalar) and node.text.lower() in {"true", "false"}:
            return node.text.lower() == "true"
        self._reader.problem(node, "protected is true or false")
        return False

    def _composed(self, event: Any) -> Node:
        return strictyaml.compose(self._reader.source, event, self._stream)
