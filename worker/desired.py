"""Desired-state files: YAML text to the accounts that it describes, with every problem of every file at its place.

One YAML document is one account. Numbers are read from the event stream one by one, and those that carry nothing but a
status share one value, so that a million of them load in seconds and little memory.
"""

import gc
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, Final

import yaml
from msgspec import Struct

from worker import settings, strictyaml
from worker.errors import DesiredStateError, Problem
from worker.model import (
    CredentialsRef,
    Desired,
    DesiredAccount,
    SafetyOverride,
    SecretRef,
    Status,
    Unmanaged,
)
from worker.phones import normalise, oddity
from worker.strictyaml import Mapping, Node, Scalar, YamlProblem, suggestion

__all__ = ["Loaded", "load"]

PROBLEM_CAP: Final = 1000
"""Problems that are reported: more than a person reads, and a bound for files that are something else altogether."""
_ODDITY_CAP: Final = 2000
"""Unusual numbers of a document that the numbering plan is asked about, at 20 µs each; nobody writes more by hand."""
_NAME_CAP: Final = 64
"""Characters of an account's name, which stands in every log line."""
_NOTE_CAP: Final = 1000
"""Characters of a note or an owner."""

_KEYS: Final = ("version", "account", "account_id", "credentials", "endpoint", "unmanaged", "safety", "numbers")
_NUMBER_KEYS: Final = ("status", "note", "owner", "protected")
_PLAIN: Final = {
    **{text: Desired(Status.ACTIVE) for text in ("ACTIVE", "active", "Active")},
    **{text: Desired(Status.INACTIVE) for text in ("INACTIVE", "inactive", "Inactive")},
}
_SHARED: Final = {Status.ACTIVE: _PLAIN["ACTIVE"], Status.INACTIVE: _PLAIN["INACTIVE"]}


class Loaded(Struct, frozen=True):
    """The accounts of all files, in their order, and what is odd but not wrong."""

    accounts: tuple[DesiredAccount, ...]
    warnings: tuple[Problem, ...] = ()


def load(sources: Iterable[tuple[str, bytes] | Problem]) -> Loaded:
    """The accounts of the sources: pairs of a name for messages and the file's bytes, or why one could not be read.

    Raises:
        DesiredStateError: with every problem of every source, up to a bound.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    accounts: list[DesiredAccount] = []
    with _no_cyclic_collection():
        for source in sources:
            if isinstance(source, Problem):
                problems.append(source)
            else:
                accounts += _File(source[0], problems, warnings).accounts(source[1])
    problems += _clashes(accounts)
    if not accounts and not problems:
        problems.append(Problem("desired state", 1, 1, "there is no file to read"))
    if problems:
        if len(problems) > PROBLEM_CAP:
            rest = f"… and {len(problems) - PROBLEM_CAP:,} more problems"
            problems[PROBLEM_CAP:] = [Problem(problems[PROBLEM_CAP].source, problems[PROBLEM_CAP].line, 1, rest)]
        raise DesiredStateError(problems)
    return Loaded(tuple(accounts), tuple(warnings))


@contextmanager
def _no_cyclic_collection() -> Iterator[None]:
    # a million new objects and no cycles: the collector would look at all of them again and again
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _File:
    """One file on its way to accounts."""

    def __init__(self, source: str, problems: list[Problem], warnings: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        self.warnings = warnings

    def accounts(self, data: bytes) -> list[DesiredAccount]:
        """The file's accounts; one with problems may be among them."""
        found: list[DesiredAccount] = []
        try:
            stream = strictyaml.events(self.source, strictyaml.decode(self.source, data))
            for event in stream:
                if isinstance(event, yaml.DocumentStartEvent):
                    found.append(_Document(self, stream).read())
        except YamlProblem as error:
            self.problems.append(error.problem)
            return found
        if not found:
            self.problems.append(Problem(self.source, 1, 1, "the file is empty: it should say version, and numbers"))
        return found

    def problem(self, node: Node, message: str) -> None:
        """Something is wrong at a node."""
        self.problems.append(node.problem(self.source, message))


