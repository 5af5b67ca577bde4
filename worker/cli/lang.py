"""The language of one command line: which is wished for, and how click and the help of verbs come to speak it.

Help is written in English where options are, and put into the language when a verb is loaded.
"""

import gettext as words_of_click
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from inspect import cleandoc
from io import TextIOWrapper
from typing import Final, TypeVar

import click

from worker.render.i18n import LANGUAGES, LOCALE, chosen, gettext, speak, spoken

__all__ = ["LANG", "VARIABLE", "localized", "paragraphs", "requested_language", "set_language"]

VARIABLE: Final = "SENDERID_LANG"
_VARIABLES: Final = (VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG")
_OPTION: Final = "--lang"
_DOMAIN: Final = "senderid"
_CLICKS_DOMAIN: Final = "messages"
_AS_IT_IS: Final = "\b\n"

Command = TypeVar("Command", bound=click.Command)

LANG: Final = click.Option(
    [_OPTION],
    type=click.Choice(LANGUAGES),
    expose_value=False,
    help=f"The language of messages. [{', '.join(_VARIABLES)}]",
)
"""The option; what it says was taken from the command line before that is parsed."""


def set_language(arguments: Sequence[str]) -> None:
    """Speak the language that a command line or the environment wishes for, and have click speak it."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        # what a terminal's encoding has no place for is shown by its number, as on stderr, and stops nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    language = requested_language(arguments, os.environ)
    speak(language)
    if language == LANGUAGES[0]:
        words_of_click.textdomain(_CLICKS_DOMAIN)
        return
    # click looks its words up as every program does: by domain, in the language of this variable
    os.environ["LANGUAGE"] = language
    words_of_click.bindtextdomain(_DOMAIN, str(LOCALE))
    words_of_click.textdomain(_DOMAIN)


def requested_language(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """The language that `--lang` names, or else the first variable that is set; English where there is no such one."""
    named = [language for language in map(chosen, _named(arguments)) if language is not None]
    if named:
        return named[-1]
    said = next(filter(None, map(environment.get, _VARIABLES)), None)
    return chosen(said) or LANGUAGES[0]


def _named(arguments: Sequence[str]) -> Iterator[str]:
    for place, argument in enumerate(arguments):
        if argument == "--":
            return
        if argument == _OPTION:
            yield from arguments[place + 1 : place + 2]
        elif argument.startswith(f"{_OPTION}="):
            yield argument.removeprefix(f"{_OPTION}=")


def localized(command: Command, *, takes: bool = True) -> Command:
    """A command whose help is in the language that is spoken, and that takes `--lang`, unless it does already."""
    made = copy(command)
    made._help_option = None  # noqa: SLF001 - click keeps the one of the language in which help was first asked for
    made.params = [_spoken(each) for each in (*command.params, *([LANG] if takes else []))]
    made.help = _words(command.help)
    made.short_help = _words(command.short_help)
    if isinstance(made, click.Group):
        made.commands = {name: localized(each) for name, each in made.commands.items()}
    if spoken() != LANGUAGES[0]:
        from worker.cli.help import WideContext

        made.context_class = WideContext
    return made


def _spoken(parameter: click.Parameter) -> click.Parameter:
    if not isinstance(parameter, click.Option):
        return parameter
    made = copy(parameter)
    made.help = _words(parameter.help)
    return made


def _words(text: str | None) -> str | None:
    if not text:
        return text
    return "\n\n".join(mark + gettext(paragraph) for mark, paragraph in paragraphs(text))


def paragraphs(text: str) -> Iterator[tuple[str, str]]:
    """The paragraphs of a help text, each behind the mark that keeps click from breaking its lines anew, if it has one.

    The lines of one without a mark are joined, as click does.
    """
    for paragraph in cleandoc(text).split("\n\n"):
        raw = paragraph.removeprefix(_AS_IT_IS)
        yield (_AS_IT_IS, raw) if raw != paragraph else ("", " ".join(paragraph.split("\n")))
