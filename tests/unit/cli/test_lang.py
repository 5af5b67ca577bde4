"""Language of messages and help."""

import gettext as click_gettext
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
def english_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove language variables before a test, and restore English after it."""
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
def test_option_overrides_language_variables(
    arguments: Sequence[str], environment: Mapping[str, str], language: str
) -> None:
    """The option overrides SENDERID_LANG, then LC_ALL, LC_MESSAGES and LANG. The default is English."""
    assert requested_language(arguments, environment) == language


def test_messages_of_click_are_translated() -> None:
    set_language(["--lang", "ko"])
    assert current_language() == "ko"
    assert click_gettext.gettext("Usage:") == "사용법:"
    assert os.environ["LANGUAGE"] == "ko"
    set_language(["--lang", "en"])
    assert current_language() == "en"
    assert click_gettext.gettext("Usage:") == "Usage:"


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            verb = command.get_command(context, name)
            assert verb is not None
            yield from _commands(verb, (*path, name))


def test_every_command_has_the_lang_option_once() -> None:
    commands = dict(_commands(senderid))
    assert ("notify", "test") in commands
    for path, command in commands.items():
        assert [parameter.name for parameter in command.params].count("lang") == 1, path


def test_korean_help_is_translated_and_fits_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """No line is wider than 80 columns or the longest English line, and English help is unchanged afterwards."""
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


def test_help_option_is_translated_after_english_help(capsys: pytest.CaptureFixture[str]) -> None:
    senderid.get_help_option(click.Context(senderid))
    assert run(["--help", "--lang", "ko"]) == 0
    assert "Show this message" not in capsys.readouterr().out


def test_localized_help_does_not_change_the_command() -> None:
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


def test_paragraphs_join_lines_except_after_a_mark() -> None:
    assert list(paragraphs("one\ntwo\n\n\b\nthree\n  four")) == [("", "one two"), ("\b\n", "three\n  four")]


def test_help_with_wide_characters_wraps_by_columns() -> None:
    """A term that is too long is on the line above its description. A term without a description is alone."""
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
    help_text = command.get_help(WideContext(command, info_name="wide", terminal_width=52))
    assert help_text.splitlines()[2:] == [
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
