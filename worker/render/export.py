"""A desired-state file of what an account has now."""

import json

from worker.model import ObservedAccount
from worker.render.numbers import hyphenated
from worker.render.terminal import safe

__all__ = ["desired_yaml"]


def desired_yaml(account: ObservedAccount, *, name: str, endpoint: str) -> str:
    """A file whose plan shows no change. Numbers whose status cannot be asked for stand in it as comments."""
    lines = ["version: 1", f"account: {_quoted(name)}"]
    if account.account_id is not None:
        lines.append(f"account_id: {_quoted(account.account_id)}")
    lines += [f"endpoint: {_quoted(endpoint)}", "unmanaged: report"]
    numbers = sorted(account.numbers.values(), key=lambda number: number.phone)
    listed = [f"  {_quoted(hyphenated(number.phone))}: {number.status}" for number in numbers if number.status.writable]
    lines += ["numbers:", *listed] if listed else ["numbers: {}"]
    others = [number for number in numbers if not number.status.writable]
    if others:
        lines.append("# Registered too, but in a status that nobody can ask for:")
        lines += [f"#   {hyphenated(number.phone)}: {safe(number.status)}" for number in others]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # a JSON string is a YAML string, whatever is in it
    return json.dumps(text)
