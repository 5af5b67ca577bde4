"""YAML as parse events with places, without anything that could mean two things.

Values are never resolved: YAML 1.1 takes `01000000000` for an octal number and `on` for true, so what counts is the
text as it was written. Tags, anchors, aliases and merge keys are refused, depth and sizes are bounded, and nothing here
recurses. libyaml does the parsing.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, Final, Protocol

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
    "is_document_start",
    "is_value_start",
    "parse_events",
    "quote",
    "skip",
    "suggest",
]

FILE_CAP: Final = 64 << 20
"""Bytes of one file: a million plain numbers are about 25 MB, with notes twice that."""
DEPTH_CAP: Final = 8
"""Levels of nesting: the deepest thing that means anything is four deep."""
SCALAR_CAP: Final = 10_000
"""Characters of one scalar."""
NODE_CAP: Final = 1000
"""Values of one composed node: entries and sections have a dozen, and long lists are read from the events."""
PROBLEM_CAP: Final = 1000
"""Problems of a file that are told: more than a person reads, and a bound for files that are something else."""
_SHOWN: Final = 40
"""Characters of a wrong text that a message repeats."""

_TOO_DEEP: Final = Message(
    "nested deeper than {depth_cap} levels, which nothing needs: is a bracket too many?", depth_cap=DEPTH_CAP
)

_line_end: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Where libyaml begins a new line; editors agree on the first three."""

_ADVICE: Final = {
    "mapping values are not allowed in this context": (
        Message("is a colon missing on the line before, or is a text with a colon not quoted?")
    ),
    "could not find expected ':'": Message("is a colon missing, or the blank after it?"),
    "did not find expected key": Message("is this line indented like those before it?"),
    "did not find expected '-' indicator": Message(
        "is this line indented like those before it, and does it begin with -?"
    ),
    "found unexpected end of stream": Message("is a quote not closed?"),
    "found character that cannot start any token": Message("put a text that begins like this into quotes"),
    "found incompatible YAML document": Message("leave the line %YAML out"),
}
"""What to look for when libyaml says that; its own words tell less than a person needs."""


