"""The canonical form of an account's documents: JSON that a fleet publishes, and reads back without the files."""

from array import array
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from worker.config.desired.fragments import AccountDocument

__all__ = ["FORMAT", "decode_documents", "encode_documents"]

FORMAT: Final = 2
"""The version of the form. It increases with each change that an older version would not read correctly."""

_decoder: Final = msgspec.json.Decoder(tuple[AccountDocument, ...])


def encode_documents(documents: Sequence[AccountDocument]) -> bytes:
    """Return the documents of one account as JSON. The same documents always have the same JSON."""
    return msgspec.json.encode(documents, enc_hook=_plain)


def decode_documents(data: bytes) -> tuple[AccountDocument, ...]:
    """Return the documents from their JSON.

    Raises:
        msgspec.DecodeError: the JSON is not in this form.
    """
    return _decoder.decode(data)


def _plain(value: Any) -> Any:
    """Return the line numbers of a document as a list, and a message as its English text."""
    return value.tolist() if isinstance(value, array) else str.__str__(value)
