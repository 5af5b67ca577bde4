"""A reader of `defaults` and `schedules`, of a document or of the file that the documents of a folder share.

Defaults complete the entries of numbers, as if each entry had them itself. An entry that has a key itself, or a
document that has a default of its own, takes precedence. A schedule has a name, by which entries use it.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from worker.config.desired.schedules import (
    NO_SCHEDULE,
    UnresolvedSchedule,
    read_schedule,
    read_status,
    read_windows,
    resolve_schedules,
    without_positions,
)
from worker.config.fields import NAME_CAP, NOTE_CAP, read_flag, read_text, read_version, why_unfit
from worker.config.yaml_reader import Mapping as MappingNode
from worker.config.yaml_reader import Node, Reader, Scalar, duplicate, quote
from worker.model.accounts import Status
from worker.model.messages import Message
from worker.model.times import DEFAULT_ZONE

__all__ = ["KEYS", "WINDOWS", "Defaults", "DefaultsReader", "read_shared"]

KEYS: Final = ("defaults", "schedules")
"""The keys of a document that complete its numbers. They come before `numbers`."""
_DOCUMENT_KEYS: Final = frozenset({"account", "numbers"})
WINDOWS: Final = "windows"
"""Stands for the windows of a schedule without a name."""
_FIELDS: Final = ("status", "note", "owner", "protected", "schedule")


class Defaults(Struct, frozen=True):
    """The fields that entries have by default; None for a field without a default.

    `schedules` are the named schedules; None for a name whose schedule has problems. `places` is where each field and
    each schedule is defined, as `file:line`. `texts` are the fields as the file has them.
    """

    status: Status | None = None
    note: str | None = None
    owner: str | None = None
    protected: bool | None = None
    schedule: UnresolvedSchedule | None = None
    schedules: Mapping[str, UnresolvedSchedule | None] = {}
    places: Mapping[str, str] = {}
    texts: Mapping[str, str] = {}

    @property
    def are_sufficient(self) -> bool:
        """Return True if an entry needs no field of its own."""
        return self.status is not None or self.schedule is not None


class DefaultsReader:
    """A reader of the two keys, in any order. `inherited` are the defaults that the document shares with others."""

    def __init__(self, reader: Reader, inherited: Defaults) -> None:
        self._reader = reader
        self._inherited = inherited
        self._fields: dict[str, Node] = {}
        self._schedules: dict[str, UnresolvedSchedule | None] = {}
        self._places: dict[str, str] = {}

    def read_defaults(self, node: Node) -> None:
        """Read the value of the key `defaults`."""
        if isinstance(node, MappingNode):
            self._fields = self._reader.fields(node, _FIELDS)
        else:
            message = Message("defaults must be a mapping such as {{status: ACTIVE, owner: sales}}")
            self._reader.problem(node, message)

    def read_schedules(self, node: Node) -> None:
        """Read the value of the key `schedules`."""
        if not isinstance(node, MappingNode):
            message = Message("schedules must be a mapping of names to lists of windows")
            self._reader.problem(node, message)
            return
        names: dict[str, Node] = {}
        for key, value in node.items:
            name = self._name(key, names)
            if name is not None:
                self._schedules[name] = read_windows(self._reader, value)
                self._places[f"schedules.{name}"] = f"{self._reader.source}:{key.line}"

    def finish(self) -> Defaults:
        """Return the defaults, with those that they inherit."""
        inherited, fields = self._inherited, self._fields
        schedules = {**inherited.schedules, **self._schedules}
        values: dict[str, Any] = {}
        if "status" in fields:
            # a placeholder, as the file is refused anyway, and each number would lack a status
            values["status"] = read_status(self._reader, fields["status"]) or Status.INACTIVE
        for name in ("note", "owner"):
            if name in fields:
                values[name] = read_text(self._reader, fields[name], name, NOTE_CAP, is_multiline=True)
        if "protected" in fields:
            values["protected"] = read_flag(self._reader, fields["protected"], "protected")
        if "schedule" in fields:
            values["schedule"] = read_schedule(self._reader, {"schedule": fields["schedule"]}, None, schedules)
        places = {name: f"{self._reader.source}:{node.line}" for name, node in fields.items()}
        texts = {
            name: " ".join(node.text.split()) if isinstance(node, Scalar) else WINDOWS for name, node in fields.items()
        }
        return replace(
            inherited,
            **values,
            schedules=schedules,
            places={**inherited.places, **self._places, **places},
            texts={**inherited.texts, **texts},
        )

    def named(self) -> Collection[UnresolvedSchedule]:
        """Return the schedules that the key `schedules` defines, whether or not a number uses them."""
        return tuple(schedule for schedule in self._schedules.values() if schedule is not None)

    def _name(self, key: Node, names: dict[str, Node]) -> str | None:
        name = key.text.strip() if isinstance(key, Scalar) and not key.is_null else ""
        reason = why_unfit(name, NAME_CAP)
        if not name or name == NO_SCHEDULE:
            message = Message("a schedule needs a name, such as office-hours; none means no schedule")
            self._reader.problem(key, message)
        elif reason is not None:
            self._reader.problem(key, Message("the schedule name {reason}", reason=reason))
        elif name in names:
            self._reader.problem(key, duplicate(Message("schedule {name}", name=quote(name)), names[name]))
        elif name in self._inherited.schedules:
            message = Message(
                "schedule {name} is a duplicate of {location}: rename one of them",
                name=quote(name),
                location=self._inherited.places[f"schedules.{name}"],
            )
            self._reader.problem(key, message)
        else:
            names[name] = key
            return name
        return None


def read_shared(reader: Reader, node: Node) -> Defaults:
    """Return the defaults of a file that the documents of a folder share; its only document is `node`."""
    if not isinstance(node, MappingNode):
        reader.problem(node, Message("expected a mapping with version, and defaults or schedules"))
        return Defaults()
    for key, _ in node.items:
        if isinstance(key, Scalar) and key.text in _DOCUMENT_KEYS:
            message = Message(
                "a file of this name has only the defaults of its folder: rename it if it describes an account"
            )
            reader.problem(key, message)
            return Defaults()
    fields = reader.fields(node, ("version", *KEYS))
    if "version" in fields:
        read_version(reader, fields["version"])
    else:
        reader.problem(node, Message("missing version: write `version: 1`"))
    defaults_reader = DefaultsReader(reader, Defaults())
    if "defaults" in fields:
        defaults_reader.read_defaults(fields["defaults"])
    if "schedules" in fields:
        defaults_reader.read_schedules(fields["schedules"])
    defaults = defaults_reader.finish()
    schedules = {name: schedule for name, schedule in defaults.schedules.items() if schedule is not None}
    by_default = {} if defaults.schedule is None else {NO_SCHEDULE: defaults.schedule}
    resolved = resolve_schedules(reader, {**schedules, **by_default}, DEFAULT_ZONE)
    # a document has the time zone, so it reports what is invalid only there; its positions are not in this file
    usable = {
        name: without_positions(schedule) for name, schedule in (schedules | by_default).items() if name in resolved
    }
    return replace(
        defaults,
        schedule=usable.get(NO_SCHEDULE),
        schedules={name: usable.get(name) for name in defaults.schedules},
    )
