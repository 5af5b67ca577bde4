"""The language of a command line, and help in it."""

import gettext as words_of_click
import os
from collections.abc import Iterator, Mapping, Sequence

import click
import pytest

from worker.cli.help import WideContext
from worker.cli.lang import LANG, localized, paragraphs, requested_language, set_language
from worker.cli.main import run, senderid
from worker.render.i18n import current_language, use_language
from worker.render.terminal import width


@pytest.fixture(autouse=True)
def english_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of the machine's wishes for anything, and later tests are spoken to in English."""
    for variable in ("SENDERID_LANG", "LC_ALL", "LC_MESSAGES", "LANG", "LANGUAGE"):
        monkeypatch.delenv(variable, raising=False)
    with use_language("en"):
        yield
        set_language(["--lang", "en"])


@pytest.mark.parametrize(
    ("arguments", "environment", "language"),
    [
        ([], {}, "en"),
        ([], {"LANG": "ko_KR.UTF-8"}, "ko"),
        ([], {"LANG": "C.UTF-8"}, "en"),
        ([], {"LANG": "POSIX"}, "en"),
        ([], {"LANG": "fr_FR.UTF-8"}, "en"),
        ([], {"LANG": "ko_KR.UTF-8", "LC_ALL": "C"}, "en"),
        ([], {"LANG": "ko_KR.UTF-8", "LC_ALL": ""}, "ko"),
        ([], {"LANG": "C", "LC_MESSAGES": "ko_KR"}, "ko"),
        ([], {"LANG": "C", "LC_MESSAGES": "en_US", "LC_ALL": "ko_KR"}, "ko"),
        ([], {"LC_ALL": "ko_KR", "SENDERID_LANG": "en"}, "en"),
        ([], {"LC_ALL": "C", "SENDERID_LANG": "ko"}, "ko"),
        (["--lang", "ko", "plan"], {}, "ko"),
        (["plan", "--lang=ko"], {"SENDERID_LANG": "en"}, "ko"),
        (["--lang", "ko", "plan", "--lang", "en"], {}, "en"),
        (["--lang", "fr", "plan"], {"LANG": "ko_KR"}, "ko"),
        (["plan", "--lang"], {}, "en"),
        (["history", "--", "--lang", "ko"], {}, "en"),
    ],
)
def test_the_first_wish_counts(arguments: Sequence[str], environment: Mapping[str, str], language: str) -> None:
    """The option wins, then SENDERID_LANG, LC_ALL, LC_MESSAGES and LANG, the first that is set; else it is English."""
    assert requested_language(arguments, environment) == language


def test_click_speaks_the_language_too() -> None:
    """Click's own words are looked up in our catalogue while a language is spoken, and are its own in English."""
    set_language(["--lang", "ko"])
    assert current_language() == "ko"
    assert words_of_click.gettext("Usage:") == "사용법:"
    assert os.environ["LANGUAGE"] == "ko"
    set_language(["--lang", "en"])
    assert current_language() == "en"
    assert words_of_click.gettext("Usage:") == "Usage:"


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            verb = command.get_command(context, name)
            assert verb is not None
            yield from _commands(verb, (*path, name))


def test_every_verb_takes_the_option() -> None:
    """`--lang` stands before the verb or after it, once."""
    found = dict(_commands(senderid))
    assert ("notify", "test") in found
    for path, command in found.items():
        assert [parameter.name for parameter in command.params].count("lang") == 1, path


def test_help_is_korean_and_stays_within_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """No line is wider than 80 columns, or than in English, none is left in English, which is as ever afterwards."""
    for path, _ in list(_commands(senderid)):
        assert run([*path, "--help", "--lang", "ko"]) == 0
        korean = capsys.readouterr().out
        assert run([*path, "--help"]) == 0
        english = capsys.readouterr().out
        assert korean.startswith("사용법: ")
        assert english.startswith("Usage: ")
        assert max(map(width, korean.splitlines())) <= max(80, *map(len, english.splitlines())), path
        sentences = {line.strip() for line in english.splitlines() if line.endswith(".") and " " in line.strip()}
        assert not sentences & {line.strip() for line in korean.splitlines()}, path


def test_the_option_for_help_follows_the_language(capsys: pytest.CaptureFixture[str]) -> None:
    """Help that was asked for in English once does not leave its option in English for others."""
    senderid.get_help_option(click.Context(senderid))
    assert run(["--help", "--lang", "ko"]) == 0
    assert "Show this message" not in capsys.readouterr().out


def test_help_that_is_made_for_one_language_changes_no_command() -> None:
    """The commands themselves stay English: only what is shown of them is translated."""
    with use_language("ko"):
        korean = localized(senderid, has_option=False)
        assert korean.help is not None
        assert "발신번호를 원하는 상태 파일과 일치시킵니다" in korean.help
        assert korean.context_class is WideContext
    assert senderid.help is not None
    assert senderid.help.startswith("Reconcile the SMS sender numbers")
    assert LANG.help is not None
    assert LANG.help.startswith("The language of messages.")
    assert localized(click.Command("bare")).help is None


def test_paragraphs_keep_their_marks() -> None:
    """Lines are joined but where a mark keeps them apart."""
    assert list(paragraphs("one\ntwo\n\n\b\nthree\n  four")) == [("", "one two"), ("\b\n", "three\n  four")]


def test_wide_help_breaks_by_columns() -> None:
    """Terms stand beside what they mean, or above it where they are too long; a term may mean nothing."""
    command = click.Command(
        "wide",
        help="가나다라 마바사아 자차카타 파하가나 다라마바\n\n\b\n그대로\n  둔다",
        params=[
            click.Option(["--short"], help="가나다라마바사아자차카타파하가나다라마바사아자차카타파하"),
            click.Option(["--a-very-long-option-with-a-value"], help="아래에"),
            click.Option(["--bare"], is_flag=True),
        ],
        add_help_option=False,
    )
    shown = command.get_help(WideContext(command, info_name="wide", terminal_width=52))
    assert shown.splitlines()[2:] == [
        "  가나다라 마바사아 자차카타 파하가나 다라마바",
        "",
        "  그대로",
        "    둔다",
        "",
        "Options:",
        "  --short TEXT                    가나다라마바사아자",
        "                                  차카타파하가나다라",
        "                                  마바사아자차카타파",
        "                                  하",
        "  --a-very-long-option-with-a-value TEXT",
        "                                  아래에",
        "  --bare",
    ]
