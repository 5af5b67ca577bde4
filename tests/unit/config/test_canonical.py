"""The canonical form of documents, in which a fleet publishes them."""

from typing import Any

import msgspec
import pytest

from worker.config import desired
from worker.config.desired.canonical import FORMAT, decode_documents, encode_documents

_FULL = """
version: 1
account: main
account_id: "12925149"
endpoint: coolsms
credentials: {api_key: {env: KEY}, api_secret: {file: /run/secret}}
unmanaged: deactivate
timezone: Asia/Tokyo
safety: {max_deactivations: 30%, min_active: 2, pair_swaps: hold}
in_use: {hours: 24}
suspend: {reason: move, by: ann, until: 2027-01-01}
maintenance: {weekly: "Sun 02:00-04:00", reason: power}
groups: {front: {members: [01012345678, 01012345679], min_active: 1}}
numbers:
  010-1234-5678: ACTIVE
  010-1234-5679: {status: INACTIVE, note: 예비, owner: 영업, protected: true}
  010-1234-5673: {status: ACTIVE, acknowledge: {reason: 공사, by: ann, until: 2026-12-31, observed: PENDING}}
  010-1234-5670: {status: ACTIVE, schedule: [{weekly: "Mon 09:00-18:00", status: INACTIVE, reason: closed}]}
  010-1234-5671: {schedule: [{from: 2026-12-24, until: 2026-12-27T09:00, status: ACTIVE}]}
"""
_KEYS = """
    account account_id acknowledgement acknowledgements api_key api_secret base_status because by command commit
    credentials dated elsewhere enabled end endpoint env file groups has_ended hours idle ignored ignored_lines
    in_use is_named keys line lines maintenance managed max_deactivations members min_active name note numbers
    observed on_unknown owner pair_swaps parts protected reason safety schedules sha256 source spans start status
    suspend text timezone unlisted unmanaged until weekly zoned
"""
_PART = """
version: 1
account: main
timezone: Asia/Tokyo
numbers: {010-1234-5672: ACTIVE}
"""


def test_documents_are_read_back_as_they_were() -> None:
    """The accounts that they describe are equal, with all their keys, schedules and lines."""
    documents = desired.read_documents([("a.yaml", _FULL.encode()), ("b.yaml", _PART.encode())]).documents
    data = encode_documents(documents)
    restored = decode_documents(data)
    assert encode_documents(restored) == data
    (before,), (after,) = desired.join(documents), desired.join(restored)
    assert list(before.lines) == list(after.lines)
    lines = list(before.lines)
    assert msgspec.structs.replace(before, lines=lines) == msgspec.structs.replace(after, lines=lines)


def _names(value: Any) -> set[str]:
    """Return the names of all keys in a JSON value, without numbers."""
    if isinstance(value, dict):
        return {name for name in value if not name.isdigit()}.union(*map(_names, value.values()))
    return set().union(*map(_names, value)) if isinstance(value, list) else set()


def test_new_key_raises_the_format() -> None:
    """An older worker would drop it: if this fails, raise FORMAT and list the key."""
    documents = desired.read_documents([("a.yaml", _FULL.encode())]).documents
    assert (FORMAT, _names(msgspec.json.decode(encode_documents(documents)))) == (2, set(_KEYS.split()))


def test_other_json_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_documents(b'[{"account": 1}]')
