"""Finished messages are found by their fixed parts and said in another language."""

from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from worker.model.messages import Message, joined, system_text
from worker.render.i18n_catalog import FINISHED, Catalogue, Template

_MESSAGES = {
    "no account is named {name}": "{name}: 그런 계정이 없습니다",
    "the ledger {path} cannot be used ({reason})": "원장 {path}: 쓸 수 없습니다({reason})",
    "{source}: {message}": "{source}: {message}",
    "{name} cannot be {value}": "{name}에 쓸 수 없는 값: {value}",
    "cannot be read: {strerror}": "읽을 수 없습니다: {strerror}",
    "it is damaged": "손상되었습니다",
    "write `numbers: {{}}`": "`numbers: {{}}`라고 쓰십시오",
    "{count} of {whole}, not {count2}": "{whole} 중 {count2} 아닌 {count}",
}


def _catalogue() -> Catalogue:
    found = Catalog(locale="ko")
    for message, translation in _MESSAGES.items():
        found.add(message, translation, context=FINISHED)
    found.add("marked", "표시됨")
    found.add("elsewhere", "다른 맥락", context="other")
    found.add(("{count} account", "{count} accounts"), ("계정 {count}개",))
    found.add("{name!r} has {count:,} numbers", "{name!r}: 번호 {count:,}개")
    found.add(("{count:,} number of {name}", "{count:,} numbers of {name}"), ("{name}: 번호 {count:,}개",))
    found.add("No such file", "파일이 없습니다")
    file = BytesIO()
    write_mo(file, found)
    file.seek(0)
    return Catalogue(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no account is named main", "main: 그런 계정이 없습니다"),
        ("it is damaged", "손상되었습니다"),
        ("write `numbers: {}`", "`numbers: {}`라고 쓰십시오"),
        ("2 of 5, not 3", "5 중 3 아닌 2"),
        ("the ledger /a (b) cannot be used (it is damaged)", "원장 /a (b): 쓸 수 없습니다(손상되었습니다)"),
        ("the ledger /a cannot be used (odd)", "원장 /a: 쓸 수 없습니다(odd)"),
        ("f.json: it is damaged", "f.json: 손상되었습니다"),
        ("f.json: cannot be read: No such file", "f.json: 읽을 수 없습니다: 파일이 없습니다"),
        ("marked", "표시됨"),
    ],
)
def test_a_finished_message_is_found_by_its_fixed_parts(text: str, said: str) -> None:
    """Values go where the other language has their names; what is a message within a message is said too."""
    assert _catalogue().finished(text) == said


@pytest.mark.parametrize(
    "text",
    ["", "foreign", "foreign: text", "no account is name", "2 of 5", "elsewhere", "no account is named " + "x" * 5000],
)
def test_what_is_no_message_stays_as_it_is(text: str) -> None:
    """A foreign text, also one that looks a little like a message, is not touched."""
    assert _catalogue().finished(text) == text


def test_values_are_not_read_as_placeholders() -> None:
    """Braces, percent signs and names of other values in a value are text."""
    assert _catalogue().finished("no account is named {name!r:>9} {0} %s") == "{name!r:>9} {0} %s: 그런 계정이 없습니다"


def test_what_explains_more_of_a_text_wins() -> None:
    """`it cannot be read: …` of a file is that, and not a value that cannot be."""
    assert _catalogue().finished("a cannot be b") == "a에 쓸 수 없는 값: b"
    assert _catalogue().finished("a: cannot be read: b") == "a: 읽을 수 없습니다: b"


def test_marked_messages_are_said_by_their_english() -> None:
    """`gettext` and `ngettext` know what is not finished, and leave the unknown as it is."""
    catalogue = _catalogue()
    assert catalogue.gettext("marked") == "표시됨"
    assert catalogue.gettext("unmarked") == "unmarked"
    assert catalogue.ngettext("{count} account", "{count} accounts", 1) == "계정 {count}개"
    assert catalogue.ngettext("{count} account", "{count} accounts", 2) == "계정 {count}개"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message("marked"), "표시됨"),
        (Message("{name!r} has {count:,} numbers", name="a{b}", count=1234), "'a{b}': 번호 1,234개"),
        (
            Message.plural("{count:,} number of {name}", "…", 1000, name="a"),
            "a: 번호 1,000개",
        ),
        (joined([Message("marked"), Message("unknown {x}", x=1)], "; "), "표시됨; unknown 1"),
        (Message("{items} — {name}", items=(Message("marked"), 2), name="marked"), "표시됨, 2 — marked"),
        (Message("{name}: {reason}", name="a", reason="it is damaged"), "a: 손상되었습니다"),
        (Message(""), ""),
        (system_text("No such file"), "파일이 없습니다"),
    ],
)
def test_message_is_translated_by_template_and_parameters(message: Message, text: str) -> None:
    assert _catalogue().message(message) == text


def test_converted_message_is_recognised_within_a_finished_one() -> None:
    inner = Message("{name!r} has {count:,} numbers", name="a", count=1234)
    text = f"the ledger /a cannot be used ({inner})"
    assert _catalogue().finished(text) == "원장 /a: 쓸 수 없습니다('a': 번호 1,234개)"


def test_a_catalogue_that_was_not_built_is_none(tmp_path: Path) -> None:
    """A bare checkout has no compiled catalogue, and needs none."""
    assert Catalogue.at(tmp_path / "senderid.mo") is None


def test_a_template_knows_what_it_has_to_say() -> None:
    """A template without a letter of its own is told apart, as any text with a colon could be one."""
    assert Template.of("{source}: {message}", "").wordless
    assert not Template.of("file {source}", "").wordless
    assert Template.of("a {b} c {{}}", "").parts == ("a ", " c {}")
    assert Template.of("a {b} c", "").values("a c") is None
    assert Template.of("{a}, {b}", "").values("one") is None
