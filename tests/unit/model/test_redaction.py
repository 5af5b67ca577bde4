"""Redaction of secrets and credential headers."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.redaction import REMOVED, SHORTEST_SECRET, Secrets, without_headers

_texts = st.text(alphabet="ab", max_size=30)


@pytest.mark.parametrize(
    ("secrets", "text", "shown"),
    [
        ((), "anything", "anything"),
        (("",), "anything", "anything"),
        (("key",), "a key, the key", "a [removed], the [removed]"),
        (("key",), "key", "[removed]"),
        (("key", "keyring"), "the keyring and the key", "the [removed] and the [removed]"),
        (("aa",), "aaa", "[removed]a"),
    ],
)
def test_secrets_are_replaced_longest_first(secrets: tuple[str, ...], text: str, shown: str) -> None:
    assert Secrets(secrets).remove_from(text) == shown


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=6), max_size=5), _texts)
def test_no_secret_remains_in_any_text(secrets: list[str], text: str) -> None:
    pieces = Secrets(secrets).remove_from(text).split(REMOVED)
    assert not any(secret in piece for secret in secrets for piece in pieces)


def test_secrets_below_the_minimum_length_remain() -> None:
    """Short secrets could occur by chance in the text of a program."""
    secrets = Secrets(["a" * SHORTEST_SECRET, "b" * (SHORTEST_SECRET - 1)])
    text = "a" * SHORTEST_SECRET + " " + "b" * SHORTEST_SECRET
    assert secrets.remove_from(text, min_length=SHORTEST_SECRET) == f"{REMOVED} {'b' * SHORTEST_SECRET}"
    assert secrets.remove_from(text) == f"{REMOVED} {REMOVED}b"


def test_duplicate_secrets_are_counted_once() -> None:
    """Watchers compare the count."""
    secrets = Secrets(["abcd", "abcd", "", "xy"])
    assert (len(secrets), set(secrets), secrets.shortest) == (2, {"abcd", "xy"}, 2)
    assert Secrets().shortest is None


def test_cost_is_independent_of_the_number_of_secrets() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 10
    one, many = Secrets(["0" * 32]), Secrets(f"{number:032}" for number in range(100_000))

    def seconds(secrets: Secrets) -> float:
        start = time.perf_counter()
        for _ in range(20):
            secrets.remove_from(text)
        return time.perf_counter() - start

    assert min(seconds(many) for _ in range(5)) < 10 * min(seconds(one) for _ in range(5))


@pytest.mark.parametrize(
    "text",
    [
        "HMAC-SHA256 apiKey=k, date=d, salt=CANARY, signature=CANARY",
        "you sent: Authorization: HMAC-SHA256 apiKey=k, salt=CANARY",
        '{"Authentication": "HMAC CANARY", "x": 1}',
        "SIGNATURE = 'CANARY with blanks' and so on",
        "authorization: CANARY",
    ],
)
def test_credential_header_is_removed_in_every_format(text: str) -> None:
    assert "CANARY" not in without_headers(text)
    assert REMOVED in without_headers(text)


def test_name_of_a_removed_value_remains() -> None:
    assert without_headers("authorization: x y") == f"authorization={REMOVED}"
    assert without_headers("signature=x, salt: y") == f"signature={REMOVED}, salt={REMOVED}"


def test_text_about_signatures_is_unchanged() -> None:
    text = "the signature does not match; salts are 12 to 64 bytes; assaulted=yes"
    assert without_headers(text) == text
