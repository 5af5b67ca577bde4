"""Properties of every desired-state file."""

import re
from typing import Any
from unicodedata import normalize

from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.examples import examples
from worker.config.desired import DesiredState, load
from worker.config.yaml_reader import PROBLEM_CAP
from worker.model.accounts import Desired, SafetyOverride, Status, Unmanaged
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import DesiredStateError

phones = st.integers(0, 99_999_999).map(lambda n: f"010{n:08}") | st.integers(0, 999_999).map(lambda n: f"15{n:06}")
prose = st.text(
    st.characters(categories=["L", "N", "P", "S"]) | st.sampled_from(" \n\t\u3000"), min_size=1, max_size=30
)
"""Texts of notes."""
notes = prose.map(str.strip).filter(bool)
names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20).map(
    lambda name: name.encode("utf-8", "ignore").decode()
)

desired = st.builds(
    Desired,
    st.sampled_from([Status.ACTIVE, Status.INACTIVE]),
    note=st.none() | notes,
    owner=st.none() | notes,
    protected=st.booleans(),
)
references = st.one_of(
    st.from_regex("[A-Z_]{1,10}", fullmatch=True).map(lambda name: SecretRef(env=name)),
    st.from_regex("/[a-z./ ]{0,20}[a-z]", fullmatch=True).map(lambda path: SecretRef(file=path)),
    st.lists(st.from_regex("[a-z-]{1,10}", fullmatch=True), min_size=1, max_size=4).map(
        lambda command: SecretRef(command=tuple(command))
    ),
)
heads = st.fixed_dictionaries(
    {},
    optional={
        "account_id": st.from_regex("[0-9]{1,20}", fullmatch=True),
        "credentials": st.builds(CredentialsRef, references, references),
        "endpoint": st.sampled_from(["solapi", "coolsms", "https://example.com/api"]),
        "unmanaged": st.sampled_from(Unmanaged),
        "safety": st.builds(
            SafetyOverride,
            st.none() | st.integers(0, 999_999_999) | st.integers(0, 100).map(lambda share: f"{share}%"),
            st.none() | st.integers(0, 999_999_999),
            st.sampled_from([None, "warn", "hold"]),
        ),
    },
)
"""Optional fields beside the numbers."""


def quoted(text: str) -> str:
    """Return a text in double quotes, with every character escaped that is not plain."""
    escaped = "".join(char if char.isascii() and char.isalnum() else f"\\U{ord(char):08x}" for char in text)
    return f'"{escaped}"'


def flow(value: object) -> str:
    """Return a value as YAML in one line, without fields that are None."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items() if item is not None) + "}"
        case tuple():
            return f"[{', '.join(map(flow, value))}]"
        case Status() | int():
            return str(value)
        case _:
            return quoted(str(value))


def fields(value: Any) -> dict[str, Any]:
    """Return the fields of a value, including nested ones."""
    names_of = value.__struct_fields__
    inside = {name: getattr(value, name) for name in names_of if name != "managed"}
    return {name: fields(item) if hasattr(item, "__struct_fields__") else item for name, item in inside.items()}


def rendered(name: str, head: dict[str, Any], numbers: dict[str, Desired], *, listed: bool) -> str:
    """Return a document in one of the two forms of numbers."""
    lines = ["version: 1", f"account: {quoted(name)}"]
    lines += [
        f"{key}: {flow(fields(value) if hasattr(value, '__struct_fields__') else value)}" for key, value in head.items()
    ]
    lines.append("numbers:" if numbers else "numbers: []" if listed else "numbers: {}")
    for phone, desired in numbers.items():
        entry = fields(desired)
        lines.append(f"- {flow({'phone': phone} | entry)}" if listed else f"  {phone}: {flow(entry)}")
    return "\n".join(lines) + "\n"


@examples(150)
@given(
    name=names,
    head=heads,
    numbers=st.dictionaries(phones, desired, max_size=5),
    listed=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_written_file_is_read_back(
    *, name: str, head: dict[str, Any], numbers: dict[str, Desired], listed: bool, end: str
) -> None:
    """Any desired state, in either form of numbers, is read back with each number at its line."""
    text = rendered(name, head, numbers, listed=listed)
    (account,) = load([("a.yaml", text.replace("\n", end).encode())]).accounts
    assert account.name == normalize("NFC", name)
    assert account.numbers == numbers
    assert list(account.numbers) == list(numbers)
    assert list(account.lines) == list(range(len(head) + 4, len(head) + 4 + len(numbers)))
    assert {key: getattr(account, key) for key in head} == head
    assert account.unmanaged is head.get("unmanaged", Unmanaged.REPORT)


def check(data: bytes) -> None:
    """Load a file. If it is refused, check that every problem can be shown and lies within the file."""
    try:
        assert isinstance(load([("f.yaml", data)]), DesiredState)
    except DesiredStateError as error:
        refused = error
    else:
        return
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", data.decode("utf-8-sig", "replace"))
    assert 0 < len(refused.problems) <= 2 * PROBLEM_CAP
    for problem in refused.problems:
        assert problem.source == "f.yaml"
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.message.isprintable()
        assert len(problem.message) < 400


@examples(300)
@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
@example(b"\xef\xbb\xbf\xef\xbb\xbfa")
@example(b"a: [b")
@example(b"a:\n- b\nc")
@example(b"\xff")
@example("\u2028\x85a:\x01".encode())
def test_any_bytes_are_loaded_or_refused(data: bytes) -> None:
    """Any bytes are loaded, or refused with problems that lie within the file."""
    check(data)


PIECES = (
    *(f"{line}\n" for line in ("version: 1", "account: a", "numbers:", "numbers: {}", "---", "...", "", "env: A", "|")),
    *(
        "  010-1234-5678: ACTIVE\n",
        "  112: {status: ACTIVE}\n",
        "- {phone: 112, status: on}\n",
        "- ",
        "  ",
        "\t",
        "\r\n",
    ),
    *(
        ": ",
        "?",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "&a ",
        "*a",
        "!!str ",
        "<<: ",
        "%YAML 1.2\n",
        "# ",
        ">",
        "~",
        "yes",
    ),
    *(
        "credentials: ",
        "api_key: ",
        "safety: ",
        "max_deactivations: ",
        "min_active: ",
        "pair_swaps: ",
        "30%",
        "unmanaged: ",
        "endpoint: ",
    ),
    *("http://", "note: ", "protected: ", "한국어", "\u202e", "\ufeff", "\x85", "\u2028", "\\", "9" * 50, "0" * 5000),
)
"""Valid and invalid fragments of files."""


@examples(400)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
@example("---\n# ")
@example("\ufeff\ufeff[")
def test_any_pieces_are_loaded_or_refused(text: str) -> None:
    """Any combination of fragments is loaded, or refused with problems that lie within the file."""
    check(text.encode())


@examples(200)
@given(st.data())
def test_any_edit_is_loaded_or_refused(data: st.DataObject) -> None:
    """A valid file with one span replaced is loaded, or refused with problems that lie within the file."""
    text = rendered("a", {"unmanaged": Unmanaged.REPORT}, {"112": Desired(Status.ACTIVE, note="x")}, listed=False)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 9)))
    check((text[:start] + data.draw(st.text(max_size=5) | st.sampled_from(PIECES)) + text[end:]).encode())
