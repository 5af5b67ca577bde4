"""The groups of a document: numbers that stand in for each other, and how many of them must be ACTIVE at any moment."""

from collections.abc import Container
from typing import Final

from worker.config.desired.fragments import GroupMember
from worker.config.fields import NAME_CAP, read_count, why_unfit
from worker.config.yaml_reader import Mapping, Node, Reader, Scalar, Sequence, describe, quote
from worker.model.accounts import Group
from worker.model.messages import Message, PhoneNumber
from worker.model.phones import normalise

__all__ = ["GroupsReader"]

_KEYS: Final = ("members", "min_active")


class GroupsReader:
    """Reads groups. Whether their members are listed is known once all documents of the account are read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._members: list[tuple[str, Scalar]] = []
        self._found: list[Group] = []

    def read(self, node: Node) -> None:
        """Read the groups of a document."""
        if not isinstance(node, Mapping):
            self._reader.problem(
                node, Message("groups should be a mapping such as `support: {{members: […], min_active: 1}}`")
            )
            return
        seen: dict[str, Node] = {}
        for key, value in node.items:
            name = self._name(key, seen)
            if name is not None:
                self._group(name, value)

    def finish(self) -> tuple[Group, ...]:
        """Return the groups of the document."""
        return tuple(self._found)

    def unlisted(self, listed: Container[str]) -> tuple[GroupMember, ...]:
        """Return the members that are not among the numbers of the document itself."""
        return tuple(GroupMember(phone, node.line, node.column) for phone, node in self._members if phone not in listed)

    def _name(self, key: Node, seen: dict[str, Node]) -> str | None:
        if not isinstance(key, Scalar) or key.null or not key.text.strip():
            self._reader.problem(key, Message("a group has a name, such as support"))
            return None
        name = key.text.strip()
        reason = why_unfit(name, NAME_CAP)
        if reason is not None:
            self._reader.problem(key, Message("the group's name {reason}", reason=reason))
            return None
        if name in seen:
            told = Message(
                "group {name} stands here and on line {line}: keep one of the two",
                name=quote(name),
                line=seen[name].line,
            )
            self._reader.problem(key, told)
            return None
        seen[name] = key
        return name

    def _group(self, name: str, node: Node) -> None:
        if not isinstance(node, Mapping):
            told = Message(
                "group {name} should be {{members: […], min_active: 1}}, not {given}",
                name=quote(name),
                given=describe(node),
            )
            self._reader.problem(node, told)
            return
        fields = self._reader.fields(node, _KEYS)
        members = self._read_members(fields.get("members", node))
        least = self._least(fields["min_active"], len(members)) if "min_active" in fields else 1
        if members and least is not None:
            self._found.append(Group(name, members, least))

    def _read_members(self, node: Node) -> tuple[str, ...]:
        if not isinstance(node, Sequence) or not node.items:
            self._reader.problem(
                node, Message("members should be a list of numbers, such as [010-1234-5678, 02-312-4567]")
            )
            return ()
        found: dict[str, Node] = {}
        for item in node.items:
            phone = self._phone(item)
            if phone is None:
                continue
            if phone in found:
                told = Message(
                    "{phone} stands here and on line {line}: keep one of the two",
                    phone=PhoneNumber(phone),
                    line=found[phone].line,
                )
                self._reader.problem(item, told)
            found.setdefault(phone, item)
        return tuple(found)

    def _phone(self, node: Node) -> str | None:
        if not isinstance(node, Scalar) or node.null:
            self._reader.problem(node, Message("a number should stand here, not {given}", given=describe(node)))
            return None
        try:
            phone = normalise(node.text)
        except ValueError as error:
            self._reader.problem(node, Message("{text}: {error}", text=quote(node.text), error=str(error)))
            return None
        self._members.append((phone, node))
        return phone

    def _least(self, node: Node, members: int) -> int | None:
        number = read_count(node)
        if number is not None and 1 <= number <= members:
            return number
        if members:
            most = Message("from 1 to {members:,}, the number of its members", members=members)
            self._reader.problem(
                node,
                Message("min_active should be a whole number {most}, not {given}", most=most, given=describe(node)),
            )
        return None
