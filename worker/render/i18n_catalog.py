"""The catalogue of one language: marked texts, and messages of a template and parameters."""

from gettext import GNUTranslations
from pathlib import Path

from worker.model.messages import Message, Parameter

__all__ = ["Catalogue"]


class Catalogue(GNUTranslations):
    """The messages of one language, read from a file that gettext has compiled."""

    @classmethod
    def at(cls, path: Path) -> "Catalogue | None":
        """Return the catalogue of a file; None if the file does not exist."""
        try:
            with path.open("rb") as file:
                return cls(file)
        except FileNotFoundError:
            return None

    def message(self, message: Message) -> str:
        """Return a message in this language, and the messages within it."""
        if not message:
            return ""
        one, many, count = message.template, message.many, message.parameters.get("count")
        template = self.ngettext(one, many, count) if many and isinstance(count, int) else self.gettext(one)
        return template.format(**{name: self._value(value) for name, value in message.parameters.items()})

    def _value(self, value: Parameter) -> Parameter:
        match value:
            case Message():
                return self.message(value)
            case tuple():
                return ", ".join(str(self._value(each)) for each in value)
            case _:
                return value
