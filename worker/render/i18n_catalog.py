"""The catalogue of one language, which translates marked texts and `Message` values."""

from gettext import GNUTranslations
from pathlib import Path

from worker.model.messages import Message, Parameter

__all__ = ["Catalogue"]


class Catalogue(GNUTranslations):
    """The translations of one language, read from a compiled gettext catalogue (`.mo`)."""

    @classmethod
    def at(cls, path: Path) -> "Catalogue | None":
        """Return the catalogue of a `.mo` file; None if the file does not exist."""
        try:
            with path.open("rb") as file:
                return cls(file)
        except FileNotFoundError:
            return None

    def message(self, message: Message) -> str:
        """Return a message translated to this language, with the messages inside it."""
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
                return ", ".join(str(self._value(item)) for item in value)
            case _:
                return value
