"""A reader of a strict subset of YAML. Every value keeps its position and its text.

Scalars stay text: YAML 1.1 would read `01000000000` as an octal number and `on` as true. Tags, anchors, aliases and
merge keys are refused. Depth and sizes are limited, and no function recurses. libyaml does the parsing.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

import yaml

from worker.model.errors import Problem
from worker.model.messages import Message

__all__ = [
    "Mapping",
    "Node",
    "Reader",
    "Scalar",
    "Sequence",
    "YamlError",
    "compose",
    "decode",
    "describe",
    "duplicate",
    "file_too_long",
    "is_document_start",
    "is_value_start",
    "parse_events",
    "quote",
    "skip",
    "suggest",
]

FILE_CAP: Final = 64 << 20
"""Maximum size of a file, in bytes. A million numbers take about 25 MB without notes, and twice that with notes."""
DEPTH_CAP: Final = 8
"""Maximum depth of nesting, in levels. The deepest valid document has four."""
SCALAR_CAP: Final = 10_000
"""Maximum length of a scalar, in characters."""
NODE_CAP: Final = 1000
"""Maximum count of values in a composed node. An entry has at most a dozen; long lists are read from the events."""
PROBLEM_CAP: Final = 1000
"""Maximum count of problems reported for one file. Further problems are counted but not reported."""
_SHOWN: Final = 40
"""Maximum count of characters of an invalid value that a message repeats."""

_TOO_DEEP: Final = Message("nested deeper than {cap} levels: check for an extra bracket", cap=DEPTH_CAP)

_line_end: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Matches what libyaml takes as a line end. Editors agree on the first three forms."""

_ADVICE: Final = {
    "mapping values are not allowed in this context": Message(
        "check for a missing colon on the line before, or quote text that contains a colon"
    ),
    "could not find expected ':'": Message("check for a missing colon, or a missing space after it"),
    "did not find expected key": Message("check the indentation of this line"),
    "did not find expected '-' indicator": Message(
        "check that this line is indented like the others and starts with -"
    ),
    "found unexpected end of stream": Message("check for an unclosed quote"),
    "found character that cannot start any token": Message("quote text that starts with this character"),
    "found incompatible YAML document": Message("remove the %YAML line"),
}
"""Advice for the user, by libyaml's own message."""