class _Document:
    """One account on its way; wrong parts are told and left out."""

    def __init__(self, file: _File, stream: Iterator[Any]) -> None:
        self._file = file
        self._stream = stream
        self._numbers: dict[str, Desired] = {}
        self._lines = array("I")
        self._first_lines: dict[str, int] | None = None
        self._asked = 0
        self._found: dict[str, Any] = {}

    def read(self) -> DesiredAccount:
        """Read to the end of the document."""
        event = next(self._stream)
        line = event.start_mark.line + 1
        if not isinstance(event, yaml.MappingStartEvent):
            node = strictyaml.compose(event, self._stream)
            if not (isinstance(node, Scalar) and node.null):
                self._problem(node, "this should be a mapping with version and numbers")
            else:
                self._problem(node, "the document is empty: it should say version, and numbers")
        else:
            self._read_keys(event)
        stem = "stdin" if self._file.source == "stdin" else PurePath(self._file.source).stem
        return DesiredAccount(
            self._found.pop("account", stem),
            self._file.source,
            self._numbers,
            self._lines,
            line,
            **{key: value for key, value in self._found.items() if value is not None},
        )

    def _read_keys(self, start: Any) -> None:
        top = Mapping(start.start_mark)
        seen: dict[str, Node] = {}
        for event in self._stream:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = strictyaml.compose(event, self._stream)
            value = next(self._stream)
            name = self._key(key, seen, _KEYS)
            if name == "numbers" and not isinstance(value, yaml.ScalarEvent):
                self._read_numbers(value)
                continue
            node = strictyaml.compose(value, self._stream)
            if name is not None:
                self._read_value(name, node)
        for name in ("version", "numbers"):
            if name not in seen:
                self._problem(top, f"{name} is missing" + (": write `version: 1`" if name == "version" else ""))

    def _read_value(self, name: str, node: Node) -> None:
        read: dict[str, Callable[[Node], Any]] = {
            "version": self._version,
            "account": self._account,
            "account_id": lambda node: self._text(node, "account_id", _NAME_CAP),
            "credentials": self._credentials,
            "endpoint": self._endpoint,
            "unmanaged": self._unmanaged,
            "safety": self._safety,
            "numbers": lambda node: self._problem(node, "numbers should be a mapping of number to status, or a list"),
        }
        value = read[name](node)
        if name not in {"version", "numbers"} and value is not None:
            self._found[name] = value

    # numbers

    def _read_numbers(self, start: Any) -> None:
        stream = self._stream
        if isinstance(start, yaml.SequenceStartEvent):
            for event in stream:
                if isinstance(event, yaml.SequenceEndEvent):
                    return
                self._listed(strictyaml.compose(event, stream))
        numbers, lines, plain = self._numbers, self._lines, _PLAIN
        for key in stream:
            if type(key) is yaml.MappingEndEvent:
                return
            if type(key) is not yaml.ScalarEvent:
                self._problem(strictyaml.compose(key, stream), "a number should stand here")
                strictyaml.compose(next(stream), stream)
                continue
            value = next(stream)
            desired = plain.get(value.value) if type(value) is yaml.ScalarEvent else None
            if desired is None:
                desired = self._entry(strictyaml.compose(value, stream))
            phone = self._phone(key.value, key.start_mark)
            if phone is None:
                continue
            if phone in numbers:
                self._twice(phone, key.start_mark)
            elif desired is not None:
                numbers[phone] = desired
                lines.append(key.start_mark.line + 1)

    def _phone(self, text: str, mark: strictyaml.Mark) -> str | None:
        try:
            phone = normalise(text)
        except ValueError:
            shown = text if len(text) <= 40 else text[:40] + "…"  # noqa: PLR2004 - as much as a message bears
            if text == "<<":
                error = ValueError("merge keys (<<) are not allowed: write the numbers out")
            self._file.problems.append(
                Problem(self._file.source, mark.line + 1, mark.column + 1, f"{shown!r}: {error}")
            )
            return None
        if not phone.startswith("010") and self._asked < _ODDITY_CAP:
            self._asked += 1
            odd = oddity(phone)
            if odd is not None:
                self._file.warnings.append(
                    Problem(self._file.source, mark.line + 1, mark.column + 1, f"{text!r}: {odd}")
                )
        return phone

    def _twice(self, phone: str, mark: strictyaml.Mark) -> None:
        if self._first_lines is None:
            self._first_lines = dict(zip(self._numbers, self._lines, strict=True))
        first = self._first_lines.get(phone) or dict(zip(self._numbers, self._lines, strict=True))[phone]
        self._file.problems.append(
            Problem(
                self._file.source,
                mark.line + 1,
                mark.column + 1,
                f"{phone} stands here and on line {first}: keep one of the two",
            )
        )

    def _listed(self, node: Node) -> None:
        if not isinstance(node, Mapping):
            self._problem(node, "an entry of the list should be {phone: …, status: …}")
            return
        fields = self._fields(node, ("phone", *_NUMBER_KEYS))
        phone_node = fields.pop("phone", None)
        desired = self._desired(node, fields)
        if not isinstance(phone_node, Scalar):
            self._problem(phone_node or node, "phone is missing")
            return
        mark = _Place(phone_node)
        phone = self._phone(phone_node.text, mark)
        if phone is None:
            return
        if phone in self._numbers:
            self._twice(phone, mark)
        elif desired is not None:
            self._numbers[phone] = desired
            self._lines.append(phone_node.line)

    def _entry(self, node: Node) -> Desired | None:
        if isinstance(node, Mapping):
            return self._desired(node, self._fields(node, _NUMBER_KEYS))
        if isinstance(node, Scalar):
            status = self._status(node)
            return None if status is None else _SHARED[status]
        self._problem(node, "a status should stand here, or {status: …, note: …}")
        return None

    def _desired(self, node: Mapping, fields: dict[str, Node]) -> Desired | None:
        if "status" not in fields:
            self._problem(node, "status is missing: ACTIVE or INACTIVE")
        status = self._status(fields["status"]) if "status" in fields else None
        note = self._text(fields["note"], "note", _NOTE_CAP) if "note" in fields else None
        owner = self._text(fields["owner"], "owner", _NOTE_CAP) if "owner" in fields else None
        protected = self._flag(fields["protected"]) if "protected" in fields else False
        if status is None:
            return None
        if note is None and owner is None and not protected:
            return _SHARED[status]
        return Desired(status, note, owner, protected)

    def _status(self, node: Node) -> Status | None:
        if isinstance(node, Scalar):
            text = node.text.upper()
            if text in {"ACTIVE", "INACTIVE"}:
                return Status(text)
            told = "nothing" if node.null else repr(node.text[:40])
            self._problem(node, f"a status is ACTIVE or INACTIVE, not {told}")
        else:
            self._problem(node, "a status is ACTIVE or INACTIVE")
        return None

    def _flag(self, node: Node) -> bool:
        if isinstance(node, Scalar) and node.text.lower() in {"true", "false"}:
            return node.text.lower() == "true"
        self._problem(node, "protected is true or false")
        return False

    # the rest of the document

    def _version(self, node: Node) -> None:
        text = node.text if isinstance(node, Scalar) else ""
        if text == "1":
            return
        newer = text.isdigit() and int(text[:9]) > 1
        self._problem(node, f"version {text} needs a newer senderid" if newer else "version should be 1")

    def _account(self, node: Node) -> str | None:
        name = self._text(node, "account", _NAME_CAP)
        return name or None

    def _text(self, node: Node, what: str, cap: int) -> str | None:
        if not isinstance(node, Scalar):
            self._problem(node, f"{what} should be a text")
        elif node.null:
            self._problem(node, f"{what} is empty: leave the line out or give it a value")
        elif len(node.text) > cap:
            self._problem(node, f"{what} is longer than {cap:,} characters")
        elif not all(character.isprintable() or character == "\n" for character in node.text):
            self._problem(node, f"{what} has control characters")
        else:
            return node.text.strip()
        return None

    def _endpoint(self, node: Node) -> str | None:
        text = self._text(node, "endpoint", _NOTE_CAP)
        if text is not None:
            try:
                settings.endpoint(text)
            except ValueError as error:
                self._problem(node, str(error))
                return None
        return text

    def _unmanaged(self, node: Node) -> Unmanaged | None:
        text = node.text if isinstance(node, Scalar) else ""
        if text in {each.value for each in Unmanaged}:
            return Unmanaged(text)
        self._problem(node, f"unmanaged is report, ignore or deactivate{suggestion(text, list(Unmanaged))}")
        return None

    def _safety(self, node: Node) -> SafetyOverride | None:
        if not isinstance(node, Mapping):
            self._problem(node, "safety should be a mapping of max_deactivations and min_active")
            return None
        found: dict[str, Any] = {}
        for name, value in self._fields(node, ("max_deactivations", "min_active")).items():
            text = value.text if isinstance(value, Scalar) else ""
            number = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None  # noqa: PLR2004
            if name == "min_active":
                if number is None:
                    self._problem(value, "min_active should be a whole number of 0 or more")
                found[name] = number
                continue
            try:
                settings.threshold(text if number is None else number, 0)
                found[name] = text if number is None else number
            except ValueError as error:
                self._problem(value, str(error))
        return SafetyOverride(**found)

    def _credentials(self, node: Node) -> CredentialsRef | None:
        if not isinstance(node, Mapping):
            self._problem(node, "credentials should be {api_key: {env: NAME}, api_secret: {env: NAME}}")
            return None
        fields = self._fields(node, ("api_key", "api_secret"))
        found: dict[str, SecretRef] = {}
        for name in ("api_key", "api_secret"):
            if name not in fields:
                self._problem(node, f"credentials: {name} is missing")
            else:
                reference = self._reference(name, fields[name])
                if reference is not None:
                    found[name] = reference
        return CredentialsRef(**found) if len(found) == len(("api_key", "api_secret")) else None

    def _reference(self, name: str, node: Node) -> SecretRef | None:
        advice = f"{name} takes a reference, {{env: NAME}} or {{file: PATH}}"
        if isinstance(node, Scalar):
            self._problem(node, f"{advice}; a secret itself does not belong in this file: take it out and replace it")
            return None
        fields = self._fields(node, ("env", "file")) if isinstance(node, Mapping) else {}
        if len(fields) != 1:
            self._problem(node, advice)
            return None
        ((kind, value),) = fields.items()
        text = self._text(value, kind, _NOTE_CAP)
        return None if text is None else SecretRef(**{kind: text})

    def _fields(self, node: Mapping, known: tuple[str, ...]) -> dict[str, Node]:
        seen: dict[str, Node] = {}
        found: dict[str, Node] = {}
        for key, value in node.items:
            name = self._key(key, seen, known)
            if name is not None:
                found[name] = value
        return found

    def _key(self, key: Node, seen: dict[str, Node], known: tuple[str, ...]) -> str | None:
        if not isinstance(key, Scalar):
            self._problem(key, f"a key should stand here: one of {', '.join(known)}")
            return None
        if key.text in seen:
            self._problem(key, f"{key.text} stands here and on line {seen[key.text].line}: keep one of the two")
            return None
        if key.text in known:
            seen[key.text] = key
            return key.text
        if key.text == "<<":
            self._problem(key, "merge keys (<<) are not allowed: write the values out")
        else:
            self._problem(key, f"there is no key {key.text[:40]!r}{suggestion(key.text, known)}")
        return None

    def _problem(self, node: Node, message: str) -> None:
        self._file.problem(node, message)


class _Place:
    """A node's place as a mark."""

    __slots__ = ("column", "line")

    def __init__(self, node: Node) -> None:
        self.line = node.line - 1
        self.column = node.column - 1


def _clashes(accounts: list[DesiredAccount]) -> Iterator[Problem]:
    """Two documents for one account, and numbers that are to be ACTIVE in two accounts."""
    names: dict[str, DesiredAccount] = {}
    for account in accounts:
        first = names.setdefault(account.name, account)
        if first is not account:
            place = f"{first.source}:{first.line}"
            yield Problem(
                account.source,
                account.line,
                1,
                f"account {account.name!r} is described here and at {place}: name one anew",
            )
    if len(accounts) < len(("one", "other")):
        return
    holders: dict[str, tuple[DesiredAccount, int]] = {}
    for account in accounts:
        for phone, desired, line in account.located():
            if desired.status is Status.ACTIVE:
                first, first_line = holders.setdefault(phone, (account, line))
                if first is not account:
                    place = f"{first.source}:{first_line}"
                    yield Problem(
                        account.source,
                        line,
                        1,
                        f"{phone} is to be ACTIVE in {account.name!r} and, at {place}, in {first.name!r}: it can be in one",
                    )
