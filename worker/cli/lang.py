"""The language of a command line, and the translation of help and of click's own texts.

Help is written in English, and is translated when a command is loaded.
"""

import gettext as click_gettext
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from inspect import cleandoc
from io import TextIOWrapper
from typing import Final, TypeVar

import click

from worker.render.i18n import LANGUAGES, LOCALE, choose_language, current_language, gettext, language_of

__all__ = ["LANG", "VARIABLE", "localized", "paragraphs", "requested_language", "set_language"]

VARIABLE: Final = "SENDERID_LANG"
_VARIABLES: Final = (VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG")
_OPTION: Final = "--lang"
_DOMAIN: Final = "senderid"
_CLICK_DOMAIN: Final = "messages"
_UNWRAPPED: Final = "\b\n"

Command = TypeVar("Command", bound=click.Command)

LANG: Final = click.Option(
    [_OPTION],
    type=click.Choice(LANGUAGES),
    expose_value=False,
    help=f"The language of messages. [{', '.join(_VARIABLES)}]",
)
"""The option `--lang`. `set_language` reads its value before click parses the command line."""


def set_language(arguments: Sequence[str]) -> None:
    """Choose the language that the command line or the environment requests, including for click's own texts."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        # escape characters that the terminal cannot encode, as stderr does, instead of raising an error
        sys.stdout.reconfigure(errors="backslashreplace")
    language = requested_language(arguments, os.environ)
    choose_language(language)
    if language == LANGUAGES[0]:
        click_gettext.textdomain(_CLICK_DOMAIN)
        return
    # click uses gettext's domain and language variable
    os.environ["LANGUAGE"] = language
    click_gettext.bindtextdomain(_DOMAIN, str(LOCALE))
    click_gettext.textdomain(_DOMAIN)


def requested_language(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the language of `--lang`, otherwise of the first variable that is set; English if it is not supported."""
    languages = [language for language in map(language_of, _option_values(arguments)) if language is not None]
    if languages:
        return languages[-1]
    variable = next(filter(None, map(environment.get, _VARIABLES)), None)
    return language_of(variable) or LANGUAGES[0]


def _option_values(arguments: Sequence[str]) -> Iterator[str]:
    for index, argument in enumerate(arguments):
        if argument == "--":
            return
        if argument == _OPTION:
            yield from arguments[index + 1 : index + 2]
        elif argument.startswith(f"{_OPTION}="):
            yield argument.removeprefix(f"{_OPTION}=")


def localized(command: Command, *, has_option: bool = True) -> Command:
    """Return a copy of a command with translated help. With `has_option`, it gets the option `--lang`."""
    translated_command = copy(command)
    translated_command._help_option = None  # noqa: SLF001 - click caches it in the language of the first help
    translated_command.params = [
        _translate_parameter(subcommand) for subcommand in (*command.params, *([LANG] if has_option else []))
    ]
    translated_command.help = _translate(command.help)
    translated_command.short_help = _translate(command.short_help)
    if isinstance(translated_command, click.Group):
        translated_command.commands = {
            name: localized(subcommand) for name, subcommand in translated_command.commands.items()
        }
    if current_language() != LANGUAGES[0]:
        from worker.cli.help import WideContext

        translated_command.context_class = WideContext
    return translated_command


def _translate_parameter(parameter: click.Parameter) -> click.Parameter:
    if not isinstance(parameter, click.Option):
        return parameter
    translated_option = copy(parameter)
    translated_option.help = _translate(parameter.help)
    return translated_option


def _translate(text: str | None) -> str | None:
    if not text:
        return text
    return "\n\n".join(mark + gettext(paragraph) for mark, paragraph in paragraphs(text))


def paragraphs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the paragraphs of a help text, each with its mark: that of click against wrapping, or an empty string.

    The lines of a paragraph without a mark are joined, as click does.
    """
    for paragraph in cleandoc(text).split("\n\n"):
        unmarked = paragraph.removeprefix(_UNWRAPPED)
        yield (_UNWRAPPED, unmarked) if unmarked != paragraph else ("", " ".join(paragraph.split("\n")))
