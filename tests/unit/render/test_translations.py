"""The catalogues have a complete translation of every message in the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter

import click
import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from tests.tools import messages
from worker.model import errors

_LANGUAGES = sorted(messages.CATALOGUES)
_TEMPLATE = cache(messages.template)
_CARRIERS = frozenset(errors.__all__) | {"Notice", "Change"}


@cache
def _catalog(code: str) -> Catalog:
    with messages.CATALOGUES[code].open("rb") as file:
        return read_po(file, locale=code, abort_invalid=True)


def _keys(catalog: Catalog) -> set[tuple[str | None, str]]:
    return {(message.context, str(message.id)) for message in catalog if message.id}


def _translations(code: str) -> Iterator[tuple[Message, str]]:
    for message in _catalog(code):
        if message.id:
            for text in (message.string,) if isinstance(message.string, str) else message.string or ("",):
                yield message, text


def _values(text: str) -> set[tuple[str, str | None, str | None]]:
    if "%(" in text:
        return {(name, None, None) for name in re.findall(r"%\((\w+)\)s", text)}
    return {(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("code", _LANGUAGES)
def test_catalogue_has_exactly_the_messages_of_the_code(code: str) -> None:
    """Run `make messages` after a message changed."""
    catalogue_keys, code_keys = _keys(_catalog(code)), _keys(_TEMPLATE())
    assert sorted(map(str, code_keys - catalogue_keys)) == []
    assert sorted(map(str, catalogue_keys - code_keys)) == []
    assert not _catalog(code).obsolete


@pytest.mark.parametrize("code", _LANGUAGES)
def test_every_message_is_translated(code: str) -> None:
    """No translation is empty or fuzzy."""
    assert [message.id for message, text in _translations(code) if not text] == []
    assert [message.id for message, _ in _translations(code) if message.fuzzy] == []


@pytest.mark.parametrize("code", _LANGUAGES)
def test_placeholders_match_the_message(code: str) -> None:
    """A translation has the same placeholders as its message, with the same format."""
    wrong = []
    for message, text in _translations(code):
        english = message.id if isinstance(message.id, str) else message.id[1]
        if message.python_format or "python-brace-format" in message.flags:
            if _values(english) != _values(text):
                wrong.append(english)
        elif ("{" in text) != ("{" in english):
            wrong.append(english)
    assert wrong == []


@pytest.mark.parametrize("code", _LANGUAGES)
def test_surrounding_blanks_and_lines_are_kept(code: str) -> None:
    """Leading and trailing blanks matter, because messages are joined with other texts."""
    wrong = []
    for message, text in _translations(code):
        english = message.id if isinstance(message.id, str) else message.id[1]
        ends = [(side[: len(side) - len(side.lstrip())], side[len(side.rstrip()) :]) for side in (english, text)]
        if ends[0] != ends[1] or english.count("\n") != text.count("\n"):
            wrong.append(english)
    assert wrong == []


def test_korean_has_no_plural() -> None:
    assert _catalog("ko").num_plurals == 1


def test_translated_click_messages_exist() -> None:
    """The texts of click in the catalogues are those of the installed version."""
    click_messages = {message for _, _, message, _, _ in extract_from_dir(Path(click.__file__).parent)}
    assert [message for message in messages.CLICK if message not in click_messages] == []


def test_catalogues_are_updated_from_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make messages` adds new messages without a translation, removes unused ones and changes nothing else."""
    before = messages.CATALOGUES["ko"].read_text()
    _TEMPLATE()
    path = tmp_path / "ko" / "senderid.po"
    monkeypatch.setattr(messages, "CATALOGUES", {"ko": path})
    monkeypatch.setattr(messages, "ROOT", tmp_path)
    monkeypatch.setattr(messages, "_POT", tmp_path / "build" / "senderid.pot")
    monkeypatch.setattr(messages, "template", _TEMPLATE)
    messages.main()
    assert "without a translation" in capsys.readouterr().out
    with path.open("rb") as file:
        new_catalogue = read_po(file, locale="ko")
    assert _keys(new_catalogue) == _keys(_TEMPLATE())
    path.write_text(before)
    messages.main()
    assert path.read_text() == before
    path.write_text(before.replace('msgid "Notices"', 'msgid "Worth more"'))
    messages.main()
    with path.open("rb") as file:
        updated_catalogue = read_po(file, locale="ko")
    assert updated_catalogue["Notices"].string == ""
    assert "Worth more" not in updated_catalogue


def test_templates_of_messages_are_literals() -> None:
    """A composed message could not be translated."""
    wrong = [
        f"{path.relative_to(messages.ROOT)}:{call.lineno}"
        for path in messages.modules()
        if path.name != "messages.py" or path.parent.name != "model"
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and _composes(call)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ('Message("no {name}", name=name)', False),
        ('Message.plural("{count} a", "{count} b", 2, place=f"{path}:{line}")', False),
        ('UsageError("foreign")', False),
        ('Message(f"no {name}")', True),
        ('Message("no %s" % name)', True),
        ('Message("no " + name)', True),
        ("Message(text)", True),
        ('Message.plural("{count} a", many, 2)', True),
        ('Message("no {name}", name=f"odd {name}")', True),
        ('Message("no {name}", name="odd " + name)', True),
        ('UsageError(f"no {name}")', True),
        ('NumberError("Odd", "no " + name)', True),
        ('Problem(source, 1, 1, f"no {name}")', True),
    ],
)
def test_composed_templates_are_detected(source: str, *, wrong: bool) -> None:
    (call, *_) = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    assert _composes(call) is wrong


def _composes(call: ast.Call) -> bool:
    """Return True if a call contains a message composed of several texts."""
    match call.func:
        case ast.Name(id="Message"):
            templates = 1
        case ast.Attribute(value=ast.Name(id="Message"), attr="plural"):
            templates = 2
        case ast.Name(id=name) if name in _CARRIERS:
            templates = 0
        case _:
            return False
    values = [*call.args[templates:], *(keyword.value for keyword in call.keywords)]
    return not all(isinstance(argument, ast.Constant) for argument in call.args[:templates]) or any(
        map(_is_composed, values)
    )


def _is_composed(value: ast.expr) -> bool:
    match value:
        case ast.JoinedStr(values=parts):
            return any(isinstance(part, ast.Constant) and re.search("[a-z]{2}", str(part.value)) for part in parts)
        case ast.BinOp(left=left, op=ast.Add() | ast.Mod(), right=right):
            return any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (left, right))
    return False
