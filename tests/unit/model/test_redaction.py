"""Secrets: found wherever they stand, at a cost that does not depend on how many there are."""

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
def test_secrets_are_replaced(secrets: tuple[str, ...], text: str, shown: str) -> None:
    """Every occurrence goes, the longest secret first, and nothing else does."""
    assert Secrets(secrets).remove_from(text) == shown


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=6), max_size=5), _texts)
def test_no_secret_is_left(secrets: list[str], text: str) -> None:
    """Whatever the text and the secrets, what is left holds none of them, beside the word for what was removed."""
    left = Secrets(secrets).remove_from(text).split(REMOVED)
    assert not any(secret in piece for secret in secrets for piece in left)


def test_short_secrets_can_be_left_in() -> None:
    """Where words of programs stand, only secrets of a length that no word has by chance are taken out."""
    secrets = Secrets(["a" * SHORTEST_SECRET, "b" * (SHORTEST_SECRET - 1)])
    text = "a" * SHORTEST_SECRET + " " + "b" * SHORTEST_SECRET
    assert secrets.remove_from(text, min_length=SHORTEST_SECRET) == f"{REMOVED} {'b' * SHORTEST_SECRET}"
    assert secrets.remove_from(text) == f"{REMOVED} {REMOVED}b"


def test_they_are_counted_once() -> None:
    """A secret that is added again does not change the count that watchers compare."""
    secrets = Secrets(["abcd", "abcd", "", "xy"])
    assert (len(secrets), set(secrets), secrets.shortest) == (2, {"abcd", "xy"}, 2)
    assert Secrets().shortest is None


def test_a_hundred_thousand_cost_no_more_than_one() -> None:
    """Looking for many secrets of one length takes about as long as looking for one."""
    text = "The quick brown fox jumps over the lazy dog. " * 10
    one, many = Secrets(["0" * 32]), Secrets(f"{number:032}" for number in range(100_000))

    def seconds(secrets: Secrets) -> float:
        began = time.perf_counter()
        for _ in range(20):
            secrets.remove_from(text)
        return time.perf_counter() - began

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
def test_a_header_is_taken_out_wherever_it_is_quoted(text: str) -> None:
    """A credentials header, or its salt and signature alone, is removed from any text in any usual spelling."""
    assert "CANARY" not in without_headers(text)
    assert REMOVED in without_headers(text)


def test_words_about_signatures_stay() -> None:
    text = "the signature does not match; salts are 12 to 64 bytes; assaulted=yes"
    assert without_headers(text) == text