class YamlError(Exception):
    """A file that cannot be read on; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Position(Protocol):
    """A place as libyaml gives it, counted from 0."""

    line: int
    column: int


def decode(source: str, data: bytes) -> str:
    """The text of a file: UTF-8, with or without a byte-order mark.

    Raises:
        YamlProblem: too long, another encoding, or control characters.
    """
    if len(data) > FILE_CAP:
        raise YamlError(
            Problem(source, 1, 1, Message("the file is longer than {file_cap} MiB: split it", file_cap=FILE_CAP >> 20))
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise YamlError(Problem(source, 1, 1, Message("the file is UTF-16: save it as UTF-8")))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _end(data[: error.start].decode("utf-8-sig"))
        raise YamlError(Problem(source, *place, Message("the file is not UTF-8 here: save it as UTF-8"))) from None
    nul = text.find("\0")
    if nul >= 0:
        told = Message("there is a NUL byte here: the file is no text, or UTF-16: save it as UTF-8")
        raise YamlError(Problem(source, *_end(text[:nul]), told))
    return text


def _end(text: str) -> tuple[int, int]:
    """Line and column of what follows a text."""
    lines = _line_end.split(text)
    return len(lines), len(lines[-1]) + 1


def parse_events(source: str, text: str) -> Iterator[Any]:
    """The parse events of a text, refusing what is ambiguous.

    Raises:
        YamlProblem: at the first thing that is not YAML, or not the plain kind.
    """
    depth = 0
    stream: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
    try:
        for event in stream:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                if event.anchor is not None or event.tag is not None or len(event.value) > SCALAR_CAP:
                    raise YamlError(_refused(source, event))
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                depth += 1
                if depth > DEPTH_CAP or event.anchor is not None or event.tag is not None:
                    raise YamlError(_refused(source, event))
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                depth -= 1
            elif kind is yaml.AliasEvent:
                raise YamlError(_refused(source, event))
            yield event
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark
        # libyaml thinks a line end after the last line, whether there is one or not
        place: tuple[int, int] = (mark.line + 1, mark.column + 1) if mark.index < len(text) else _end(text)
        # a newer libyaml reads that far ahead before it tells of any bracket
        deep = error.problem == "exceeded maximum nesting depth"
        reason = (
            _TOO_DEEP
            if deep
            else Message("not YAML: {reason}", reason=_reason(error, text[mark.index : mark.index + 1]))
        )
        raise YamlError(Problem(source, *place, reason)) from None
    except yaml.reader.ReaderError as error:
        place = _end(text.encode()[: error.position].decode())
        told = Message("there is a control character here that no text file has: take it out")
        raise YamlError(Problem(source, *place, told)) from None


def _refused(source: str, event: Any) -> Problem:
    mark = event.start_mark
    if isinstance(event, yaml.AliasEvent):
        reason = Message("aliases (*name) are not allowed: write the value out")
    elif event.anchor is not None:
        reason = Message("anchors (&name) are not allowed: write each value where it is used")
    elif event.tag is not None:
        reason = Message("tags (!name) are not allowed: write the plain value")
    elif isinstance(event, yaml.ScalarEvent):
        reason = Message(
            "this value is longer than {scalar_cap:,} characters: is a quote not closed?", scalar_cap=SCALAR_CAP
        )
    else:
        reason = _TOO_DEEP
    return Problem(source, mark.line + 1, mark.column + 1, reason)


def _reason(error: yaml.MarkedYAMLError, found: str) -> str:
    if found == "\t":
        return Message("a tab cannot indent: use spaces")
    problem = error.problem or ""
    told = f"{problem} {error.context}" if error.context else problem
    return Message("{problem}: {advice}", problem=told, advice=_ADVICE[problem]) if problem in _ADVICE else told


class Node:
    """A value of a file with its place; `line` and `column` count from 1."""

    __slots__ = ("column", "line")

    def __init__(self, mark: Position) -> None:
        self.line = mark.line + 1
        self.column = mark.column + 1

    def problem(self, source: str, message: str) -> Problem:
        """A problem at this place."""
        return Problem(source, self.line, self.column, message)


class Scalar(Node):
    """A text as it was written; `plain` tells that it was not quoted."""

    __slots__ = ("plain", "text")

    def __init__(self, mark: Position, text: str, *, plain: bool) -> None:
        super().__init__(mark)
        self.text = text
        self.plain = plain

    @property
    def null(self) -> bool:
        """Whether it stands for nothing."""
        return self.plain and self.text in {"", "~", "null", "Null", "NULL"}


class Sequence(Node):
    """A list."""

    __slots__ = ("items",)

    def __init__(self, mark: Position) -> None:
        super().__init__(mark)
        self.items: list[Node] = []


class Mapping(Node):
    """Keys and values in their order, twice-given keys included."""

    __slots__ = ("items",)

    def __init__(self, mark: Position) -> None:
        super().__init__(mark)
        self.items: list[tuple[Node, Node]] = []


def is_value_start(event: Any) -> bool:
    """Whether a value begins with this event."""
    return isinstance(event, yaml.ScalarEvent | yaml.MappingStartEvent | yaml.SequenceStartEvent)


def is_document_start(event: Any) -> bool:
    """Whether a document begins with this event."""
    return isinstance(event, yaml.DocumentStartEvent)


def compose(source: str, event: Any, stream: Iterator[Any]) -> Node:
    """The node that begins with `event`, reading the rest of it from the stream.

    Raises:
        YamlProblem: it has more values than anything that means something.
    """
    root = _begin(event)
    if isinstance(root, Scalar):
        return root
    stack = [root]
    keys: list[Node | None] = [None]
    values = 0
    while stack:
        each = next(stream)
        if isinstance(each, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            stack.pop()
            keys.pop()
            continue
        node = _begin(each)
        values += 1
        if values > NODE_CAP:
            told = Message(
                "more than {node_cap:,} values stand here, where a few would do: check the indentation",
                node_cap=NODE_CAP,
            )
            raise YamlError(root.problem(source, told))
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
    """Read past the value that begins with `event`, however long it is."""
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
    mark: Position = event.start_mark
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(mark, event.value, plain=not event.style)
    return Mapping(mark) if isinstance(event, yaml.MappingStartEvent) else Sequence(mark)


class Reader:
    """Reads the nodes of one file and collects what is wrong with them.

    `problems` holds the first ones, in the order in which they were found, and `untold` counts those beyond.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.untold = 0

    def tell(self, problem: Problem) -> None:
        """Something is wrong."""
        if len(self.problems) < PROBLEM_CAP:
            self.problems.append(problem)
        else:
            self.untold += 1

    def problem(self, node: Node, message: str) -> None:
        """Something is wrong at a node."""
        self.tell(node.problem(self.source, message))

    def fields(self, node: Mapping, known: Collection[str], *, secret: bool = False) -> dict[str, Node]:
        """The values of the known keys; unknown keys and those that stand twice are problems.

        `secret`: what stands in a wrong place may be a secret, and is not repeated.
        """
        seen: dict[str, Node] = {}
        found: dict[str, Node] = {}
        for key, value in node.items:
            name = self.key(key, seen, known, secret=secret)
            if name is not None:
                found[name] = value
        return found

    def key(self, key: Node, seen: dict[str, Node], known: Collection[str], *, secret: bool = False) -> str | None:
        """A known key that was not seen before, which it is from now on; None where it is a problem."""
        if not isinstance(key, Scalar):
            self.problem(key, Message("a key should stand here: one of {known}", known=", ".join(known)))
        elif key.text in seen:
            self.problem(
                key,
                Message(
                    "{text} stands here and on line {line}: keep one of the two",
                    text=key.text,
                    line=seen[key.text].line,
                ),
            )
        elif key.text in known:
            seen[key.text] = key
            return key.text
        elif len(self.problems) >= PROBLEM_CAP:
            # looking for a suggestion takes longer than everything else that is done for a key
            self.untold += 1
        elif key.text == "<<":
            self.problem(key, Message("merge keys (<<) are not allowed: write the values out"))
        else:
            hint = suggest(key.text, known)
            self.problem(
                key,
                Message("there is no such key{hint}", hint=hint)
                if secret
                else Message("there is no key {key}{hint}", key=quote(key.text), hint=hint),
            )
        return None


def quote(text: str) -> str:
    """A wrong text as a message repeats it: quoted, escaped, and not all of it if it is long."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def describe(node: Node) -> str:
    """A wrong value as a message repeats it."""
    if isinstance(node, Scalar):
        return Message("nothing") if node.null else quote(node.text)
    return Message("a mapping") if isinstance(node, Mapping) else Message("a list")


def suggest(text: str, known: Collection[str]) -> str:
    """A question that names the known word closest to `text`, or what there is if none is close."""
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes only

    close = get_close_matches(text, known, n=1) or get_close_matches(text.lower(), known, n=1)
    if close:
        return Message("; did you mean {word}?", word=close[0])
    return Message("; there are {words}", words=tuple(known))
