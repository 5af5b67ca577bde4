"""One document: everything that stands beside its numbers."""

from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, Final

import yaml

from worker import settings, strictyaml
from worker.desired.numbers import Numbers
from worker.desired.texts import NAME_CAP, NOTE_CAP, text
from worker.errors import Problem
from worker.model import CredentialsRef, DesiredAccount, SafetyOverride, SecretRef, Unmanaged
from worker.strictyaml import Mapping, Node, Reader, Scalar, suggestion

__all__ = ["Document"]

_KEYS: Final = ("version", "account", "account_id", "credentials", "endpoint", "unmanaged", "safety", "numbers")
_SECRETS: Final = ("api_key", "api_secret")
_DIGITS: Final = 9
"""Digits of a count: more numbers than this says there are not."""


class Document:
    """One account on its way; what is wrong with it is told and left out."""

    def __init__(self, reader: Reader, stream: Iterator[Any], warnings: list[Problem]) -> None:
        self._reader = reader
        self._stream = stream
        self._numbers = Numbers(reader, stream, warnings)
        self._found: dict[str, Any] = {}

    def read(self) -> DesiredAccount:
        """Read to the end of the document."""
        event = next(self._stream)
        source, line = self._reader.source, event.start_mark.line + 1
        if isinstance(event, yaml.MappingStartEvent):
            self._read_keys(event)
        else:
            node = strictyaml.compose(source, event, self._stream)
            empty = isinstance(node, Scalar) and node.null
            told = "the document is empty: it should say" if empty else "this should be a mapping with"
            self._reader.problem(node, f"{told} version and numbers")
        self._numbers.finish()
        name = self._found.pop("account", None) or ("stdin" if source == "stdin" else PurePath(source).stem)
        return DesiredAccount(
            name,
            source,
            self._numbers.desired,
            self._numbers.lines,
            line,
            **{key: value for key, value in self._found.items() if value is not None},
        )

    def _read_keys(self, start: Any) -> None:
        seen: dict[str, Node] = {}
        for event in self._stream:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = strictyaml.compose(self._reader.source, event, self._stream)
            value = next(self._stream)
            name = self._reader.key(key, seen, _KEYS)
            if name == "numbers" and not isinstance(value, yaml.ScalarEvent):
                self._numbers.read(value)
                continue
            node = strictyaml.compose(self._reader.source, value, self._stream)
            if name is not None:
                self._read_value(name, node)
        top = Mapping(start.start_mark)
        for name in ("version", "numbers"):
            if name not in seen:
                self._reader.problem(top, f"{name} is missing" + (": write `version: 1`" if name == "version" else ""))

    def _read_value(self, name: str, node: Node) -> None:
        read: dict[str, Callable[[Node], Any]] = {
            "version": self._version,
            "account": lambda node: text(self._reader, node, "account", NAME_CAP),
            "account_id": lambda node: text(self._reader, node, "account_id", NAME_CAP),
            "credentials": self._credentials,
            "endpoint": self._endpoint,
            "unmanaged": self._unmanaged,
            "safety": self._safety,
            "numbers": self._no_numbers,
        }
        value = read[name](node)
        if value is not None:
            self._found[name] = value

    def _version(self, node: Node) -> None:
        given = node.text if isinstance(node, Scalar) else ""
        if given == "1":
            return
        newer = given.isascii() and given.isdigit() and int(given[:_DIGITS]) > 1
        told = f"version {given[:_DIGITS]} needs a newer senderid" if newer else "version should be 1"
        self._reader.problem(node, told)

    def _no_numbers(self, node: Node) -> None:
        self._reader.problem(node, "numbers should be a mapping of number to status, or a list ({} for none)")

    def _endpoint(self, node: Node) -> str | None:
        given = text(self._reader, node, "endpoint", NOTE_CAP)
        if given is not None:
            try:
                settings.endpoint(given)
            except ValueError as error:
                self._reader.problem(node, str(error))
        return given

    def _unmanaged(self, node: Node) -> Unmanaged | None:
        given = node.text if isinstance(node, Scalar) else ""
        known = [each.value for each in Unmanaged]
        if given in known:
            return Unmanaged(given)
        self._reader.problem(node, f"unmanaged is report, ignore or deactivate{suggestion(given, known)}")
        return None

    def _safety(self, node: Node) -> SafetyOverride | None:
        if not isinstance(node, Mapping):
            self._reader.problem(node, "safety should be a mapping of max_deactivations and min_active")
            return None
        found: dict[str, Any] = {}
        for name, value in self._reader.fields(node, ("max_deactivations", "min_active")).items():
            given = value.text if isinstance(value, Scalar) else ""
            number = int(given) if given.isascii() and given.isdigit() and len(given) <= _DIGITS else None
            if name == "min_active":
                if number is None:
                    self._reader.problem(value, "min_active should be a whole number of 0 or more")
                found[name] = number
                continue
            try:
                settings.threshold(given if number is None else number, 0)
                found[name] = given if number is None else number
            except ValueError as error:
                self._reader.problem(value, str(error))
        return SafetyOverride(**found)

    def _credentials(self, node: Node) -> CredentialsRef | None:
        if not isinstance(node, Mapping):
            self._reader.problem(node, "credentials should be {api_key: {env: NAME}, api_secret: {env: NAME}}")
            return None
        fields = self._reader.fields(node, _SECRETS)
        found: dict[str, SecretRef] = {}
        for name in _SECRETS:
            if name not in fields:
                self._reader.problem(node, f"credentials: {name} is missing")
            else:
                reference = self._reference(name, fields[name])
                if reference is not None:
                    found[name] = reference
        return CredentialsRef(**found) if len(found) == len(_SECRETS) else None

    def _reference(self, name: str, node: Node) -> SecretRef | None:
        advice = f"{name} takes a reference, {{env: NAME}} or {{file: PATH}}"
        if isinstance(node, Scalar):
            told = f"{advice}; a secret itself does not belong in this file: take it out and replace it"
            self._reader.problem(node, told)
            return None
        fields = self._reader.fields(node, ("env", "file")) if isinstance(node, Mapping) else {}
        if len(fields) != 1:
            self._reader.problem(node, advice)
            return None
        ((kind, value),) = fields.items()
        given = text(self._reader, value, kind, NOTE_CAP)
        return None if given is None else SecretRef(**{kind: given})
