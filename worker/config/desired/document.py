"""One document: everything that stands beside its numbers."""

from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, Final, get_args
from unicodedata import normalize

import yaml

from worker.config import settings, urls, yaml_reader
from worker.config.desired.fragments import AccountDocument
from worker.config.desired.groups import GroupsReader
from worker.config.desired.in_use import in_use
from worker.config.desired.numbers import NumbersReader
from worker.config.fields import COUNT_DIGITS, NAME_CAP, NOTE_CAP, read_count, read_secret_ref, read_text, why_unfit
from worker.config.yaml_reader import Mapping, Node, Reader, Scalar, describe, quote, suggest
from worker.model.accounts import DesiredAccount, PairSwaps, SafetyOverride, Unmanaged
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import Problem
from worker.model.messages import Message
from worker.model.suspension import Maintenance, Suspend, parse_until
from worker.model.times import DEFAULT_ZONE, load_zone, parse_weekly
from worker.model.zones import zone_warning

__all__ = ["HEAD_KEYS", "DocumentReader"]

_KEYS: Final = (
    "version",
    "account",
    "account_id",
    "credentials",
    "endpoint",
    "unmanaged",
    "safety",
    "in_use",
    "suspend",
    "maintenance",
    "groups",
    "timezone",
    "numbers",
)
HEAD_KEYS: Final = frozenset(_KEYS) - {"version", "account", "timezone", "numbers"}
"""Keys that hold for the whole account: one of its documents has all of them."""
_SECRETS: Final = ("api_key", "api_secret")
_SAFETY: Final = ("max_deactivations", "min_active", "pair_swaps")
_PAIR_SWAPS: Final = get_args(PairSwaps)


