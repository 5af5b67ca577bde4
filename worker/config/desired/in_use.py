"""The in-use guard of a document: whether numbers that send messages are kept from being deactivated."""

from typing import Any, Final

from worker.config.yaml_reader import Mapping, Node, Reader, Scalar, describe
from worker.model.accounts import InUseOverride
from worker.model.messages import Message

__all__ = ["in_use"]

_KEYS: Final = ("enabled", "hours", "on_unknown")
_MOST_HOURS: Final = 8784
"""A leap year's, as the settings have it."""
_DIGITS: Final = 4
_FATES: Final = ("hold", "allow")
_WANTED: Final = {
    "enabled": Message("true or false"),
    "hours": Message("a whole number from 1 to {most_hours:,}", most_hours=_MOST_HOURS),
    "on_unknown": Message("hold or allow"),
}


def in_use(reader: Reader, node: Node) -> InUseOverride | None:
    """The guard of a document, on unless it says otherwise; None where what stands there is none, which is told."""
    if not isinstance(node, Mapping):
        reader.problem(
            node, Message("in_use should be a mapping such as {{hours: 72}}, not {given}", given=describe(node))
        )
        return None
    found: dict[str, Any] = {}
    for name, value in reader.fields(node, _KEYS).items():
        given = value.text.strip() if isinstance(value, Scalar) else ""
        if name == "enabled" and given.lower() in {"true", "false"}:
            found[name] = given.lower() == "true"
        elif name == "hours" and _whole(given):
            found[name] = int(given)
        elif name == "on_unknown" and given in _FATES:
            found[name] = given
        else:
            reader.problem(
                value,
                Message(
                    "{name} should be {wanted}, not {given}",
                    name=name,
                    wanted=_WANTED[name],
                    given=describe(value),
                ),
            )
    return InUseOverride(**found)


def _whole(given: str) -> bool:
    return given.isascii() and given.isdigit() and len(given) <= _DIGITS and 1 <= int(given) <= _MOST_HOURS
