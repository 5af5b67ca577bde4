"""The catalogues hold every message of the code, in every language, whole and fit to be filled in."""

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
from tests.tools.sentences import sentences

_LANGUAGES = sorted(messages.CATALOGUES)
_TEMPLATE = cache(messages.template)


@cache
def _catalog(code: str) -> Catalog:
    with messages.CATALOGUES[code].open("rb") as file:
        return read_po(file, locale=code, abort_invalid=True)


def _keys(catalog: Catalog) -> set[tuple[str | None, str]]:
    return {(message.context, str(message.id)) for message in catalog if message.id}


def _filled(code: str) -> Iterator[tuple[Message, str]]:
    for message in _catalog(code):
        if message.id:
            for text in (message.string,) if isinstance(message.string, str) else message.string or ("",):
                yield message, text


def _values(text: str) -> set[tuple[str, str | None, str | None]]:
    if "%(" in text:
        return {(name, None, None) for name in re.findall(r"%\((\w+)\)s", text)}
    return {(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("code", _LANGUAGES)
def test_every_message_is_there_and_no_other(code: str) -> None:
    """What the code says the catalogue has, and it has nothing that the code says no more: `make messages`."""
    there, wanted = _keys(_catalog(code)), _keys(_TEMPLATE())
    assert sorted(map(str, wanted - there)) == []
    assert sorted(map(str, there - wanted)) == []
    assert not _catalog(code).obsolete


@pytest.mark.parametrize("code", _LANGUAGES)
def test_every_message_is_translated(code: str) -> None:
    """None is empty, and none was only guessed."""
    assert [message.id for message, text in _filled(code) if not text] == []
    assert [message.id for message, _ in _filled(code) if message.fuzzy] == []


@pytest.mark.parametrize("code", _LANGUAGES)
def test_placeholders_are_the_same(code: str) -> None:
    """A translation has every value of its message, and no other; each is put in plainly, by its name."""
    wrong = []
    for message, text in _filled(code):
        english = message.id if isinstance(message.id, str) else message.id[1]
        if message.python_format or "python-brace-format" in message.flags:
            if _values(english) != _values(text):
                wrong.append(english)
        elif ("{" in text) != ("{" in english):
            wrong.append(english)
    assert wrong == []


@pytest.mark.parametrize("code", _LANGUAGES)
def test_edges_and_lines_are_kept(code: str) -> None:
    """What begins or ends with a blank or a line end still does, as other texts stand beside it."""
    wrong = []
    for message, text in _filled(code):
        english = message.id if isinstance(message.id, str) else message.id[1]
        ends = [(each[: len(each) - len(each.lstrip())], each[len(each.rstrip()) :]) for each in (english, text)]
        if ends[0] != ends[1] or english.count("\n") != text.count("\n"):
            wrong.append(english)
    assert wrong == []


def test_korean_counts_in_one_form() -> None:
    """Korean nouns have no plural."""
    assert _catalog("ko").num_plurals == 1


def test_click_still_says_what_is_translated() -> None:
    """The words of click that the catalogues have are those of the click that is installed."""
    said = {message for _, _, message, _, _ in extract_from_dir(Path(click.__file__).parent)}
    assert [message for message in messages.CLICK if message not in said] == []


def test_catalogues_are_brought_up_to_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make messages` adds what is new, to be translated, drops what is gone, and changes nothing where nothing is."""
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
        fresh = read_po(file, locale="ko")
    assert _keys(fresh) == _keys(_TEMPLATE())
    path.write_text(before)
    messages.main()
    assert path.read_text() == before
    path.write_text(before.replace('msgid "Worth knowing"', 'msgid "Worth more"'))
    messages.main()
    with path.open("rb") as file:
        mended = read_po(file, locale="ko")
    assert mended["Worth knowing"].string == ""
    assert "Worth more" not in mended


def test_sentences_are_followed_to_their_words(tmp_path: Path) -> None:
    """Names, constants, choices, joins of texts and functions of words come to the sentences that they make."""
    path = tmp_path / "module.py"
    path.write_text(
        '''
"""Not said."""
_WHERE = "in the file"
_WHY = {1: "it is late", 2: "it is early"}
_PLAIN = "listed as {}"

def _count(number, noun):
    return f"{number} {noun}{'s' * (number != 1)}"

def tell(self, name, some, error):
    if some:
        told = f"there is no {name}"
        raise ValueError(f"{told}: look {_WHERE}")
    else:
        told = "nothing is there " + name
    late = _WHY[some]
    yield Problem(f"{late}, {self.path!r} of {len(some):,} {name}", told if some else _PLAIN.format(name))
    yield _("marked elsewhere"), f"{_count(some, 'more thing')} {error or ''}"
    yield f"{_WHY.get(some, 'it is so')} ({name.strip()})", f"{', '.join(map(str, self.all))} all {other(name)}"
'''
    )
    assert sentences(path) == {
        "there is no {name}",
        "there is no {name}: look in the file",
        "nothing is there {name}",
        "listed as {name}",
        "listed as {{}}",
        "it is late",
        "it is early",
        "it is late, {path} of {some} {name}",
        "it is early, {path} of {some} {name}",
        "{number} more thing {error}",
        "{number} more things {error}",
        "{number} {noun}",
        "{number} {noun}s",
        "it is late ({name})",
        "it is early ({name})",
        "it is so ({name})",
        "{all} all {other}",
    }
