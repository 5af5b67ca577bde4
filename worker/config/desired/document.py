"""A reader of one document of a desired-state file. It reads all keys and leaves the numbers to `NumbersReader`."""

from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, Final, get_args
from unicodedata import normalize

import yaml

from worker.config import settings, urls, yaml_reader
from worker.config.desired import defaults
from worker.config.desired.defaults import Defaults, DefaultsReader
from worker.config.desired.fragments import AccountDocument
from worker.config.desired.groups import GroupsReader
from worker.config.desired.numbers import NumbersReader
from worker.config.fields import (
    COUNT_DIGITS,
    NAME_CAP,
    NOTE_CAP,
    read_count,
    read_secret_ref,
    read_text,
    read_version,
    why_unfit,
)
from worker.config.yaml_reader import Mapping, Node, Reader, Scalar, Sequence, describe, quote, suggest
from worker.model.accounts import DesiredAccount, InUseOverride, PairSwaps, SafetyOverride, Unmanaged
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import Problem
from worker.model.messages import Message
from worker.model.phones import parse_pattern
from worker.model.safety import COUNT_CAP, HOURS_CAP
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
    "ignore",
    "timezone",
    *defaults.KEYS,
    "numbers",
)
HEAD_KEYS: Final = frozenset(_KEYS) - {"version", "account", "timezone", *defaults.KEYS, "numbers"}
"""The account-level keys. Only one document of an account may have them."""
_NO_DEFAULTS: Final = Defaults()
_SECRETS: Final = ("api_key", "api_secret")
_SAFETY: Final = ("max_deactivations", "min_active", "pair_swaps")
_PAIR_SWAPS: Final = get_args(PairSwaps)
_IN_USE: Final = {
    "enabled": Message("true or false"),
    "hours": Message("a whole number from 1 to {maximum:,}", maximum=HOURS_CAP),
    "on_unknown": Message("hold or allow"),
}
"""The keys of `in_use`, each with a description of its valid values."""


