"""What holds for every number."""

import re
from contextlib import suppress

import phonenumbers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.model import PHONE_PATTERN
from worker.phones import normalise, oddity

SEPARATORS = " -.()\u00a0\u2013"

area = st.sampled_from(["2", *(str(code) for code in (31, 32, 33, 41, 42, 43, 44, 51, 52, 53, 54, 55, 61, 62, 63, 64))])
"""Area codes without their zero."""


def digits(least: int, most: int) -> st.SearchStrategy[str]:
    """So many ASCII digits."""
    return st.text("0123456789", min_size=least, max_size=most)


def refusal(text: str) -> str | None:
    """Why a text is refused, None where it is a number."""
    try:
        normalise(text)
    except ValueError as error:
        return str(error)
    return None


national = st.one_of(
    digits(8, 8).map(lambda rest: f"10{rest}"),
    digits(8, 8).map(lambda rest: f"70{rest}"),
    st.tuples(area, st.sampled_from("23456789"), digits(6, 7)).map("".join),
    digits(7, 8).map(lambda rest: f"80{rest}"),
    digits(8, 9).map(lambda rest: f"30{rest}"),
)
"""Numbers that exist, without their zero."""

spelt = st.one_of(
    st.text("0123456789+-() .", max_size=20),
    digits(3, 13),
    national.map(lambda rest: f"0{rest}"),
    national.map(lambda rest: f"+82{rest}"),
    st.text(max_size=20),
)
"""Texts that are a number, or nearly one."""


@settings(max_examples=200)
@given(national, st.lists(st.sampled_from(SEPARATORS), min_size=13, max_size=13), st.sampled_from(["0", "+82", "0082"]))
def test_separators_and_country_code_do_not_matter(number: str, separators: list[str], lead: str) -> None:
    """A number is the same however it is separated, with its zero or with the country code in its place."""
    body = "".join(digit + separator for digit, separator in zip(number, separators, strict=False))
    assert normalise(f"{lead} {body}") == f"0{number}"


@settings(max_examples=200)
@given(spelt)
@example("+82 8212345678")
@example("+82 1588")
def test_accepted_numbers_are_settled(text: str) -> None:
    """What is accepted has digits alone, fits a URL, and is accepted again as the same."""
    with suppress(ValueError):
        phone = normalise(text)
        assert re.fullmatch(PHONE_PATTERN, phone)
        assert normalise(phone) == phone
        odd = oddity(phone)
        assert odd is None or (odd.isprintable() and len(odd) < 150)


@settings(max_examples=200)
@given(st.text(max_size=200))
def test_every_refusal_is_one_readable_line(text: str) -> None:
    """Whatever the text is, it is a number, or is refused with one printable sentence that does not repeat it."""
    reason = refusal(text)
    assert reason is None or (reason.isprintable() and len(reason) < 200)


@settings(max_examples=200)
@given(national.map(lambda rest: f"0{rest}") | digits(6, 6).flatmap(lambda rest: st.sampled_from([f"15{rest}"])))
def test_what_the_library_knows_is_accepted(number: str) -> None:
    """A number that `phonenumbers` holds for a valid Korean one, forwarding numbers aside, is accepted."""
    if phonenumbers.is_valid_number_for_region(phonenumbers.parse(number, "KR"), "KR"):
        assert normalise(number) == number
