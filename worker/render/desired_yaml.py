"""Renderer of desired-state files, from an account or from a table."""

from collections.abc import Iterator, Mapping
from typing import Final

from worker.model.accounts import Desired, Observed, ObservedAccount
from worker.model.phones import hyphenated, is_listable
from worker.render.terminal import safe

__all__ = ["SCHEMA_FILE", "desired_yaml", "listable_numbers", "listed_yaml"]

SCHEMA_FILE: Final = "senderid.schema.json"
"""Name of the JSON Schema file that is written beside a desired-state file, for editors."""

_NAME_CHARACTERS: Final = 64
"""Maximum length in characters of an account name in a desired-state file."""
_SHOWN_COLUMNS: Final = 100


def desired_yaml(account: ObservedAccount, *, name: str, endpoint: str | None = None, schema: str = SCHEMA_FILE) -> str:
    """Return a desired-state file with the current state of an account, so that planning it shows no change.

    It lists the ACTIVE and INACTIVE numbers, sorted by their digits. Numbers with another status, and numbers that are
    not valid in a file, become comments. A name that is not valid in a file is corrected; an id that is not valid is
    left out. `schema` is the path or the URL of the schema for editors.
    """
    listable = listable_numbers(account)
    unlistable_numbers = sorted(
        (number for number in account.numbers.values() if not _is_listable(number)), key=lambda number: number.phone
    )
    lines = [*_head(name, schema)]
    pin = account.account_id
    if pin and pin == safe(pin)[:_NAME_CHARACTERS].strip():
        lines.append(f"account_id: {_quoted(pin)}")
    if endpoint is not None:
        lines.append(f"endpoint: {_quoted(endpoint)}")
    lines.append("unmanaged: report  # report registered numbers that are not listed here")
    lines.append("numbers:" if listable else "numbers: {}")
    lines += [f"  {_quoted(hyphenated(number.phone))}: {number.status}" for number in listable]
    if unlistable_numbers:
        lines += ["", "# Also registered, but cannot be listed:"]
        lines += [
            f"#   {safe(hyphenated(number.phone), _SHOWN_COLUMNS)}: {safe(number.status, _SHOWN_COLUMNS)}"
            for number in unlistable_numbers
        ]
    return "\n".join(lines) + "\n"


def listable_numbers(account: ObservedAccount) -> list[Observed]:
    """Return the numbers of an account that a desired-state file can list, sorted by their digits."""
    return sorted(filter(_is_listable, account.numbers.values()), key=lambda number: number.phone)


def listed_yaml(numbers: Mapping[str, Desired], *, name: str, schema: str = SCHEMA_FILE) -> str:
    """Return a desired-state file that lists numbers with their desired state, in the order of `numbers`.

    `name` and `schema` are as for `desired_yaml`.
    """
    lines = [*_head(name, schema), "numbers:" if numbers else "numbers: {}"]
    for phone, desired in numbers.items():
        entry = [f"status: {desired.status}"]
        entry += [f"note: {_quoted(desired.note)}"] if desired.note else []
        entry += [f"owner: {_quoted(desired.owner)}"] if desired.owner else []
        entry += ["protected: true"] if desired.protected else []
        value = f"{{{', '.join(entry)}}}" if len(entry) > 1 else str(desired.status)
        lines.append(f"  {_quoted(hyphenated(phone))}: {value}")
    return "\n".join(lines) + "\n"


def _head(name: str, schema: str) -> Iterator[str]:
    yield f"# yaml-language-server: $schema={safe(schema)}"
    yield "version: 1"
    if account_name := safe(name)[:_NAME_CHARACTERS].strip():
        yield f"account: {_quoted(account_name)}"


def _is_listable(number: Observed) -> bool:
    return number.status.is_writable and is_listable(number.phone)


def _quoted(text: str) -> str:
    """Return the text in double quotes, so that no YAML parser reads it as a number or a boolean."""
    content = "\\n".join(safe(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return f'"{content}"'
