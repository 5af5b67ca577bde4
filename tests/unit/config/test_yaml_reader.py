"""YAML parsing: events with locations, refused features, and limits."""

import pytest
import yaml

from worker.config.yaml_reader import (
    DEPTH_CAP,
    FILE_CAP,
    NODE_CAP,
    PROBLEM_CAP,
    SCALAR_CAP,
    Mapping,
    Node,
    Reader,
    Scalar,
    Sequence,
    YamlError,
    compose,
    decode,
    describe,
    is_value_start,
    parse_events,
    quote,
    skip,
    suggest,
)
from worker.model.errors import Problem


def refusal(text: str) -> str:
    """Return the location and the reason of the refusal."""
    with pytest.raises(YamlError) as error:
        list(parse_events("f", text))
    return str(error.value)


def compose_text(text: str) -> Node:
    """Return the first node of a text."""
    stream = parse_events("f", text)
    return compose("f", next(event for event in stream if is_value_start(event)), stream)


def plain(node: Node) -> object:
    """Convert a node to lists, mappings and texts with locations."""
    match node:
        case Scalar():
            return (node.text, node.line, node.column)
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {plain(key): plain(value) for key, value in node.items}
    raise AssertionError(node)


def mapping(text: str) -> Mapping:
    """Return the mapping of a text."""
    node = compose_text(text)
    assert isinstance(node, Mapping)
    return node


@pytest.mark.parametrize("data", [b"a: b", b"\xef\xbb\xbfa: b"])
def test_utf8_is_decoded_with_and_without_byte_order_mark(data: bytes) -> None:
    assert decode("f", data) == "a: b"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a: b\n".encode("utf-16"), "f:1:1: the file is UTF-16: save it as UTF-8"),
        (
            "a: b\n".encode("utf-16-be"),
            "f:1:1: NUL byte: save the file as UTF-8 text",
        ),
        (
            "a: b\n".encode("utf-16-le"),
            "f:1:2: NUL byte: save the file as UTF-8 text",
        ),
        ("a: b\n".encode("utf-32"), "f:1:1: the file is UTF-16: save it as UTF-8"),
        (b"a: b\nc: \0\n", "f:2:4: NUL byte: save the file as UTF-8 text"),
        (b"a: b\r\nc: d\re: \0\n", "f:3:4: NUL byte: save the file as UTF-8 text"),
        (b"a: b\nname: caf\xe9\n", "f:2:10: invalid UTF-8: save the file as UTF-8"),
        ("한국어: ".encode() + b"\xe9\n", "f:1:6: invalid UTF-8: save the file as UTF-8"),
        (b"\xef\xbb\xbf\xe9", "f:1:1: invalid UTF-8: save the file as UTF-8"),
        ("name: 본사\n".encode("cp949"), "f:1:7: invalid UTF-8: save the file as UTF-8"),
        (b"\xed\xa0\x80", "f:1:1: invalid UTF-8: save the file as UTF-8"),
        (b"a" * (FILE_CAP + 1), "f:1:1: the file is larger than 64 MiB: split it"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_undecodable_file_is_refused_at_its_location(data: bytes, message: str) -> None:
    """Columns count characters."""
    with pytest.raises(YamlError) as error:
        decode("f", data)
    assert str(error.value) == message


def test_file_of_exactly_the_limit_is_decoded() -> None:
    assert len(decode("f", b"a" * FILE_CAP)) == FILE_CAP


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: *b", "f:1:4: aliases (*name) are not allowed: write the value out"),
        ("a: &b c", "f:1:4: anchors (&name) are not allowed: write each value where it is used"),
        ("a: &b", "f:1:4: anchors (&name) are not allowed: write each value where it is used"),
        ("a: &b [c]", "f:1:4: anchors (&name) are not allowed: write each value where it is used"),
        ("&a b: c", "f:1:1: anchors (&name) are not allowed: write each value where it is used"),
        ("a: !!str b", "f:1:4: tags (!name) are not allowed: write the plain value"),
        ("a: !!python/object/apply:os.system [ls]", "f:1:4: tags (!name) are not allowed: write the plain value"),
        ("--- !a\nb: c", "f:1:5: tags (!name) are not allowed: write the plain value"),
        ("a: ! b", "f:1:4: tags (!name) are not allowed: write the plain value"),
    ],
)
def test_tags_anchors_and_aliases_are_refused(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n\tb: c", "f:2:1: invalid YAML: tab in the indentation; use spaces"),
        ("a:\n  b: c\n\td: e", "f:3:1: invalid YAML: tab in the indentation; use spaces"),
        (
            "a b\nc: d",
            "f:2:2: invalid YAML: mapping values are not allowed in this context; check for a missing",
        ),
        ("a:\n  b: c\n d: e", "f:3:2: invalid YAML: did not find expected key .*; check the indentation of this line"),
        (
            "a:\n- b\nc",
            "f:3:2: invalid YAML: could not find expected ':' .*; check for a missing colon, or a missing space",
        ),
        ("- a\nb: c", "f:2:1: invalid YAML: did not find expected '-' indicator .*; check that this line is indented"),
        ('a: "b\n', "f:2:1: invalid YAML: found unexpected end of stream .*; check for an unclosed quote"),
        ("a: @b", "f:1:4: invalid YAML: found character that cannot start any token .*; quote text that starts"),
        ("%YAML 2.0\n--- a", "f:1:1: invalid YAML: found incompatible YAML document; remove the %YAML line"),
        ("a: [b", "f:1:6: invalid YAML: did not find expected ',' or ']' while parsing a flow sequence$"),
        ('a: "\\q"', "f:1:5: invalid YAML: found unknown escape character while parsing a quoted scalar$"),
        ('a: "\\ud800"', "f:1:7: invalid YAML: found invalid Unicode character escape code"),
        ("...", "f:1:1: invalid YAML: did not find expected node content"),
        ("a: b\x07", "f:1:5: control character: remove it"),
        ("한국: 어\x07", "f:1:6: control character"),
        ("a: b\x85c: \x1b[0m", "f:2:4: control character"),
        ("a: \ufffe", "f:1:4: control character"),
        ("a: \x7f", "f:1:4: control character"),
    ],
)
def test_invalid_yaml_is_refused_at_its_location(text: str, message: str) -> None:
    expected_location, reason = message.split(": ", 1)
    location, message_text = refusal(text).split(": ", 1)
    assert location == expected_location
    with pytest.raises(YamlError, match=reason):
        list(parse_events("f", text))
    assert message_text.isprintable()


