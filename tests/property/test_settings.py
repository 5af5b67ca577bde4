"""Properties of every setting."""

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct, inspect, structs

from tests.support.examples import examples
from worker.config.settings import Settings, load, threshold
from worker.config.urls import ENDPOINTS
from worker.model.errors import SettingsError


def leaves(section: type[Struct], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Return every setting with a single value, with its path and type, including nested sections."""
    for field in structs.fields(section):
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            yield from leaves(field.type, (*path, field.name))
        elif is_single(inspect.type_info(field.type)):
            yield (*path, field.name), field.type


def is_single(kind: inspect.Type) -> bool:
    """Return True if values of a type have one part: an environment variable cannot set the others."""
    if isinstance(kind, inspect.Metadata):
        return is_single(kind.type)
    if isinstance(kind, inspect.UnionType):
        return all(map(is_single, kind.types))
    return not isinstance(kind, inspect.StructType | inspect.VarTupleType)


LEAVES = dict(leaves(Settings))
PATHS = pytest.mark.parametrize("path", LEAVES, ids=".".join)


SPECIAL: dict[tuple[str, ...], st.SearchStrategy[Any]] = {
    ("endpoint",): st.sampled_from([*ENDPOINTS, "https://example.com", "http://127.0.0.1:1"]),
    ("metrics", "push_url"): st.sampled_from(["http://gateway:9091", "https://push.example.com/base"]),
    ("ledger", "url"): st.sampled_from(["postgresql://a@db.internal/one", "postgres://db.internal:5433/two"]),
    ("network", "proxy"): st.sampled_from(["http://proxy.internal:3128", "http://[::1]:8080"]),
    ("maintenance", "weekly"): st.sampled_from(["Sun 02:00-04:00", "daily 22:00-06:00"]),
    ("suspend", "until"): st.dates(date(1970, 1, 2), date(2999, 12, 31)).map(str),
}


def values(path: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Return the valid values of a setting."""
    if path in SPECIAL:
        return SPECIAL[path]
    kind = inspect.type_info(LEAVES[path])
    match kind.type if isinstance(kind, inspect.Metadata) else kind:
        case inspect.IntType(ge=least, le=most):
            return st.integers(least, most)
        case inspect.FloatType(gt=least, le=most):
            return st.floats(least, most, exclude_min=True)
        case inspect.BoolType():
            return st.booleans()
        case inspect.LiteralType(values=words):
            return st.sampled_from(sorted(map(str, words)))
        case inspect.UnionType(types=(inspect.IntType(), *_)):
            return st.integers(0, 999_999_999).map(str) | st.integers(0, 100).map(lambda share: f"{share}%")
    return st.from_regex("/[a-z/]{1,20}", fullmatch=True)


def in_file(path: tuple[str, ...], value: object) -> tuple[str, bytes]:
    """Return a settings file with this one setting."""
    return "w.yaml", msgspec.json.encode(nested(path, str(value)))


def nested(path: tuple[str, ...], value: object) -> object:
    """Return a value under the names of its path."""
    return nested(path[:-1], {path[-1]: value}) if path else value


def variable(path: tuple[str, ...]) -> str:
    """Return the environment variable of a setting."""
    return "SENDERID_" + "__".join(path).upper()


def value_at(actual: Settings, path: tuple[str, ...]) -> object:
    """Return the value at this path."""
    value: object = actual
    for name in path:
        value = getattr(value, name)
    return value


@PATHS
@examples(25)
@given(data=st.data())
def test_option_wins_over_environment_over_file(path: tuple[str, ...], data: st.DataObject) -> None:
    """Each setting has three sources with the same meaning, and the most specific source wins. Others are unchanged."""
    far, near, nearest = (data.draw(values(path)) for _ in range(3))
    source, environment = in_file(path, far), {variable(path): str(near)}
    assert value_at(load(source, {}, {}), path) == far
    assert value_at(load(source, environment, {}), path) == near
    settings = load(source, environment, {".".join(path): nearest})
    assert value_at(settings, path) == nearest
    assert [value_at(settings, other) for other in LEAVES if other != path] == [
        value_at(Settings(), other) for other in LEAVES if other != path
    ]


def check(source: tuple[str, bytes] | None, environment: dict[str, str]) -> None:
    """Load settings. If they are refused, check that every problem can be shown and lies within its file."""
    try:
        assert isinstance(load(source, environment, {}), Settings)
    except SettingsError as error:
        refused = error
    else:
        return
    text = source[1].decode("utf-8-sig", "replace") if source else ""
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    assert 0 < len(refused.problems) <= 1000 + len(environment)
    for problem in refused.problems:
        problem_lines = lines if problem.source == "w.yaml" else [""]
        assert 1 <= problem.line <= len(problem_lines)
        assert 1 <= problem.column <= len(problem_lines[problem.line - 1]) + 1
        assert problem.message.isprintable()
        assert len(problem.message) < 700


@examples(200)
@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
@example(b"a\n---\n# ")
@example(b"a: [b")
def test_any_bytes_are_loaded_or_refused(data: bytes) -> None:
    """Any bytes are loaded, or refused with problems that lie within the file."""
    check(("w.yaml", data), {})


PIECES = (
    *(
        "endpoint: ",
        "rate_limit:",
        "  writes: ",
        "  reads: ",
        "retry: ",
        "concurrency: ",
        "safety: ",
        "max_deactivations: ",
        "pair_swaps: ",
        "notify: ",
        "channels: ",
        "{name: a, url: {env: A}, ",
        "events: ",
        "title: $",
    ),
    *(
        "\n",
        "\r\n",
        "  ",
        "\t",
        "---\n",
        "...",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ": ",
        ",",
        "'",
        '"',
        "&a ",
        "*a",
        "!!int ",
        "# ",
    ),
    *(
        "1",
        "16",
        "1e5",
        "nan",
        "-1",
        "30%",
        "null",
        "~",
        "true",
        "solapi",
        "https://x",
        "@",
        "9" * 400,
        "9" * 5000,
        "\\0",
    ),
    *("한국어", "\u202e", "\x85", "\u2028", "<<: "),
)
"""Valid and invalid fragments of files."""


@examples(300)
@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_any_pieces_are_loaded_or_refused(text: str) -> None:
    """Any combination of fragments is loaded, or refused with problems that lie within the file."""
    check(("w.yaml", text.encode()), {})


@examples(200)
@given(
    st.dictionaries(
        st.sampled_from([*map(variable, LEAVES), "SENDERID_X"]), st.text(max_size=20) | st.sampled_from(PIECES)
    )
)
def test_any_environment_is_loaded_or_refused(environment: dict[str, str]) -> None:
    """Any variables are loaded, or refused with one problem per variable."""
    check(None, environment)


@examples(200)
@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 10**6), st.integers(0, 10**6))
def test_threshold_is_monotonic(share: int, other: int, active: int, more: int) -> None:
    """A larger share or more ACTIVE numbers never allow less. At least 2 are allowed, and at most all of them."""
    low, high = sorted((share, other))
    few, many = sorted((active, more))
    assert threshold(f"{low}%", few) <= threshold(f"{high}%", few) <= threshold(f"{high}%", many)
    assert 2 <= threshold(f"{low}%", few) <= max(2, few)
    assert threshold("100%", many) == max(2, many)


@examples(100)
@given(st.integers(0, 999_999_999), st.integers(0, 10**6))
def test_threshold_of_a_number_is_that_number(limit: int, active: int) -> None:
    """A plain number or its text is the threshold for any account."""
    assert threshold(limit, active) == threshold(str(limit), active) == limit
