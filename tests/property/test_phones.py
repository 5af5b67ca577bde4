"""Properties of every phone number."""

import re
from contextlib import suppress

import phonenumbers
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.examples import examples
from worker.model.accounts import PHONE_PATTERN
from worker.model.phones import normalise, parse_digits, why_implausible, why_unusual

SEPARATORS = " -()\u00a0\u2013"
"""Separators after any digit. Dots turn some texts into decimals."""

area = st.sampled_from(["2", *(str(code) for code in (31, 32, 33, 41, 42, 43, 44, 51, 52, 53, 54, 55, 61, 62, 63, 64))])
"""Area codes without their zero."""


def digits(least: int, most: int) -> st.SearchStrategy[str]:
    """Draw a text of ASCII digits with a length in this range."""
    return st.text("0123456789", min_size=least, max_size=most)


def refusal(text: str) -> str | None:
    """Return why a text is refused, or None if it is a number."""
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


@examples(200)
@given(national, st.lists(st.sampled_from(SEPARATORS), min_size=13, max_size=13), st.sampled_from(["0", "+82", "0082"]))
def test_separators_and_country_code_do_not_matter(number: str, separators: list[str], lead: str) -> None:
    """A number is the same with any separators, with its leading zero or with the country code."""
    body = "".join(digit + separator for digit, separator in zip(number, separators, strict=False))
    assert normalise(f"{lead} {body}") == f"0{number}"


@examples(200)
@given(spelt)
@example("+82 8212345678")
@example("+82 1588")
def test_accepted_number_is_normalized(text: str) -> None:
    """An accepted number consists of digits, fits a URL, and is accepted again unchanged."""
    with suppress(ValueError):
        phone = normalise(text)
        assert re.fullmatch(PHONE_PATTERN, phone)
        assert normalise(phone) == phone
        assert parse_digits(text) == phone
        odd = why_unusual(phone)
        assert odd is None or (odd.isprintable() and len(odd) < 150)


@examples(200)
@given(st.text(max_size=200))
def test_every_refusal_is_one_readable_line(text: str) -> None:
    """Any text is a number, or is refused with one printable sentence that does not repeat it."""
    reason = refusal(text)
    assert reason is None or (reason.isprintable() and len(reason) < 200)


@examples(200)
@given(national.map(lambda rest: f"0{rest}") | digits(6, 6).flatmap(lambda rest: st.sampled_from([f"15{rest}"])))
def test_valid_number_of_the_library_is_accepted(number: str) -> None:
    """Numbers that `phonenumbers` considers valid in Korea are accepted, except forwarding numbers."""
    if phonenumbers.is_valid_number_for_region(phonenumbers.parse(number, "KR"), "KR"):
        assert normalise(number) == number


@examples(200)
@given(
    st.one_of(digits(3, 12), national, national.map("0{}".format), spelt.map(str.strip)).filter(bool),
    st.sampled_from(".,"),
    st.text("0", max_size=4),
)
@example("1588.1234", ".", "0000")
@example("010.1234.5678", ".", "")
def test_number_with_trailing_zero_decimals_is_refused(number: str, separator: str, zeros: str) -> None:
    """A dot or comma followed by zeros only is refused, and no advice suggests another number."""
    reason = refusal(f"{number}{separator}{zeros}")
    if reason is None:  # the zeros may be the last group, as in 010.1234.0000
        assert zeros == "0000"
        assert "." in number
        assert why_implausible(normalise(f"{number}.{zeros}")) is None
    elif match := re.search(r": write (0?\d+)$", reason):
        assert normalise(match[1]) == match[1]
        assert match[1].lstrip("0") == re.sub(r"\D", "", number).lstrip("0")


@examples(200)
@given(digits(3, 12))
def test_suggested_spelling_is_accepted(number: str) -> None:
    """The spelling that a refusal suggests is plausible too."""
    if (reason := refusal(number)) and (match := re.search(r"write (\d+)$", reason)):
        assert match[1] == f"0{number}"
        assert normalise(match[1]) == match[1]
        assert why_unusual(match[1]) is None