@pytest.mark.parametrize("bracket", ["[", "{", "- ", "? "])
def test_nesting_depth_is_limited(bracket: str) -> None:
    """At thousands of levels, libyaml itself stops."""
    message = "nested deeper than 8 levels: check for an extra bracket"
    assert refusal(bracket * 900) == f"f:1:{DEPTH_CAP * len(bracket) + 1}: {message}"
    assert refusal(bracket * 6000).endswith(f": {message}")


def test_nesting_of_exactly_the_limit_is_parsed() -> None:
    level = "[" * DEPTH_CAP + "]" * DEPTH_CAP
    assert len(list(parse_events("f", f"- {level[1:-1]}\n" * 9))) > DEPTH_CAP * 9


@pytest.mark.parametrize(
    ("text", "location"),
    [(f"a: {'b' * (SCALAR_CAP + 1)}", "1:4"), ("b" * 1_000_000, "1:1"), (f"- '{'b' * 70_000}'", "1:3")],
)
def test_length_of_values_is_limited(text: str, location: str) -> None:
    assert refusal(text) == f"f:{location}: value longer than 10,000 characters: check for an unclosed quote"


def test_value_of_exactly_the_limit_is_parsed() -> None:
    assert plain(compose_text("a" * SCALAR_CAP)) == ("a" * SCALAR_CAP, 1, 1)


@pytest.mark.parametrize("text", ["01000000000", "on", "yes", "1_000", "0x10", "1:30", "2026-01-01", "=", "<<", ".nan"])
def test_values_are_unconverted_text(text: str) -> None:
    """YAML 1.1 would convert these to integers, booleans, times or merges."""
    assert plain(compose_text(text)) == (text, 1, 1)


def test_values_have_line_and_column() -> None:
    assert plain(compose_text("# 한국어\r\nb: [c, 한: d]\r\n한: 'e'\r\n")) == {
        ("b", 2, 1): [("c", 2, 5), {("한", 2, 8): ("d", 2, 11)}],
        ("한", 3, 1): ("e", 3, 4),
    }


@pytest.mark.parametrize(
    ("text", "null"),
    [("~", True), ("null", True), ("Null", True), ("NULL", True), ("''", False), ("'~'", False), ("no", False)],
)
def test_only_unquoted_null_is_null(text: str, *, null: bool) -> None:
    node = compose_text(text)
    assert isinstance(node, Scalar)
    assert node.is_null is null


def test_empty_value_is_null() -> None:
    ((_, value),) = mapping("a:\n").items
    assert isinstance(value, Scalar)
    assert value.is_null


def test_mapping_keeps_duplicate_and_complex_keys() -> None:
    keys = [key for key, _ in mapping("{a: 1, [b]: 2, {c: d}: 3, a: 4}").items]
    assert [describe(key) for key in keys] == ["'a'", "a list", "a mapping", "'a'"]