class YamlError(Exception):
    """The file cannot be read beyond the position of `problem`, which also has the reason."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def decode(source: str, data: bytes) -> str:
    """Decode a file as UTF-8, with or without a byte-order mark.

    Raises:
        YamlError: the file is too long, has another encoding, or contains NUL bytes.
    """
    if len(data) > FILE_CAP:
        raise YamlError(Problem(source, 1, 1, file_too_long(FILE_CAP)))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise YamlError(Problem(source, 1, 1, Message("the file is UTF-16: save it as UTF-8")))
    try:
        text = data.decode("utf-8-sig").lstrip("\ufeff")  # libyaml skips a second mark, but counts without it
    except UnicodeDecodeError as error:
        position = _end(data[: error.start].decode("utf-8-sig"))
        raise YamlError(Problem(source, *position, Message("invalid UTF-8: save the file as UTF-8"))) from None
    nul = text.find("\0")
    if nul >= 0:
        raise YamlError(Problem(source, *_end(text[:nul]), Message("NUL byte: save the file as UTF-8 text")))
    return text


def file_too_long(cap: int) -> Message:
    """Return the message for a file of more than `cap` bytes."""
    return Message("the file is larger than {mebibytes} MiB: split it", mebibytes=cap >> 20)


def _end(text: str) -> tuple[int, int]:
    """Return the line and column of the position after a text, counted from 1."""
    lines = _line_end.split(text)
    return len(lines), len(lines[-1]) + 1


def parse_events(source: str, text: str) -> Iterator[Any]:
    """Yield the parse events of a text.

    Raises:
        YamlError: the text is not valid YAML, or not in the allowed subset. The error has the first such position.
    """
    depth = 0
    stream: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
    try:
        for event in stream:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                if event.anchor is not None or event.tag is not None or len(event.value) > SCALAR_CAP:
                    raise YamlError(_not_allowed(source, event))
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                depth += 1
                if depth > DEPTH_CAP or event.anchor is not None or event.tag is not None:
                    raise YamlError(_not_allowed(source, event))
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                depth -= 1
            elif kind is yaml.AliasEvent:
                raise YamlError(_not_allowed(source, event))
            yield event
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark
        # libyaml assumes a line end after the last line
        position: tuple[int, int] = (mark.line + 1, mark.column + 1) if mark.index < len(text) else _end(text)
        # newer versions of libyaml have a limit of their own
        is_too_deep = error.problem == "exceeded maximum nesting depth"
        reason = _TOO_DEEP if is_too_deep else _syntax_error(error, text[mark.index : mark.index + 1])
        raise YamlError(Problem(source, *position, reason)) from None
    except yaml.reader.ReaderError as error:
        position = _end(text.encode()[: error.position].decode())
        raise YamlError(Problem(source, *position, Message("control character: remove it"))) from None


def _not_allowed(source: str, event: Any) -> Problem:
    mark = event.start_mark
    if isinstance(event, yaml.AliasEvent):
        reason = Message("aliases (*name) are not allowed: write the value out")
    elif event.anchor is not None:
        reason = Message("anchors (&name) are not allowed: write each value where it is used")
    elif event.tag is not None:
        reason = Message("tags (!name) are not allowed: write the plain value")
    elif isinstance(event, yaml.ScalarEvent):
        reason = Message("value longer than {cap:,} characters: check for an unclosed quote", cap=SCALAR_CAP)
    else:
        reason = _TOO_DEEP
    return Problem(source, mark.line + 1, mark.column + 1, reason)


def _syntax_error(error: yaml.MarkedYAMLError, char: str) -> Message:
    if char == "\t":
        return Message("invalid YAML: tab in the indentation; use spaces")
    problem = error.problem or ""
    reason = f"{problem} {error.context}" if error.context else problem
    if problem in _ADVICE:
        return Message("invalid YAML: {reason}; {advice}", reason=reason, advice=_ADVICE[problem])
    return Message("invalid YAML: {reason}", reason=reason)


class Node:
    """A value in a file, with its position. `line` and `column` count from 1."""

    __slots__ = ("column", "line")

    def __init__(self, mark: yaml.Mark) -> None:
        self.line = mark.line + 1
        self.column = mark.column + 1

    def problem(self, source: str, message: str) -> Problem:
        """Return a problem at this position."""
        return Problem(source, self.line, self.column, message)


class Scalar(Node):
    """A scalar with its unresolved text. `is_plain` is True if the text was not quoted."""

    __slots__ = ("is_plain", "text")

    def __init__(self, mark: yaml.Mark, text: str, *, is_plain: bool) -> None:
        super().__init__(mark)
        self.text = text
        self.is_plain = is_plain

    @property
    def is_null(self) -> bool:
        """Return True if the scalar is a null of YAML."""
        return self.is_plain and self.text in {"", "~", "null", "Null", "NULL"}


class Sequence(Node):
    """A list of nodes."""

    __slots__ = ("items",)

    def __init__(self, mark: yaml.Mark) -> None:
        super().__init__(mark)
        self.items: list[Node] = []


class Mapping(Node):
    """A mapping, as pairs of key and value in file order. Duplicate keys are included."""

    __slots__ = ("items",)

    def __init__(self, mark: yaml.Mark) -> None:
        super().__init__(mark)
        self.items: list[tuple[Node, Node]] = []


def is_value_start(event: Any) -> bool:
    """Return True if a value starts with this event."""
    return isinstance(event, yaml.ScalarEvent | yaml.MappingStartEvent | yaml.SequenceStartEvent)


def is_document_start(event: Any) -> bool:
    """Return True if a document starts with this event."""
    return isinstance(event, yaml.DocumentStartEvent)


def compose(source: str, event: Any, stream: Iterator[Any]) -> Node:
    """Return the node that starts with `event`. Read its other events from the stream.

    Raises:
        YamlError: the node has more than `NODE_CAP` values.
    """
    root = _begin(event)
    if isinstance(root, Scalar):
        return root
    stack = [root]
    keys: list[Node | None] = [None]
    values = 0
    while stack:
        event = next(stream)
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            stack.pop()
            keys.pop()
            continue
        node = _begin(event)
        values += 1
        if values > NODE_CAP:
            message = Message("more than {cap:,} values in one entry: check the indentation", cap=NODE_CAP)
            raise YamlError(root.problem(source, message))
        parent, key = stack[-1], keys[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif key is None:
            keys[-1] = node
        else:
            parent.items.append((key, node))
            keys[-1] = None
        if not isinstance(node, Scalar):
            stack.append(node)
            keys.append(None)
    return root


def skip(event: Any, stream: Iterator[Any]) -> None:
    """Read and drop the events of the value that starts with `event`. The value may have any length."""
    depth = 0
    while True:
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            depth += 1
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            depth -= 1
        if depth == 0:
            return
        event = next(stream)


def _begin(event: Any) -> Scalar | Mapping | Sequence:
    mark: yaml.Mark = event.start_mark
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(mark, event.value, is_plain=not event.style)
    return Mapping(mark) if isinstance(event, yaml.MappingStartEvent) else Sequence(mark)


class Reader:
    """A reader of the nodes of one file, which collects their problems.

    `problems` contains the first `PROBLEM_CAP` problems in the order of discovery. `omitted_count` is the count of the
    others.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.omitted_count = 0

    def report(self, problem: Problem) -> None:
        """Add a problem."""
        if len(self.problems) < PROBLEM_CAP:
            self.problems.append(problem)
        else:
            self.omitted_count += 1

    def problem(self, node: Node, message: str) -> None:
        """Add a problem at a node."""
        self.report(node.problem(self.source, message))

    def fields(self, node: Mapping, known: Collection[str], *, may_hold_secrets: bool = False) -> dict[str, Node]:
        """Return the values of the known keys. Add a problem for each unknown or duplicate key.

        With `may_hold_secrets`, messages do not repeat an unknown key, because it may be a secret.
        """
        keys: dict[str, Node] = {}
        values: dict[str, Node] = {}
        for key, value in node.items:
            name = self.key(key, keys, known, may_hold_secrets=may_hold_secrets)
            if name is not None:
                values[name] = value
        return values

    def key(
        self, key: Node, keys: dict[str, Node], known: Collection[str], *, may_hold_secrets: bool = False
    ) -> str | None:
        """Return the text of a known key, and add the key to `keys`.

        If the key is unknown or a duplicate, add a problem and return None.
        """
        if not isinstance(key, Scalar):
            self.problem(key, Message("expected a key: one of {choices}", choices=tuple(known)))
        elif key.text in keys:
            self.problem(key, duplicate(key.text, keys[key.text]))
        elif key.text in known:
            keys[key.text] = key
            return key.text
        elif len(self.problems) >= PROBLEM_CAP:
            # a suggestion takes longer than everything else here
            self.omitted_count += 1
        elif key.text == "<<":
            self.problem(key, Message("merge keys (<<) are not allowed: write the values out"))
        else:
            hint = suggest(key.text, known)
            unknown = Message("unknown key {key}{hint}", key=quote(key.text), hint=hint)
            self.problem(key, Message("unknown key{hint}", hint=hint) if may_hold_secrets else unknown)
        return None


def quote(text: str) -> str:
    """Return an invalid text for use in a message: quoted, escaped, and cut to 40 characters."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def describe(node: Node) -> str:
    """Return a description of an invalid value for use in a message: its quoted text, or its kind."""
    if isinstance(node, Scalar):
        return Message("nothing") if node.is_null else quote(node.text)
    return Message("a mapping") if isinstance(node, Mapping) else Message("a list")


def duplicate(name: str, first: Node) -> Message:
    """Return the message for a duplicate name, key or number, whose first occurrence is the node `first`."""
    return Message("{name} is a duplicate of line {line}: keep one", name=name, line=first.line)


def suggest(text: str, candidates: Collection[str]) -> Message:
    """Return a hint with the known word that is closest to `text`, or with all known words if none is close."""
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes only

    close = get_close_matches(text, candidates, n=1) or get_close_matches(text.lower(), candidates, n=1)
    return (
        Message("; did you mean {word!r}?", word=close[0])
        if close
        else Message("; use one of {choices}", choices=tuple(candidates))
    )