class DocumentReader:
    """One account on its way; what is wrong with it is told and left out."""

    def __init__(self, reader: Reader, stream: Iterator[Any], warnings: list[Problem]) -> None:
        self._reader = reader
        self._stream = stream
        self._warnings = warnings
        self._numbers = NumbersReader(reader, stream, warnings)
        self._groups = GroupsReader(reader)
        self._found: dict[str, Any] = {}
        self._keys: frozenset[str] = frozenset()

    def read(self, start: Any) -> AccountDocument | None:
        """Read the document that begins with `start` to its end; None where it is no mapping."""
        event = next(self._stream)
        source, line = self._reader.source, event.start_mark.line + 1
        if not isinstance(event, yaml.MappingStartEvent):
            self._not_a_mapping(start, event)
            return None
        self._read_keys(event)
        self._found["schedules"] = self._numbers.finish(self._found.get("timezone", DEFAULT_ZONE))
        self._found["groups"] = self._groups.finish()
        name = self._found.pop("account", None)
        named = name is not None
        # people type names, and some systems keep Hangul of file names in parts
        account = DesiredAccount(
            normalize("NFC", name or self._name_of_file(line)),
            source,
            self._numbers.desired,
            self._numbers.lines,
            line,
            **self._found,
        )
        head_keys = tuple(sorted(self._keys & HEAD_KEYS))
        return AccountDocument(
            account, named, head_keys, "timezone" in self._keys, self._groups.unlisted(self._numbers.desired)
        )

    def _not_a_mapping(self, start: Any, event: Any) -> None:
        yaml_reader.skip(event, self._stream)
        if isinstance(event, yaml.ScalarEvent) and not event.value:
            told = Message("the document is empty: write version and numbers, or take its --- out")
            self._reader.problem(Node(start.start_mark), told)
        else:
            self._reader.problem(Node(event.start_mark), Message("this should be a mapping with version and numbers"))

    def _name_of_file(self, line: int) -> str:
        source = self._reader.source
        name = PurePath(source).stem
        reason = why_unfit(name, NAME_CAP)
        if reason is not None:
            told = Message("write `account: NAME`: the file's own name {reason}", reason=reason)
            self._reader.tell(Problem(source, line, 1, told))
        return name

    def _read_keys(self, start: Any) -> None:
        seen: dict[str, Node] = {}
        while not isinstance(event := next(self._stream), yaml.MappingEndEvent):
            key = yaml_reader.compose(self._reader.source, event, self._stream)
            value = next(self._stream)
            name = self._reader.key(key, seen, _KEYS)
            if name is None:
                yaml_reader.skip(value, self._stream)
            elif name == "numbers" and not isinstance(value, yaml.ScalarEvent):
                self._numbers.read(value)
            else:
                self._read_value(name, yaml_reader.compose(self._reader.source, value, self._stream))
        self._keys = frozenset(seen)
        top = Node(start.start_mark)
        if "version" not in seen:
            self._reader.problem(top, Message("version is missing: write `version: 1`"))
        if "numbers" not in seen:
            self._reader.problem(top, Message("numbers is missing: write `numbers: {{}}` if there are none"))

    def _read_value(self, name: str, node: Node) -> None:
        read: dict[str, Callable[[Node], Any]] = {
            "version": self._version,
            "account": lambda node: read_text(self._reader, node, "account", NAME_CAP),
            "account_id": lambda node: read_text(self._reader, node, "account_id", NAME_CAP),
            "credentials": self._credentials,
            "endpoint": self._endpoint,
            "unmanaged": self._unmanaged,
            "safety": self._safety,
            "in_use": lambda node: in_use(self._reader, node),
            "suspend": self._suspend,
            "maintenance": self._maintenance,
            "groups": self._groups.read,
            "timezone": self._timezone,
            "numbers": self._no_numbers,
        }
        value = read[name](node)
        if value is not None:
            self._found[name] = value

    def _version(self, node: Node) -> None:
        given = node.text if isinstance(node, Scalar) else ""
        if given == "1":
            return
        newer = given.isascii() and given.isdigit() and int(given[:COUNT_DIGITS]) > 1
        told = (
            Message("version {given} needs a newer senderid", given=given[:COUNT_DIGITS])
            if newer
            else Message("version should be 1")
        )
        self._reader.problem(node, told)

    def _no_numbers(self, node: Node) -> None:
        told = Message(
            "numbers should be lines such as `010-1234-5678: ACTIVE`, indented, with a blank after the "
            "colon, or a list of {{phone: …, status: …}}; {{}} for none"
        )
        self._reader.problem(node, told)

    def _endpoint(self, node: Node) -> str | None:
        given = read_text(self._reader, node, "endpoint", NOTE_CAP)
        if given is not None:
            try:
                urls.parse_endpoint(given)
            except ValueError as error:
                self._reader.problem(node, str(error))
        return given

    def _unmanaged(self, node: Node) -> Unmanaged | None:
        given = node.text if isinstance(node, Scalar) else ""
        known = [each.value for each in Unmanaged]
        if given in known:
            return Unmanaged(given)
        self._reader.problem(
            node,
            Message("unmanaged cannot be {given}{hint}", given=describe(node), hint=suggest(given, known)),
        )
        return None

    def _timezone(self, node: Node) -> str | None:
        given = read_text(self._reader, node, "timezone", NAME_CAP)
        if given is not None:
            try:
                load_zone(given)
            except ValueError as error:
                self._reader.problem(node, Message("timezone {given}: {error}", given=quote(given), error=str(error)))
                return None
            if what := zone_warning(given):
                self._warnings.append(
                    Problem(self._reader.source, node.line, node.column, Message("timezone {what}", what=what))
                )
        return given

    def _safety(self, node: Node) -> SafetyOverride | None:
        if not isinstance(node, Mapping):
            self._reader.problem(
                node, Message("safety should be a mapping of max_deactivations, min_active and pair_swaps")
            )
            return None
        found: dict[str, Any] = {}
        for name, value in self._reader.fields(node, _SAFETY).items():
            given = value.text if isinstance(value, Scalar) else ""
            number = read_count(value)
            if name == "min_active":
                if number is None:
                    told = Message(
                        "min_active should be a whole number from 0 to {most:,}, not {given}",
                        most=10**COUNT_DIGITS - 1,
                        given=describe(value),
                    )
                    self._reader.problem(value, told)
                found[name] = number
                continue
            if name == "pair_swaps":
                if given not in _PAIR_SWAPS:
                    self._reader.problem(
                        value, Message("pair_swaps should be warn or hold, not {given}", given=describe(value))
                    )
                found[name] = given
                continue
            found[name] = given if number is None else number
            try:
                settings.threshold(found[name], 0)
            except ValueError as error:
                self._reader.problem(value, str(error))
        return SafetyOverride(**found)

    def _suspend(self, node: Node) -> Suspend | None:
        if not isinstance(node, Mapping):
            self._reader.problem(
                node, Message("suspend should be {{reason: …}}, and by: …, until: … where they are known")
            )
            return None
        found: dict[str, str] = {}
        for name, value in self._reader.fields(node, ("reason", "by", "until")).items():
            given = read_text(self._reader, value, name, NOTE_CAP)
            if given is None:
                continue
            if name == "until":
                try:
                    parse_until(given)
                except ValueError as error:
                    self._reader.problem(value, str(error))
                    continue
            found[name] = given
        if not node.items:
            self._reader.problem(node, Message("suspend says nothing: give a reason, or leave the key out"))
        return Suspend(**found)

    def _maintenance(self, node: Node) -> Maintenance | None:
        fields = self._reader.fields(node, ("weekly", "reason")) if isinstance(node, Mapping) else {}
        if "weekly" not in fields:
            self._reader.problem(
                node, Message('maintenance should be {{weekly: "Sun 02:00-04:00"}}, and reason: … where it has one')
            )
            return None
        found = {name: read_text(self._reader, value, name, NOTE_CAP) for name, value in fields.items()}
        try:
            parse_weekly(found["weekly"] or "daily 00:00-24:00")
        except ValueError as error:
            self._reader.problem(fields["weekly"], str(error))
            return None
        return Maintenance(**found)

    def _credentials(self, node: Node) -> CredentialsRef | None:
        if not isinstance(node, Mapping):
            self._reader.problem(
                node, Message("credentials should be {{api_key: {{env: NAME}}, api_secret: {{env: NAME}}}}")
            )
            return None
        fields = self._reader.fields(node, _SECRETS, secret=True)
        found: dict[str, SecretRef] = {}
        for name in _SECRETS:
            if name not in fields:
                self._reader.problem(
                    node, Message("credentials: {name} is missing: write {name2}: {{env: NAME}}", name=name, name2=name)
                )
            else:
                given = read_secret_ref(self._reader, fields[name], name)
                if given is not None:
                    found[name] = given
        return CredentialsRef(**found) if len(found) == len(_SECRETS) else None
