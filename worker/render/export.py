"""A desired-state file of what an account has now."""

from typing import Final

from worker.model import Observed, ObservedAccount
from worker.phones import normalise
from worker.render.numbers import hyphenated
from worker.render.terminal import safe

__all__ = ["desired_yaml"]

_NAME_CHARACTERS: Final = 64
"""What a file may have in a name."""
_SHOWN_COLUMNS: Final = 100


def desired_yaml(account: ObservedAccount, *, name: str, endpoint: str | None = None) -> str:
    """A file whose plan shows no change: the account's ACTIVE and INACTIVE numbers, in the order of their digits.

    Numbers in another status, which cannot be asked for, and those that no file may list stand in it as comments. A
    name or an id that no file may have is mended or left out, as the file is to be read again.
    """
    numbers = sorted(account.numbers.values(), key=lambda number: number.phone)
    listed = [number for number in numbers if _listable(number)]
    others = [number for number in numbers if not _listable(number)]
    lines = ["version: 1"]
    if named := safe(name)[:_NAME_CHARACTERS].strip():
        lines.append(f"account: {_quoted(named)}")
    pin = account.account_id
    if pin and pin == safe(pin)[:_NAME_CHARACTERS].strip():
        lines.append(f"account_id: {_quoted(pin)}")
    if endpoint is not None:
        lines.append(f"endpoint: {_quoted(endpoint)}")
    lines.append("unmanaged: report  # tell of registered numbers that are not listed here, and leave them alone")
    lines.append("numbers:" if listed else "numbers: {}")
    lines += [f"  {_quoted(hyphenated(number.phone))}: {number.status}" for number in listed]
    if others:
        lines += ["", "# Registered too, but not to be had by listing them:"]
        lines += [
            f"#   {safe(hyphenated(number.phone), _SHOWN_COLUMNS)}: {safe(number.status, _SHOWN_COLUMNS)}"
            for number in others
        ]
    return "\n".join(lines) + "\n"


def _listable(number: Observed) -> bool:
    try:
        return number.status.writable and normalise(hyphenated(number.phone)) == number.phone
    except ValueError:
        return False


def _quoted(text: str) -> str:
    """The text in double quotes, as every YAML parser reads it; quoted, nothing is taken for a number or a flag."""
    escaped = safe(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
