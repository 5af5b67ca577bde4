"""The in-use guard of a document: whether numbers that send messages are kept from being deactivated."""

from typing import Any, Final

from worker.config.yaml_reader import Mapping, Node, Reader, Scalar, describe
from worker.model.accounts import InUseOverride

__all__ = ["in_use"]

_KEYS: Final = ("enabled", "hours", "on_unknown")
_MOST_HOURS: Final = 8784
"""A leap year's, as the settings have it."""
_DIGITS: Final = 4
_FATES: Final = ("hold", "allow")
_WANTED: Final = {
    "enabled": "true or false",
    "hours": f"a whole number from 1 to {_MOST_HOURS:,}",
    "on_unknown": "hold or allow",
}


def in_use(reader: Reader, node: Node) -> InUseOverride | None:
    """The guard of a document, on unless it says otherwise; None where what stands there is none, which is told."""
    if not isinstance(node, Mapping):
        reader.problem(node, f"in_use should be a mapping such as {{hours: 72}}, not {describe(node)}")
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
            reader.problem(value, f"{name} should be {_WANTED[name]}, not {describe(value)}")
    return InUseOverride(**found)


def _whole(given: str) -> bool:
    return given.isascii() and given.isdigit() and len(given) <= _DIGITS and 1 <= int(given) <= _MOST_HOURS
