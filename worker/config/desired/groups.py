"""A reader of the groups of a document. A group is a set of numbers with a minimum count of ACTIVE members."""

from collections.abc import Iterator
from typing import Final

from worker.config.desired.fragments import GroupMember
from worker.config.fields import NAME_CAP, read_count, why_unfit
from worker.config.yaml_reader import Mapping, Node, Reader, Scalar, Sequence, describe, duplicate, quote
from worker.model.accounts import Group
from worker.model.messages import Message, PhoneNumber
from worker.model.phones import normalise

__all__ = ["GroupsReader"]

_KEYS: Final = ("members", "min_active")


class GroupsReader:
    """A reader of groups. It does not check that members are listed: another document of the account may list them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._members: list[tuple[str, Scalar]] = []
        self._groups: list[Group] = []

    def read(self, node: Node) -> None:
        """Read the value of the key `groups`."""
        if not isinstance(node, Mapping):
            message = Message("groups must be a mapping such as `support: {{members: […], min_active: 1}}`")
            self._reader.problem(node, message)
            return
        names: dict[str, Node] = {}
        for key, value in node.items:
            name = self._name(key, names)
            if name is not None:
                self._group(name, value)

    def finish(self) -> tuple[Group, ...]:
        """Return the groups of the document."""
        return tuple(self._groups)

    @property
    def members(self) -> Iterator[GroupMember]:
        """The members of all groups, with their positions."""
        return (GroupMember(phone, node.line, node.column) for phone, node in self._members)

    def _name(self, key: Node, names: dict[str, Node]) -> str | None:
        if not isinstance(key, Scalar) or key.is_null or not key.text.strip():
            self._reader.problem(key, Message("a group needs a name, such as support"))
            return None
        name = key.text.strip()
        reason = why_unfit(name, NAME_CAP)
        if reason is not None:
            self._reader.problem(key, Message("the group name {reason}", reason=reason))
            return None
        if name in names:
            self._reader.problem(key, duplicate(Message("group {name}", name=quote(name)), names[name]))
            return None
        names[name] = key
        return name

    def _group(self, name: str, node: Node) -> None:
        if not isinstance(node, Mapping):
            message = Message(
                "group {name} must be {{members: […], min_active: 1}}, not {actual}",
                name=quote(name),
                actual=describe(node),
            )
            self._reader.problem(node, message)
            return
        fields = self._reader.fields(node, _KEYS)
        members = self._read_members(fields.get("members", node))
        min_active = self._min_active(fields["min_active"], len(members)) if "min_active" in fields else 1
        if members and min_active is not None:
            self._groups.append(Group(name, members, min_active))

    def _read_members(self, node: Node) -> tuple[str, ...]:
        if not isinstance(node, Sequence) or not node.items:
            message = Message("members must be a list of numbers, such as [010-1234-5678, 02-312-4567]")
            self._reader.problem(node, message)
            return ()
        members: dict[str, Node] = {}
        for item in node.items:
            phone = self._phone(item)
            if phone is None:
                continue
            if phone in members:
                self._reader.problem(item, duplicate(PhoneNumber(phone), members[phone]))
            members.setdefault(phone, item)
        return tuple(members)

    def _phone(self, node: Node) -> str | None:
        if not isinstance(node, Scalar) or node.is_null:
            self._reader.problem(node, Message("expected a number, not {actual}", actual=describe(node)))
            return None
        try:
            phone = normalise(node.text)
        except ValueError as error:
            message = Message("{phone}: {reason}", phone=quote(node.text), reason=str(error))
            self._reader.problem(node, message)
            return None
        self._members.append((phone, node))
        return phone

    def _min_active(self, node: Node, members: int) -> int | None:
        number = read_count(node)
        if number is not None and 1 <= number <= members:
            return number
        if members:
            message = Message(
                "min_active must be a whole number from 1 to {members:,}, the number of members, not {actual}",
                members=members,
                actual=describe(node),
            )
            self._reader.problem(node, message)
        return None
