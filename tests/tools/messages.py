"""Extract the translatable messages from the code. As a program, update the catalogues.

A catalogue contains the templates of messages (`Message`, `Message.plural`), marked texts (`_`, `ngettext`, `count`,
`{% trans %}`), the help of the command line, and the messages of click.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

from worker.cli.lang import paragraphs
from worker.cli.main import senderid
from worker.model.history import AttemptState, Ending
from worker.model.plans import Action, NoticeKind
from worker.model.results import Outcome, RunOutcome
from worker.render.i18n import LANGUAGES, LOCALE

__all__ = ["CATALOGUES", "CLICK", "ROOT", "modules", "template"]

ROOT: Final = Path(__file__).parents[2]

CATALOGUES: Final = {code: LOCALE / code / "LC_MESSAGES" / "senderid.po" for code in LANGUAGES if code != "en"}
_POT: Final = ROOT / "build" / "senderid.pot"
_COLUMNS: Final = 120

_MARKS: Final = frozenset({"_", "gettext", "Message"})

CLICK: Final[tuple[str | tuple[str, str], ...]] = (
    "Usage:",
    "Options",
    "Commands",
    "Show the version and exit.",
    "Show this message and exit.",
    "Error: {message}",
    "Try '{command} {option}' for help.",
    "Invalid value: {message}",
    "Invalid value for {param_hint}: {message}",
    "Missing argument",
    "Missing option",
    "Missing command.",
    "Choose from:\n\t{choices}",
    "No such option {name!r}.",
    "No such command {name!r}.",
    ("Did you mean {possibility}?", "(Did you mean one of: {possibilities}?)"),
    ("Got unexpected extra argument ({args})", "Got unexpected extra arguments ({args})"),
    "Option {name!r} does not take a value.",
    ("Option {name!r} requires an argument.", "Option {name!r} requires {nargs} arguments."),
    ("{value!r} is not {choice}.", "{value!r} is not one of {choices}."),
    "{value!r} is not a valid {number_type}.",
    "{value} is not in the range {range}.",
)
"""Messages of click that users of this command may see."""

WORDS: Final = frozenset(
    {
        value.replace("_", " ")
        for kind in (Action, Outcome, RunOutcome, Ending, NoticeKind, AttemptState)
        for value in kind
    }
    | {"to activate", "to deactivate", "cannot converge", "not listed", "not set", "activated", "deactivated"}
    | {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "nothing", "accepted", "until", "from"}
    | {"credentials", "network", "tls", "signature", "clock", "rate limit", "proxy"}
    | {"ledger", "ledger durability", "ledger pooler", "ledger tls"}
    | {"No such file or directory", "Permission denied", "Is a directory", "Not a directory", "File exists"}
    | {"No space left on device", "Read-only file system", "Input/output error", "File name too long"}
    | {"Address already in use", "Connection refused", "Name or service not known"}
    | {"ok", "broken", "suspended", "resumed", "started", "stopped"}
)
"""Words of constants that are shown by themselves."""


def template() -> Catalog:
    """Return every message of the code, without translations."""
    catalog = Catalog(project="senderid", copyright_holder="The senderid-worker authors", charset="utf-8")
    for message in sorted({*_marked(), *_template_messages()}, key=str):
        catalog.add(message, flags=_flags(message))
    for message in sorted({*_help(senderid), *WORDS}):
        catalog.add(message)
    for message in CLICK:
        catalog.add(message, flags=_flags(message))
    return catalog


def _flags(message: str | tuple[str, str]) -> list[str]:
    """Return the format of a message: `%(name)s` in page templates, `{name}` in all others."""
    text = str(message)
    return ["python-format"] if "%(" in text else ["python-brace-format"] if "{" in text else []


def modules() -> Iterator[Path]:
    """Return the modules of the worker."""
    return iter(sorted((ROOT / "worker").rglob("*.py")))


def _marked() -> Iterator[str | tuple[str, str]]:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(text)), *_]) if name in _MARKS:
                    yield text
                case ast.Call(
                    func=ast.Name(id="ngettext") | ast.Attribute(value=ast.Name(id="Message"), attr="plural"),
                    args=[ast.Constant(value=str(one)), ast.Constant(value=str(many)), *_],
                ):
                    yield one, many
                case ast.Call(func=ast.Name(id="count"), args=[_, ast.Constant(value=str(noun))]):
                    yield f"{{count}} {noun}", f"{{count}} {noun}s"


def _template_messages() -> Iterator[str | tuple[str, str]]:
    for path in sorted((ROOT / "worker" / "render" / "templates").rglob("*.*")):
        if path.suffix not in {".html", ".md", ".txt"}:
            continue
        with path.open("rb") as file:
            for _, _, message, _ in babel_extract(file, ("_", "gettext", "ngettext"), [], {"trimmed": "true"}):
                # the arguments of a plural include the number
                forms = [form for form in (message if isinstance(message, tuple) else (message,)) if form]
                yield (forms[0], forms[1]) if len(forms) > 1 else forms[0]


def _help(command: click.Command) -> Iterator[str]:
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    for text in (command.help, command.short_help, *(option.help for option in options)):
        for _, paragraph in paragraphs(text or ""):
            if paragraph:
                yield paragraph
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            verb = command.get_command(context, name)
            if verb is not None:
                yield from _help(verb)


def main() -> None:
    """Write the template, and update every catalogue: add untranslated entries for new messages, remove unused ones."""
    pot = template()
    _POT.parent.mkdir(exist_ok=True)
    with _POT.open("wb") as file:
        write_po(file, pot, width=_COLUMNS)
    for code, path in CATALOGUES.items():
        if path.exists():
            with path.open("rb") as file:
                catalog = read_po(file, locale=code)
        else:
            path.parent.mkdir(parents=True)
            catalog = Catalog(locale=code, fuzzy=False, charset="utf-8")
        # the creation date alone is not a change
        pot.creation_date = catalog.creation_date
        catalog.update(pot, no_fuzzy_matching=True, update_header_comment=False)
        catalog.obsolete.clear()
        with path.open("wb") as file:
            write_po(file, catalog, width=_COLUMNS, omit_header=False, ignore_obsolete=True, sort_output=True)
        missing = sum(not message.string for message in catalog if message.id)
        sys.stdout.write(f"{path.relative_to(ROOT)}: {len(catalog)} messages, {missing} without a translation\n")


if __name__ == "__main__":
    main()
