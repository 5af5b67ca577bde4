"""Keys of accounts, and the segment that sums up their two states."""

import pytest

from worker.model.messages import Message, PhoneNumber
from worker.model.reads import (
    HealthStatus,
    NumberState,
    Segment,
    SyncStatus,
    decode_numbers,
    encode_numbers,
    is_unread,
    platform,
    segment_of,
)


def test_platform_of_a_key_may_have_blanks() -> None:
    assert platform("https://api.example a b 12925149") == "https://api.example a b"


def test_accounts_that_could_not_be_read_share_a_key_without_an_id() -> None:
    assert [is_unread(key) for key in ("vendor None", "vendor 7", "vendorNone")] == [True, False, False]


@pytest.mark.parametrize("sync", SyncStatus)
@pytest.mark.parametrize("health", HealthStatus)
def test_health_decides_the_segment_unless_it_is_healthy(sync: SyncStatus, health: HealthStatus) -> None:
    expected = sync.value if health is HealthStatus.HEALTHY else health.value
    assert segment_of(sync, health) is Segment(expected)


def test_numbers_are_encoded_as_arrays() -> None:
    """Messages and phone numbers are plain text there. Lone surrogates are replaced."""
    numbers = [NumberState("0212345678", "ACTIVE", None, note="whole", line=3)]
    assert encode_numbers(numbers) == b'[["0212345678","ACTIVE",null,null,null,"whole",null,null,null,3]]'
    assert decode_numbers(encode_numbers(numbers)) == numbers
    formatted = NumberState(PhoneNumber("0212345678"), "ACTIVE", None, note=Message("of {team}", team="sales"))
    assert decode_numbers(encode_numbers([formatted])) == [NumberState("0212345678", "ACTIVE", None, note="of sales")]
    odd = [NumberState("0212345678", "ACTIVE", None, note="half \ud83d")]
    assert decode_numbers(encode_numbers(odd))[0].note == "half \ufffd"


@pytest.mark.parametrize(
    ("action", "differs"),
    [(None, False), ("acknowledged", False), ("protected", False), ("unmanaged", False)]
    + [(action, True) for action in ("activate", "blocked", "held", "missing", "failed", "not_attempted")],
)
def test_acknowledged_protected_and_unmanaged_numbers_are_in_sync(action: str | None, *, differs: bool) -> None:
    """Numbers with any other action differ."""
    assert NumberState("0101", "ACTIVE", "INACTIVE", action).differs is differs
