"""Fields of YAML files: text, counts and references to secrets."""

import re
from typing import Final
from unicodedata import category

from worker.config.yaml_reader import Mapping, Node, Reader, Scalar, Sequence, describe
from worker.model.credentials import SecretRef
from worker.model.messages import Message

__all__ = [
    "COUNT_DIGITS",
    "HOST_CAP",
    "NAME_CAP",
    "NOTE_CAP",
    "read_count",
    "read_flag",
    "read_optional_secret_ref",
    "read_secret_ref",
    "read_text",
    "read_version",
    "why_unfit",
]

NAME_CAP: Final = 64
"""Maximum length in characters of an account's name, which is on every log line."""
NOTE_CAP: Final = 1000
"""Maximum length in characters of a note, an owner, a path or a URL."""
HOST_CAP: Final = 253
"""Maximum length in characters of the name of a host."""
COUNT_DIGITS: Final = 9
"""Maximum count of digits of a count."""
_EMOJI_JOINER: Final = "\u200d"
"""Joins several emoji to one. Terminals that do not know the result show the joiner or each emoji."""

_match_variable: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*").fullmatch
_ARGUMENT_CAP: Final = 32
"""Maximum count of the program and arguments of a command."""
_match_key: Final = re.compile("NCS[0-9A-Z]{13}|(?=.*[0-9])[0-9A-Z]{32}", re.IGNORECASE).fullmatch
"""Matches the vendor's keys and secrets by their form."""
_match_secret: Final = re.compile("NCS[0-9A-Z]{13}|(?=.*[0-9])[0-9A-Z]{32}|.*://.*", re.IGNORECASE).fullmatch
"""Matches the vendor's keys and secrets by their form, and URLs, which may contain a secret."""


def read_text(reader: Reader, node: Node, description: str, cap: int, *, is_multiline: bool = False) -> str | None:
    """Return the text of a node without surrounding spaces. If it is invalid, add a problem and return None.

    `description` is the field's name in messages, and `cap` the maximum length in characters. With `is_multiline`, the
    text may have several lines, and the wide and no-break spaces that word processors and Korean keyboards produce.
    """
    if not isinstance(node, Scalar):
        reader.problem(node, Message("{field} must be text", field=description))
        return None
    text = node.text.strip()
    if node.is_null or not text:
        reader.problem(node, Message("{field} is empty: give it a value or remove the line", field=description))
        return None
    reason = why_unfit(text, cap, is_multiline=is_multiline)
    if reason is not None:
        reader.problem(node, Message("{field} {reason}", field=description, reason=reason))
        return None
    return text


def read_count(node: Node) -> int | None:
    """Return the value of a node that is a whole number of at most `COUNT_DIGITS` digits; None for any other node."""
    text = node.text if isinstance(node, Scalar) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= COUNT_DIGITS else None


def read_flag(reader: Reader, node: Node, name: str) -> bool:
    """Return the value of a node that is true or false. If it is neither, add a problem and return False."""
    if isinstance(node, Scalar) and node.text.lower() in {"true", "false"}:
        return node.text.lower() == "true"
    reader.problem(node, Message("{name} must be true or false, not {actual}", name=name, actual=describe(node)))
    return False


def read_version(reader: Reader, node: Node) -> None:
    """Add a problem if the value of `version` is not 1."""
    text = node.text if isinstance(node, Scalar) else ""
    if text == "1":
        return
    newer = text.isascii() and text.isdigit() and int(text[:COUNT_DIGITS]) > 1
    reader.problem(
        node,
        Message("version {version} needs a newer senderid", version=text[:COUNT_DIGITS])
        if newer
        else Message("version must be 1"),
    )


def why_unfit(text: str, cap: int, *, is_multiline: bool = False) -> Message | None:
    """Return why a text is invalid; None if it is valid. The message does not repeat the text.

    `cap` is the maximum length in characters; `is_multiline` is as for `read_text`.
    """
    if len(text) > cap:
        return Message("is longer than {cap:,} characters: shorten it", cap=cap)
    if not text.isprintable():
        for char in text:
            if is_multiline and (char in "\n\t" or category(char) == "Zs"):
                continue
            if char == "\n":
                return Message("has more than one line: use one line")
            if char == _EMOJI_JOINER:
                return Message("has the invisible character U+200D, which joins emoji: use single emoji, or words")
            if not char.isprintable():
                return Message(
                    "has the invisible character U+{code:04X}: type it instead of pasting it", code=ord(char)
                )
    return None


def read_secret_ref(reader: Reader, node: Node, name: str) -> SecretRef | None:
    """Return the reference to the secret `name`. If the node is not a reference, add a problem and return None.

    Messages do not repeat the value of the node, because it may be the secret.
    """
    literal = Message(
        "{name} must be a reference such as {{env: NAME}} or {{file: PATH}}; never put a secret in this file: remove "
        "the secret and issue a new one",
        name=name,
    )
    if not isinstance(node, Mapping):
        reader.problem(node, literal)
        return None
    fields = reader.fields(node, ("env", "file", "command"), may_hold_secrets=True)
    if len(fields) != 1:
        reference_message = Message(
            "{name} must be a reference: either {{env: NAME}}, {{file: PATH}} or {{command: [PROGRAM, …]}}", name=name
        )
        reader.problem(node, literal if node.items and not fields else reference_message)
        return None
    ((kind, value),) = fields.items()
    if kind == "command":
        command = _read_command(reader, value, literal)
        return None if command is None else SecretRef(command=command)
    text = read_text(reader, value, kind, NOTE_CAP)
    if text is None:
        return None
    if _match_secret(text):
        reader.problem(value, Message("looks like a secret, not a name: {advice}", advice=literal))
    elif kind == "env" and not _match_variable(text):
        reader.problem(value, Message("env must be a variable name: letters, digits and _, without $ or spaces"))
    return SecretRef(env=text) if kind == "env" else SecretRef(file=text)


def _read_command(reader: Reader, node: Node, literal: Message) -> tuple[str, ...] | None:
    """Return the program and the arguments of a command. If it is not valid, add a problem and return None."""
    items = node.items if isinstance(node, Sequence) else []
    if not 1 <= len(items) <= _ARGUMENT_CAP or (len(items) == 1 and " " in getattr(items[0], "text", "")):
        message = Message(
            "command must be a list of the program and each of its arguments, such as [pass, show, coolsms/key]; no "
            "shell runs it"
        )
        reader.problem(node, message)
        return None
    arguments = [read_text(reader, item, Message("an argument"), NOTE_CAP) for item in items]
    for item, argument in zip(items, arguments, strict=True):
        if argument is not None and _match_key(argument):
            reader.problem(item, Message("looks like a secret, not an argument: {advice}", advice=literal))
    return None if None in arguments else tuple(filter(None, arguments))


def read_optional_secret_ref(reader: Reader, node: Node, name: str) -> SecretRef | None:
    """Return the reference to the secret `name`, as `read_secret_ref` does; None if the node is null."""
    return None if isinstance(node, Scalar) and node.is_null else read_secret_ref(reader, node, name)