@pytest.mark.parametrize("text", ["{}", "{a: b}", "[a, b]"])
def test_compose_consumes_one_value(text: str) -> None:
    stream = parse_events("f", f"- {text}\n- next\n")
    starts = (event for event in stream if is_value_start(event))
    next(starts)
    compose("f", next(starts), stream)
    assert plain(compose("f", next(stream), stream)) == ("next", 2, 3)


@pytest.mark.parametrize("text", ["a", "{}", "{a: b, c: [d, {e: f}]}", "[[], [a]]"])
def test_skip_consumes_one_value(text: str) -> None:
    stream = parse_events("f", f"- {text}\n- next\n")
    starts = (event for event in stream if is_value_start(event))
    next(starts)
    skip(next(starts), stream)
    assert plain(compose("f", next(stream), stream)) == ("next", 2, 3)


def test_number_of_composed_values_is_limited() -> None:
    node = compose_text(f"[{'a,' * NODE_CAP}]")
    assert isinstance(node, Sequence)
    assert len(node.items) == NODE_CAP
    with pytest.raises(YamlError, match=r"^f:1:1: more than 1,000 values in one entry: check the indentation"):
        compose_text(f"[{'a,' * (NODE_CAP + 1)}]")


def test_only_scalars_mappings_and_lists_start_a_value() -> None:
    starts = [type(event) for event in parse_events("f", "a: [b]") if is_value_start(event)]
    assert starts == [yaml.MappingStartEvent, yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.ScalarEvent]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("colour: red\nsize: 1\n", ["f:1:1: unknown key 'colour'; did you mean 'color'?"]),
        ("COLOR: red\n", ["f:1:1: unknown key 'COLOR'; did you mean 'color'?"]),
        ("weight: 1\n", ["f:1:1: unknown key 'weight'; use one of color, size"]),
        ("size: 1\nsize: 2\n", ["f:2:1: size is a duplicate of line 1: keep one"]),
        ("<<: {size: 1}\n", ["f:1:1: merge keys (<<) are not allowed: write the values out"]),
        ("[size]: 1\n", ["f:1:1: expected a key: one of color, size"]),
        ("'\\e': 1\n", ["f:1:1: unknown key '\\\\e'; use one of color, size"]),
        ('"\\e[31m": 1\n', ["f:1:1: unknown key '\\x1b[31m'; use one of color, size"]),
        (f"{'x' * 99}: 1\n", [f"f:1:1: unknown key '{'x' * 40}…'; use one of color, size"]),
    ],
)
def test_unknown_key_is_reported_with_a_suggestion(text: str, messages: list[str]) -> None:
    reader = Reader("f")
    reader.fields(mapping(text), ("color", "size"))
    assert [str(problem) for problem in reader.problems] == messages


def test_fields_returns_the_first_value_of_each_known_key() -> None:
    fields = Reader("f").fields(mapping("size: 1\nwidth: 2\nsize: 3\ncolor: red\n"), ("color", "size"))
    assert {name: plain(value) for name, value in fields.items()} == {"size": ("1", 1, 7), "color": ("red", 4, 8)}


def test_unknown_key_that_may_be_a_secret_is_not_repeated() -> None:
    reader = Reader("f")
    reader.fields(mapping("hunter2: 1\n"), ("env", "file"), may_hold_secrets=True)
    assert list(map(str, reader.problems)) == ["f:1:1: unknown key; use one of env, file"]


def test_problems_are_limited_and_counted() -> None:
    reader = Reader("f")
    node = mapping("a: b")
    for _ in range(PROBLEM_CAP + 5):
        reader.report(Problem("f", 1, 1, "wrong"))
    reader.fields(node, ("size",))
    assert (len(reader.problems), reader.omitted_count) == (PROBLEM_CAP, 6)


@pytest.mark.parametrize(
    ("node", "expected"), [("a", "'a'"), ("~", "nothing"), ("''", "''"), ("[a]", "a list"), ("{a: b}", "a mapping")]
)
def test_describe_names_the_kind_of_a_node(node: str, expected: str) -> None:
    assert describe(compose_text(node)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", "'a'"), ("\x1b\u202e", "'\\x1b\\u202e'"), ("x" * 40, f"'{'x' * 40}'"), ("x" * 41, f"'{'x' * 40}…'")],
)
def test_quote_escapes_and_truncates(text: str, expected: str) -> None:
    assert quote(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("acount", "; did you mean 'account'?"),
        ("ACCOUNT", "; did you mean 'account'?"),
        ("x", "; use one of account, note"),
    ],
)
def test_suggest_returns_the_closest_key_or_all(text: str, expected: str) -> None:
    assert suggest(text, ("account", "note")) == expected
