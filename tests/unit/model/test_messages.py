"""Messages: text with its template and parameters."""

import pickle
import sqlite3
from contextlib import closing
from copy import copy

import msgspec
import pytest

from worker.model.errors import ErrorInfo, UsageError
from worker.model.messages import Message, PhoneNumber, english, join, restore, system_text, to_parts


def test_message_is_its_english_text() -> None:
    message = Message("no account is named {name!r} ({count:,} are)", name="main", count=1200)
    assert message == "no account is named 'main' (1,200 are)"
    assert message.template == "no account is named {name!r} ({count:,} are)"
    assert message.parameters == {"name": "main", "count": 1200}
    assert message.many is None


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 numbers of main"), (1, "1 number of main"), (1000, "1,000 numbers of main")]
)
def test_plural_is_chosen_by_count(count: int, text: str) -> None:
    message = Message.plural("{count:,} number of {name}", "{count:,} numbers of {name}", count, name="main")
    assert message == text
    assert (message.template, message.many) == ("{count:,} number of {name}", "{count:,} numbers of {name}")
    assert message.parameters == {"count": count, "name": "main"}


def test_tuples_are_listed_and_messages_nest() -> None:
    inner = Message("it is {what}", what="odd")
    message = Message("{phones}: {reason}", phones=(PhoneNumber("112"), ("1335", 3)), reason=inner)
    assert message == "112, 1335, 3: it is odd"
    assert message.parameters["reason"] is inner


def test_parameters_are_not_parsed_as_placeholders() -> None:
    assert Message("{name}", name="{name!r:>9} %s") == "{name!r:>9} %s"


def test_error_returns_the_same_message_object() -> None:
    message = Message("no account is named {name}", name="main")
    assert str(UsageError(message)) is message
    assert UsageError(message).info.message is message


def test_joined_messages_keep_their_parameters() -> None:
    first, second = Message("one {a}", a=1), Message("two")
    row = join([first, second], "; {")
    assert row == "one 1; {two"
    assert list(row.parameters.values()) == [first, second]
    assert join([], "; ") == ""


def test_system_text_is_not_parsed_as_template() -> None:
    assert system_text("No {such} file") == "No {such} file"
    assert system_text(None) == "unknown error"


def test_copies_keep_template_and_parameters() -> None:
    message = Message.plural("{count} {name}", "{count} {name}s", 2, name="account {x}")
    for copied in (copy(message), pickle.loads(pickle.dumps(message))):  # noqa: S301 - our own bytes
        assert copied == "2 account {x}s"
        assert (copied.template, copied.many, copied.parameters) == (message.template, message.many, message.parameters)


def test_message_is_encoded_as_english() -> None:
    message = Message("{phone} is odd", phone=PhoneNumber("112"))
    document = {"error": ErrorInfo("Odd", message), "phone": PhoneNumber("112")}
    assert msgspec.json.encode(document, enc_hook=english) == (
        b'{"error":{"code":"Odd","message":"112 is odd"},"phone":"112"}'
    )
    plain = english(message)
    assert type(plain) is str
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute("SELECT ?", (message,)).fetchone() == ("112 is odd",)
    with pytest.raises(TypeError, match="object cannot be encoded"):
        english(object())


def test_message_is_restored_from_its_parts() -> None:
    message = Message.plural(
        "{count} number: {phones}, {reason} ({rate:.1f})",
        "{count} numbers: {phones}, {reason} ({rate:.1f})",
        2,
        phones=(PhoneNumber("112"), PhoneNumber("1335")),
        reason=Message("it is {what}", what="odd"),
        rate=0.5,
    )
    stored = msgspec.json.encode(to_parts(message))
    restored = restore(str(message), msgspec.json.decode(stored))
    assert isinstance(restored, Message)
    assert (restored.template, restored.many, restored.parameters) == (
        message.template,
        message.many,
        message.parameters,
    )
    assert msgspec.json.encode(to_parts(restored)) == stored


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "text",
        ["text"],
        {"template": "another", "parameters": {}},
        {"template": "{gone}", "parameters": {}},
        {"template": "{0}", "parameters": {}},
        {"template": "text", "parameters": {"a": None}},
        {"template": "text", "parameters": {}, "many": "texts"},
        {"template": "{a.b}", "parameters": {"a": 1}},
        {"template": "{a:d}", "parameters": {"a": "b"}},
        {"template": "text"},
    ],
)
def test_invalid_parts_restore_the_english_text(stored: object) -> None:
    assert type(restore("text", stored)) is str
