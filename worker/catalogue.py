"""The messages of one language, and how a finished message is found among them.

Most messages are marked where they are written, and are put into words when they are shown. Those that travel in
documents, the ledger and logs were finished in English before: a catalogue holds them too, in a context of their own,
as templates such as `no account is named {name}`. One is recognised by its fixed parts.
"""

from collections.abc import Iterator
from functools import lru_cache
from gettext import GNUTranslations
from pathlib import Path
from string import Formatter
from typing import IO, Final, NamedTuple

__all__ = ["FINISHED", "Catalogue", "Template"]

FINISHED: Final = "finished"
"""The context (`msgctxt`) of messages that are recognised."""
_OF_CONTEXT: Final = f"{FINISHED}\x04"
_KEPT: Final = 1024
"""Texts whose translation is remembered."""
_LONGEST: Final = 4000
"""Characters of a text that may be one of the messages; what is longer is somebody else's."""


class Template(NamedTuple):
    """A message's fixed parts, the names of the values between them, and how another language says it."""

    parts: tuple[str, ...]
    names: tuple[str, ...]
    translation: str

    @classmethod
    def of(cls, message: str, translation: str) -> "Template":
        """The template of a message with named placeholders, as `str.format` takes it."""
        parts = [""]
        names = []
        for literal, name, _, _ in Formatter().parse(message):
            parts[-1] += literal
            if name is not None:
                names.append(name)
                parts.append("")
        return cls(tuple(parts), tuple(names), translation)

    @property
    def fixed(self) -> int:
        """How many characters are fixed."""
        return sum(map(len, self.parts))

    def put(self, text: str) -> str | None:
        """A finished message in the other language; None where the text is not of this template.

        Each part is sought once, behind the one before: the time grows with the text alone, whatever it holds. Values
        are put in as they are, and looked at no further.
        """
        first, *between, last = self.parts
        end = len(text) - len(last)
        place = len(first)
        if place > end or not text.startswith(first) or not text.endswith(last):
            return None
        values = []
        for part in between:
            found = text.find(part, place, end)
            if found < 0:
                return None
            values.append(text[place:found])
            place = found + len(part)
        values.append(text[place:end])
        return self.translation.format(**dict(zip(self.names, values, strict=True)))


class Catalogue(GNUTranslations):
    """The messages of one language, read from a file that gettext has compiled."""

    # what the base class keeps: messages by their English, those of a context behind its name
    _catalog: dict[str | tuple[str, int], str]

    def __init__(self, fp: IO[bytes]) -> None:
        super().__init__(fp)
        self._templates = sorted(self._read(), key=lambda template: -template.fixed)
        self.finished = lru_cache(_KEPT)(self._finished)

    @classmethod
    def at(cls, path: Path) -> "Catalogue | None":
        """The catalogue of a file; None where there is no such one."""
        try:
            with path.open("rb") as file:
                return cls(file)
        except FileNotFoundError:
            return None

    def _read(self) -> Iterator[Template]:
        for message, translation in self._catalog.items():
            if isinstance(message, str) and message.startswith(_OF_CONTEXT):
                template = Template.of(message.removeprefix(_OF_CONTEXT), translation)
                if template.names:
                    yield template

    def _finished(self, text: str) -> str:
        """A finished message in this language: as it is written, or by the template with the most fixed characters.

        What is none of them stays as it is.
        """
        exact = self._catalog.get(_OF_CONTEXT + text)
        if exact is not None:
            return exact
        if len(text) > _LONGEST:
            return text
        return next(filter(None, (template.put(text) for template in self._templates)), text)