class DocumentReader:
    """A reader of one document. Values with problems are left out. `inherited` are defaults that it shares."""

    def __init__(
        self, reader: Reader, stream: Iterator[Any], warnings: list[Problem], inherited: Defaults = _NO_DEFAULTS
    ) -> None:
        self._reader = reader
        self._stream = stream
        self._warnings = warnings
        self._numbers = NumbersReader(reader, stream, warnings)
        self._defaults = DefaultsReader(reader, inherited)
        self._groups = GroupsReader(reader)
        self._values: dict[str, Any] = {}
        self._ignored_lines: dict[str, int] = {}
        self._keys: frozenset[str] = frozenset()

    def read(self, start: Any) -> AccountDocument | None:
        """Return the document that starts with `start`, and read it to its end. Return None if it is not a mapping."""
        event = next(self._stream)
        source, line = self._reader.source, event.start_mark.line + 1
        if not isinstance(event, yaml.MappingStartEvent):
            self._not_a_mapping(start, event)
            return None
        self._read_keys(event)
        timezone = self._values.get("timezone", DEFAULT_ZONE)
        self._values["schedules"] = self._numbers.finish(timezone, self._defaults.named())
        self._values["acknowledgements"] = self._numbers.acknowledgements(timezone)
        self._values["groups"] = self._groups.finish()
        self._values["ignored"] = tuple(self._ignored_lines)
        name = self._values.pop("account", None)
        is_named = name is not None
        # macOS, for one, stores Hangul in the names of files decomposed
        account = DesiredAccount(
            normalize("NFC", name or self._name_of_file(line)),
            source,
            self._numbers.desired,
            self._numbers.lines,
            line,
            **self._values,
        )
        head_keys = tuple(sorted(self._keys & HEAD_KEYS))
        unlisted = tuple(member for member in self._groups.members if member.phone not in self._numbers.desired)
        return AccountDocument(account, is_named, head_keys, "timezone" in self._keys, unlisted, self._ignored_lines)

    def _not_a_mapping(self, start: Any, event: Any) -> None:
        yaml_reader.skip(event, self._stream)
        if isinstance(event, yaml.ScalarEvent) and not event.value:
            message = Message("the document is empty: write version and numbers, or remove its ---")
            self._reader.problem(Node(start.start_mark), message)
        else:
            self._reader.problem(Node(event.start_mark), Message("expected a mapping with version and numbers"))

    def _name_of_file(self, line: int) -> str:
        source = self._reader.source
        name = PurePath(source).stem
        reason = why_unfit(name, NAME_CAP)
        if reason is not None:
            message = Message("write `account: NAME`: the file name {reason}", reason=reason)
            self._reader.report(Problem(source, line, 1, message))
        return name

    def _read_keys(self, start: Any) -> None:
        keys: dict[str, Node] = {}
        while not isinstance(event := next(self._stream), yaml.MappingEndEvent):
            key = yaml_reader.compose(self._reader.source, event, self._stream)
            value = next(self._stream)
            name = self._reader.key(key, keys, _KEYS)
            if name is None:
                yaml_reader.skip(value, self._stream)
            elif name == "numbers" and not isinstance(value, yaml.ScalarEvent):
                self._numbers.use(self._defaults.finish())
                self._numbers.read(value)
            else:
                if name in defaults.KEYS and "numbers" in keys:
                    self._reader.problem(key, Message("{key} must come before numbers: move it up", key=name))
                self._read_value(name, yaml_reader.compose(self._reader.source, value, self._stream))
        self._keys = frozenset(keys)
        top = Node(start.start_mark)
        if "version" not in keys:
            self._reader.problem(top, Message("missing version: write `version: 1`"))
        if "numbers" not in keys:
            self._reader.problem(top, Message("missing numbers: write `numbers: {{}}` if there are none"))

    def _read_value(self, name: str, node: Node) -> None:
        value_readers: dict[str, Callable[[Node], Any]] = {
            "version": lambda node: read_version(self._reader, node),
            "account": lambda node: read_text(self._reader, node, "account", NAME_CAP),
            "account_id": lambda node: read_text(self._reader, node, "account_id", NAME_CAP),
            "credentials": self._credentials,
            "endpoint": self._endpoint,
            "unmanaged": self._unmanaged,
            "safety": self._safety,
            "in_use": self._in_use,
            "suspend": self._suspend,
            "maintenance": self._maintenance,
            "groups": self._groups.read,
            "ignore": self._ignore,
            "timezone": self._timezone,
            "defaults": self._defaults.read_defaults,
            "schedules": self._defaults.read_schedules,
            "numbers": self._no_numbers,
        }
        value = value_readers[name](node)
        if value is not None:
            self._values[name] = value

    def _no_numbers(self, node: Node) -> None:
        message = Message(
            "numbers must be indented lines such as `010-1234-5678: ACTIVE`, with a space after the colon, or a list "
            "of {{phone: …, status: …}}; {{}} for none"
        )
        self._reader.problem(node, message)

    def _endpoint(self, node: Node) -> str | None:
        text = read_text(self._reader, node, "endpoint", NOTE_CAP)
        if text is not None:
            try:
                urls.parse_endpoint(text)
            except ValueError as error:
                self._reader.problem(node, str(error))
        return text

    def _unmanaged(self, node: Node) -> Unmanaged | None:
        text = node.text if isinstance(node, Scalar) else ""
        names = [policy.value for policy in Unmanaged]
        if text in names:
            return Unmanaged(text)
        message = Message("invalid unmanaged {actual}{hint}", actual=describe(node), hint=suggest(text, names))
        self._reader.problem(node, message)
        return None

    def _ignore(self, node: Node) -> None:
        if not isinstance(node, Sequence):
            message = Message("ignore must be a list of numbers and of patterns such as 070-1234-*")
            self._reader.problem(node, message)
            return
        for item in node.items:
            text = item.text.strip() if isinstance(item, Scalar) else ""
            try:
                pattern = parse_pattern(text)
            except ValueError as error:
                self._reader.problem(item, Message("{phone}: {reason}", phone=describe(item), reason=str(error)))
                continue
            if pattern in self._ignored_lines:
                first = Message(
                    "{name} is a duplicate of line {line}: keep one",
                    name=quote(text),
                    line=self._ignored_lines[pattern],
                )
                self._reader.problem(item, first)
            else:
                self._ignored_lines[pattern] = item.line

    def _timezone(self, node: Node) -> str | None:
        text = read_text(self._reader, node, "timezone", NAME_CAP)
        if text is not None:
            try:
                load_zone(text)
            except ValueError as error:
                message = Message("timezone {name}: {reason}", name=quote(text), reason=str(error))
                self._reader.problem(node, message)
                return None
            if warning := zone_warning(text):
                message = Message("timezone {warning}", warning=warning)
                self._warnings.append(node.problem(self._reader.source, message))
        return text

    def _safety(self, node: Node) -> SafetyOverride | None:
        if not isinstance(node, Mapping):
            self._reader.problem(node, Message("safety must be a mapping of {keys}", keys=_SAFETY))
            return None
        values: dict[str, Any] = {}
        for name, value in self._reader.fields(node, _SAFETY).items():
            text = value.text if isinstance(value, Scalar) else ""
            number = read_count(value)
            if name == "min_active":
                if number is None:
                    expected = Message("a whole number from {minimum} to {maximum:,}", minimum=0, maximum=COUNT_CAP)
                    self._reader.problem(value, _mismatch(name, expected, value))
                values[name] = number
                continue
            if name == "pair_swaps":
                if text not in _PAIR_SWAPS:
                    self._reader.problem(value, _mismatch(name, Message("warn or hold"), value))
                values[name] = text
                continue
            values[name] = text if number is None else number
            try:
                settings.threshold(values[name], 0)
            except ValueError as error:
                self._reader.problem(value, str(error))
        return SafetyOverride(**values)

    def _in_use(self, node: Node) -> InUseOverride | None:
        if not isinstance(node, Mapping):
            message = Message("in_use must be a mapping such as {{hours: 72}}, not {actual}", actual=describe(node))
            self._reader.problem(node, message)
            return None
        values: dict[str, Any] = {}
        for name, value in self._reader.fields(node, _IN_USE).items():
            text = value.text.strip() if isinstance(value, Scalar) else ""
            number = int(text) if text.isascii() and text.isdigit() and len(text) <= COUNT_DIGITS else 0
            if name == "enabled" and text.lower() in {"true", "false"}:
                values[name] = text.lower() == "true"
            elif name == "hours" and 1 <= number <= HOURS_CAP:
                values[name] = number
            elif name == "on_unknown" and text in {"hold", "allow"}:
                values[name] = text
            else:
                self._reader.problem(value, _mismatch(name, _IN_USE[name], value))
        return InUseOverride(**values)

    def _suspend(self, node: Node) -> Suspend | None:
        if not isinstance(node, Mapping):
            self._reader.problem(node, Message("suspend must be {{reason: …}}, optionally with by and until"))
            return None
        values: dict[str, str] = {}
        for name, value in self._reader.fields(node, ("reason", "by", "until")).items():
            text = read_text(self._reader, value, name, NOTE_CAP)
            if text is None:
                continue
            if name == "until":
                try:
                    parse_until(text)
                except ValueError as error:
                    self._reader.problem(value, str(error))
                    continue
            values[name] = text
        if not node.items:
            self._reader.problem(node, Message("suspend is empty: give a reason, or remove the key"))
        return Suspend(**values)

    def _maintenance(self, node: Node) -> Maintenance | None:
        fields = self._reader.fields(node, ("weekly", "reason")) if isinstance(node, Mapping) else {}
        if "weekly" not in fields:
            message = Message('maintenance must be {{weekly: "Sun 02:00-04:00"}}, optionally with a reason')
            self._reader.problem(node, message)
            return None
        values = {name: read_text(self._reader, value, name, NOTE_CAP) for name, value in fields.items()}
        try:
            parse_weekly(values["weekly"] or "daily 00:00-24:00")
        except ValueError as error:
            self._reader.problem(fields["weekly"], str(error))
            return None
        return Maintenance(**values)

    def _credentials(self, node: Node) -> CredentialsRef | None:
        if not isinstance(node, Mapping):
            message = Message("credentials must be {{api_key: {{env: NAME}}, api_secret: {{env: NAME}}}}")
            self._reader.problem(node, message)
            return None
        fields = self._reader.fields(node, _SECRETS, may_hold_secrets=True)
        references: dict[str, SecretRef] = {}
        for name in _SECRETS:
            if name not in fields:
                message = Message("credentials: missing {name}: write {name}: {{env: NAME}}", name=name)
                self._reader.problem(node, message)
            else:
                reference = read_secret_ref(self._reader, fields[name], name)
                if reference is not None:
                    references[name] = reference
        return CredentialsRef(**references) if len(references) == len(_SECRETS) else None


def _mismatch(name: str, expected: Message, node: Node) -> Message:
    return Message("{name} must be {expected}, not {actual}", name=name, expected=expected, actual=describe(node))
