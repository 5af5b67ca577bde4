"""A desired-state file of what an account has now."""

from typing import Final

from worker.model import Observed, ObservedAccount
from worker.phones import normalise
from worker.render.numbers import hyphenated
from worker.render.terminal import safe

__all__ = ["desired_yaml"]

_NAME_COLUMNS: Final = 64


def desired_yaml(account: ObservedAccount, *, name: str, endpoint: str | None = None) -> str:
    """A file whose plan shows no change: the account's ACTIVE and INACTIVE numbers, in the order of their digits.

    Numbers in another status, which cannot be asked for, and those that no file may list stand in it as comments.
    """
    numbers = sorted(account.numbers.values(), key=lambda number: number.phone)
    listed = [number for number in numbers if _listable(number)]
    others = [number for number in numbers if not _listable(number)]
    lines = ["version: 1", f"account: {_quoted(name)}"]
    if account.account_id:
        lines.append(f"account_id: {_quoted(account.account_id)}")
    if endpoint is not None:
        lines.append(f"endpoint: {_quoted(endpoint)}")
    lines.append("unmanaged: report  # tell of registered numbers that are not listed here, and leave them alone")
    lines.append("numbers:" if listed else "numbers: {}")
    lines += [f"  {_quoted(hyphenated(number.phone))}: {number.status}" for number in listed]
    if others:
        lines += ["", "# Registered too, but not to be had by listing them:"]
        lines += [f"#   {safe(hyphenated(number.phone))}: {safe(number.status)}" for number in others]
    return "\n".join(lines) + "\n"


def _listable(number: Observed) -> bool:
    try:
        return number.status.writable and normalise(hyphenated(number.phone)) == number.phone
    except ValueError:
        return False


def _quoted(text: str) -> str:
    """The text in double quotes, as every YAML parser reads it; quoted, nothing is taken for a number or a flag."""
    escaped = safe(text, _NAME_COLUMNS).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
