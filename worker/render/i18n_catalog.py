"""The messages of one language, and how a finished message is found among them.

Most messages are marked where they are written, and are put into words when they are shown. Those that travel in
documents, the ledger and logs were finished in English before: a catalogue holds them too, in a context of their own,
as templates such as `no account is named {name}`. One is recognised by its fixed parts.
"""

from collections.abc import Sequence
from functools import lru_cache
from gettext import GNUTranslations
from pathlib import Path
from string import Formatter
from typing import IO, Final, NamedTuple

from worker.model.messages import Message, Parameter

__all__ = ["FINISHED", "Catalogue", "Template"]

FINISHED: Final = "finished"
"""The context (`msgctxt`) of messages that are recognised."""
_OF_CONTEXT: Final = f"{FINISHED}\x04"
INNER: Final = frozenset(
    {
        "describe",
        "error",
        "failing",
        "failure",
        "getattr",
        "holder",
        "known",
        "message",
        "now",
        "odd",
        "place",
        "problem",
    }
    | {"reason", "strerror", "switched", "told", "wanted", "what", "why", "word", "wrong"}
)
"""Values that may be messages too, such as the reason within `the ledger cannot be used ({reason})`."""
_DEEP: Final = 2
"""How deep messages stand within each other."""
_KEPT: Final = 2048
"""Texts whose translation is remembered."""
_LONGEST: Final = 4000
"""Characters of a text that may be one of the messages; what is longer is somebody else's."""


class Template(NamedTuple):
    """A message's fixed parts, the names of the values between them, and how another language says it.

    `fixed` is how many characters the parts have; `wordless` tells that none of them is a letter, so that nothing but
    the values shows that a text is this message.
    """

    parts: tuple[str, ...]
    names: tuple[str, ...]
    translation: str
    fixed: int
    wordless: bool

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
        fixed = "".join(parts)
        plain = "".join(
            literal.replace("{", "{{").replace("}", "}}") + ("" if name is None else f"{{{name}}}")
            for literal, name, _, _ in Formatter().parse(translation)
        )
        return cls(tuple(parts), tuple(names), plain, len(fixed), not any(map(str.isalpha, fixed)))

    def values(self, text: str) -> list[str] | None:
        """What a finished message has in the places of the names; None where the text is not of this template.

        Each part is sought once, behind the one before: the time grows with the text alone, whatever it holds.
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
        return values

    def put(self, values: Sequence[str]) -> str:
        """The message in the other language. Values are put in as they are: what they hold is no placeholder."""
        return self.translation.format(**dict(zip(self.names, values, strict=True)))


class Catalogue(GNUTranslations):
    """The messages of one language, read from a file that gettext has compiled."""

    # what the base class keeps: messages by their English, those of a context behind its name
    _catalog: dict[str | tuple[str, int], str]

    def __init__(self, fp: IO[bytes]) -> None:
        super().__init__(fp)
        said = [
            Template.of(message.removeprefix(_OF_CONTEXT), translation)
            for message, translation in self._catalog.items()
            if isinstance(message, str) and (message.startswith(_OF_CONTEXT) or _may_be_finished(message))
        ]
        self._whole = {template.parts[0]: template.put(()) for template in said if not template.names}
        self._templates = [template for template in said if template.names]
        self._found = lru_cache(_KEPT)(self._find)

    @classmethod
    def at(cls, path: Path) -> "Catalogue | None":
        """The catalogue of a file; None where there is no such one."""
        try:
            with path.open("rb") as file:
                return cls(file)
        except FileNotFoundError:
            return None

    def message(self, message: Message) -> str:
        """Return a message in this language, its parameters that are messages too."""
        if not message:
            return ""
        one, many, count = message.template, message.many, message.parameters.get("count")
        template = self.ngettext(one, many, count) if many and isinstance(count, int) else self.gettext(one)
        return template.format(**{name: self._value(name, value) for name, value in message.parameters.items()})

    def _value(self, name: str, value: Parameter) -> Parameter:
        match value:
            case Message():
                return self.message(value)
            case tuple():
                return ", ".join(str(self._value(name, each)) for each in value)
            case str() if name.rstrip("0123456789") in INNER:
                return self.finished(value)
        return value

    def finished(self, text: str) -> str:
        """A finished message in this language, by the template that explains most of it; other texts as they are.

        What stands within it at a name of `INNER` may be a message too.
        """
        return self._found(text, _DEEP)[1] if 0 < len(text) <= _LONGEST else text

    def _find(self, text: str, deep: int) -> tuple[int, str]:
        """How many characters of a text are a message's own, and the text in this language; 0 and the text if none."""
        whole = self._whole.get(text) or self._catalog.get(text)
        if whole is not None:
            return len(text), whole
        best = 0, text
        for template in self._templates:
            values = template.values(text)
            if values is None:
                continue
            inner = [
                self._found(value, deep - 1) if deep and value and name in INNER else (0, value)
                for name, value in zip(template.names, values, strict=True)
            ]
            known = sum(own for own, _ in inner)
            own = template.fixed + known
            if own > best[0] and (known or not template.wordless):
                best = own, template.put([value for _, value in inner])
        return best


def _may_be_finished(message: str) -> bool:
    """Whether a message without a context may stand within one that is recognised."""
    return bool(message) and "\x04" not in message and "{" in message and "%(" not in message
