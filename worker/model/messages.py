"""Messages as values: a template and its parameters, translated when they are shown.

A `Message` is a `str`, its English text, so that JSON, logs and the ledger treat it as text.
`worker.render.i18n.translate` translates it, and masking hides its phone numbers. To write one:

- `Message("no account is named {name}", name=name)`: a literal template, as `str.format` takes it, and its values.
  `make messages` adds the literal to the catalogue. Formats go into the template: `{count:,}`, `{name!r}`.
- No f-string, `+` or `%`, neither as template nor in a parameter that has words. Instead of a choice between words,
  write two messages: `Message("… is on") if on else Message("… is off")`.
- Counts: `Message.plural("{count:,} number is held", "{count:,} numbers are held", count, …)`.
- A message within a message is a parameter: `Message("{problem}{hint}", problem=…, hint=suggestion(word))`; a missing
  hint is `""`. The message of an error is `str(error)`: it stays a message.
- `PhoneNumber(phone)` marks a phone number. A tuple is a list of texts, numbers or messages, joined with commas.
- `join(messages, "; ")` concatenates whole messages. `system_text(error.strerror)` is the text of an `OSError`.
- Any other `str` (a name, a path, the API's own message) is untrusted text: shown unchanged, masked by pattern.
- `Problem`, `Refusal`, `Notice`, `Change.reason`, errors: all take a message where they take a text.
- Operations on the text (`+`, slices, `rstrip`, f-strings) return a plain `str`, which is not translated.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeAlias

__all__ = ["Message", "Parameter", "PhoneNumber", "english", "join", "restore", "system_text", "to_parts"]

Parameter: TypeAlias = str | int | float | tuple["Parameter", ...]
"""The value of a placeholder: a message, a phone number, untrusted text, a number, or a tuple of these."""


class PhoneNumber(str):
    """The digits of a phone number within a message. Masking hides them."""

    __slots__ = ()


class Message(str):
    """A translatable text for users: a template and its parameters. Its value as a `str` is the English text.

    `many` is the plural template; None for a message without a plural. The parameter `count` selects the form.
    """

    template: str
    many: str | None
    parameters: Mapping[str, Parameter]

    __slots__ = ("many", "parameters", "template")

    def __new__(cls, template: str, /, **parameters: Parameter) -> Self:
        """Return the message of a template with named placeholders."""
        return cls._make(template, None, parameters)

    @classmethod
    def plural(cls, one: str, many: str, /, count: int, **parameters: Parameter) -> Self:
        """Return a message with two forms: the template `one` if `count` is 1, and `many` for every other count."""
        return cls._make(one, many, {"count": count, **parameters})

    @classmethod
    def _make(cls, template: str, many: str | None, parameters: Mapping[str, Parameter]) -> Self:
        form = template if many is None or parameters["count"] == 1 else many
        values = {name: _listed(value) if isinstance(value, tuple) else value for name, value in parameters.items()}
        message = super().__new__(cls, form.format(**values))
        message.template = template
        message.many = many
        message.parameters = parameters
        return message

    def map_texts(self, change: Callable[[str], str]) -> "Message":
        """Return the message with `change` applied to each phone number and untrusted text in it."""
        values = {name: _replaced(value, change) for name, value in self.parameters.items()}
        return Message._make(self.template, self.many, values)

    def __str__(self) -> str:
        # str(error) is the message itself, not a copy of its text
        return self

    def __reduce__(self) -> tuple[Callable[..., "Message"], tuple[object, ...]]:
        return Message._make, (self.template, self.many, self.parameters)


def english(value: object) -> str:
    """Return a message or phone number as a plain `str`.

    It is the `enc_hook` of msgspec's encoders, which do not encode subclasses of `str`.

    Raises:
        TypeError: the value is not a message or a phone number.
    """
    if isinstance(value, Message | PhoneNumber):
        return str.__str__(value)
    raise TypeError(f"{type(value).__name__} cannot be encoded")


def to_parts(value: Parameter) -> Any:
    """Return a message as JSON values, for the ledger: its template, its plural template if any, and its parameters."""
    match value:
        case Message():
            encoded = {
                "template": value.template,
                "parameters": {key: to_parts(item) for key, item in value.parameters.items()},
            }
            return encoded if value.many is None else encoded | {"many": value.many}
        case PhoneNumber():
            return {"phone": english(value)}
        case tuple():
            return [to_parts(item) for item in value]
        case _:
            return value


def restore(text: str, encoded: Any) -> str:
    """Return the message that `to_parts` encoded, or `text` if it cannot be decoded or its English is not `text`."""
    try:
        message = _restored(encoded)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return text
    return message if isinstance(message, Message) and message == text else text


def _restored(encoded: Any) -> Parameter:
    match encoded:
        case {"template": str(template), "parameters": dict(parameters)}:
            values = {key: _restored(item) for key, item in parameters.items()}
            return Message._make(template, encoded.get("many"), values)
        case {"phone": str(phone)}:
            return PhoneNumber(phone)
        case list():
            return tuple(map(_restored, encoded))
        case str() | int() | float():
            return encoded
    raise TypeError(f"{type(encoded).__name__} cannot be restored")


def join(messages: Iterable[str], separator: str) -> Message:
    """Return several messages as one, separated by `separator`."""
    texts = {f"part{index}": message for index, message in enumerate(messages)}
    return Message(_escaped(separator).join(f"{{{name}}}" for name in texts), **texts)


def system_text(text: str | None) -> Message:
    """Return a status or an error text of the operating system as a message, so that it can be translated."""
    return Message(_escaped(text or "unknown error"))


def _replaced(value: Parameter, change: Callable[[str], str]) -> Parameter:
    match value:
        case Message():
            return value.map_texts(change)
        case PhoneNumber():
            return PhoneNumber(change(value))
        case str():
            return change(value)
        case tuple():
            return tuple(_replaced(item, change) for item in value)
        case _:
            return value


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _listed(values: tuple[Parameter, ...]) -> str:
    return ", ".join(_listed(value) if isinstance(value, tuple) else str(value) for value in values)
