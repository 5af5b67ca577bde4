"""Phone numbers: accepted spellings, refusals and implausible numbers."""

import pytest

from worker.model.phones import normalise, parse_digits, why_implausible, why_unusual

HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
BLANKS = " \u00a0\u2007\u2009\u202f\u3000"


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("01012345678", "01012345678"),
        ("010-1234-5678", "01012345678"),
        ("010.1234.5678", "01012345678"),
        ("(010) 1234-5678", "01012345678"),
        ("  010 1234 5678\n", "01012345678"),
        ("02) 312-4567", "023124567"),
        ("02-3124-5678", "0231245678"),
        ("031-312-4567", "0313124567"),
        ("064-3124-5678", "06431245678"),
        ("070-1234-5678", "07012345678"),
        ("080-123-4567", "0801234567"),
        ("080-1234-5678", "08012345678"),
        ("030-1234-5678", "03012345678"),
        ("030-12345-6789", "030123456789"),
        ("0303-1234-5678", "030312345678"),
        ("060-700-1234", "0607001234"),
        ("1588-1234", "15881234"),
        ("1670.1234", "16701234"),
        ("1899 1234", "18991234"),
        ("112", "112"),
        ("1335", "1335"),
        ("02-120", "02120"),
        ("031-120", "031120"),
        ("053-1350", "0531350"),
        ("051-123456", "051123456"),
    ],
)
def test_every_kind_of_number_is_normalized(written: str, digits: str) -> None:
    assert normalise(written) == digits


@pytest.mark.parametrize("code", ["+82", "82", "0082", "+82 (0)", "+ 82", "(+82)", "+82-0", "00 82 "])
@pytest.mark.parametrize("national", ["10-1234-5678", "2-312-4567", "64-312-4567", "80-123-4567"])
def test_country_code_is_replaced_by_zero(code: str, national: str) -> None:
    assert normalise(f"{code} {national}") == normalise(f"0{national}")


@pytest.mark.parametrize("national", ["1588-1234", "112", "1335"])
def test_country_code_before_a_nationwide_number_is_removed(national: str) -> None:
    """A nationwide number has no area code, so no zero is added."""
    assert normalise(f"+82 {national}") == normalise(national)


@pytest.mark.parametrize("separator", HYPHENS + BLANKS + ".")
def test_typographic_dashes_and_blanks_are_separators(separator: str) -> None:
    assert normalise(separator.join(["010", "1234", "5678"])) == "01012345678"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "no number: write one such as 010-1234-5678"),
        (" - ", "no number"),
        ("+", "no number"),
        ("010-1234-5678 010-1234-5679", "at most 12: write one number only"),
        ("10-1234-5678", "missing leading 0, .*: write 01012345678$"),
        ("21-234-5678", "starts with 0, or has 8 digits"),
        ("2312-4567", "missing area code or leading 0"),
        ("02", "too short"),
        ("99", "too short"),
        ("+1 212 555 1234", r"only Korean numbers can send: write the number with \+82"),
        ("001 82 10 1234 5678", "only Korean numbers can send"),
        ("0025 435 7718", "only Korean numbers can send"),
        ("+82", "only Korean numbers can send"),
        ("82+10-1234-5678", r"\+ is allowed only at the start"),
        ("010-1234-567O", "letter 'O': a number has only digits"),
        ("공일공", r"letter U\+ACF5 \(hangul syllable gong\)"),
        ("010_1234_5678", "character '_': only hyphens, spaces, dots and parentheses"),
        ("../x", "character '/'"),
        ("%2e%2e", "character '%'"),
        ("010/../../x", "character '/'"),
        ("010-1234-5678?x=1", r"character '\?'"),
        ("010-1234~5678", "character '~': list each number of a range"),
        ("010-1234-5678~9", "character '~': list each number of a range"),
        ("010-1234-5678, 010-1234-5679", "character ',': write one number only"),
        ("01012345678,01012345679", "character ',': write one number only"),
        ("010-1234-5678/5679", "character '/': write one number only"),
        ("02-312-4567 내선 12", "a sender number has no extension"),
        ("02-312-4567 ext. 12", "a sender number has no extension"),
        ("02-312-4567#12", "a sender number has no extension"),
        ('="01012345678"', "character '='"),
        ("-112", "minus sign before the number"),
        ("\u221201012345678", "minus sign before the number"),
        ("15881234\uff0e0", r"U\+FF0E \(fullwidth full stop\)"),
        ("010*12345678", r"character '\*'"),
        ("010\uff0d1234\uff0d5678", r"character U\+FF0D \(fullwidth hyphen-minus\)"),
        (
            "\uff10\uff11\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
            r"U\+FF10 \(fullwidth digit zero\): write the digits 0 to 9 in plain ASCII",
        ),
        (
            "\u0660\u0661\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
            r"U\+0660 \(arabic-indic digit zero\): write the digits",
        ),
        ("010²1234567", r"U\+00B2 \(superscript two\): write the digits"),
        ("010½1234567", "write the digits"),
        ("010\u200b12345678", r"invisible character U\+200B \(zero width space\): type the number instead"),
        ("010\x0012345678", "invisible character U\\+0000"),
        ("010\t12345678", "invisible character U\\+0009"),
        ("010\ud80012345678", "invisible character U\\+D800"),
    ],
)
def test_invalid_number_is_refused_with_advice(written: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        normalise(written)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("15881234.0", "15881234"),
        ("15881234.", "15881234"),
        ("15881234 .0", "15881234"),
        ("01012345678.00", "01012345678"),
        ("010-1234-5678.0", "01012345678"),
        ("010.1234.5678.0", "01012345678"),
        ("1588.1234.0000", "15881234"),
        ("1012345678.0", "01012345678"),
        ("15,881,234.0", "15881234"),
        ("15881234,0", "15881234"),
        ("15.881.234,00", "15881234"),
        ("1,012,345,678", "01012345678"),
        # several numbers are possible, or none, or digits were lost
        ("1588123.0", None),
        ("1588.0000", None),
        ("023124567.0", None),
        ("021234567.0", None),
        ("112.0", None),
        ("0507-1234-5678.0", None),
        ("15881234.5", None),
        ("15881234.567", None),
        ("31234567.5", None),
        ("1012345.678", None),
        ("101234567,8", None),
        ("1,012,345.678", None),
        ("10.123.456,78", None),
        ("023124567.\u00a00", None),
        ("023124567.\u30000", None),
        ("1.588E7", None),
        ("1.588E+07", None),
        ("1,588E+07", None),
        ("8.21012e11", None),
    ],
)
def test_spreadsheet_amount_suggests_only_an_unambiguous_number(written: str, number: str | None) -> None:
    with pytest.raises(ValueError, match="a spreadsheet converted") as error:
        normalise(written)
    advice = "format the column as text and export it again" if number is None else f"write {number}"
    assert str(error.value).endswith(f": {advice}")


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("02.312.4567", "023124567"),
        ("010.1234.0000", "01012340000"),
        ("030.1234.0000", "03012340000"),
        ("+82.10.1234.0000", "01012340000"),
        ("1588.1234", "15881234"),
        ("02.3124567", "023124567"),
        ("+82.10.1234.5678", "01012345678"),
        ("0101234.5678", "01012345678"),
    ],
)
def test_dots_between_groups_are_separators(written: str, digits: str) -> None:
    assert normalise(written) == digits


@pytest.mark.parametrize(
    ("written", "digits", "words"),
    [
        ("0507-1234-5678", "050712345678", "050 numbers forward calls"),
        ("+82 50-1234-5678", "05012345678", "050 numbers forward calls"),
        ("010-1234-567", "0101234567", "010 numbers have 11 digits, this one has 10"),
        ("010-1234-56789", "010123456789", "010 numbers have 11 digits, this one has 12"),
        ("010", "010", "010 numbers have 11 digits, this one has 3"),
        ("030-1234-567", "0301234567", "030 numbers have 11 to 12 digits, this one has 10"),
        ("02-312-456", "02312456", "02 numbers have 9 to 10 digits, this one has 8"),
        ("031-312-456789", "031312456789", "031 numbers have 10 to 11 digits, this one has 12"),
        ("0312", "0312", "031 numbers have 10 to 11 digits, this one has 4"),
        ("021", "021", "02 numbers have 9 to 10 digits"),
        ("099-123-4567", "0991234567", "no Korean number starts with 099"),
        ("081-158-728629", "081158728629", "no Korean number starts with 081"),
        ("1588-123", "1588123", "15xx numbers have exactly 8 digits and no area code, this one has 7"),
        ("1588-12345", "158812345", "15xx numbers have exactly 8 digits"),
        ("16001", "16001", "16xx numbers have exactly 8 digits"),
        ("1588-123-456", "1588123456", "starts with 0, or has 8 digits"),
        ("312-4567", "3124567", "missing area code or leading 0"),
        ("1422-1234", "14221234", "missing area code or leading 0"),
        ("99-1234-5678", "9912345678", "starts with 0, or has 8 digits and starts with 15, 16 or 18"),
        ("123456789012", "123456789012", "starts with 0, or has 8 digits"),
        ("999", "999", "only special numbers, which start with 1"),
    ],
)
def test_implausible_number_is_normalized_with_a_reason(written: str, digits: str, words: str) -> None:
    """The API alone knows whether a number is registered."""
    assert normalise(written) == parse_digits(written) == digits
    reason = why_implausible(digits)
    assert reason is not None
    assert words in reason
    assert why_unusual(digits) == f"{reason}; a plan refuses it unless it is registered"


@pytest.mark.parametrize("digits", ["01012345678", "023124567", "15881234", "112", "0111234567", "021234567", "02120"])
def test_registrable_numbers_are_plausible(digits: str) -> None:
    assert why_implausible(digits) is None


@pytest.mark.parametrize("written", ["1012345678", "2312-4567", "0025435771", "112", "999999999999", "0507-1234-5678"])
def test_any_3_to_12_digits_can_be_searched_for(written: str) -> None:
    """The search accepts numbers that a file cannot list."""
    assert parse_digits(written) == written.replace("-", "")


@pytest.mark.parametrize("written", ["", "12", "1234567890123", "112.0", "-112", "+1 212 555 1234", "phone"])
def test_other_text_cannot_be_searched_for(written: str) -> None:
    with pytest.raises(ValueError, match=r"^(no number|.*: |too |missing |a |only |minus )"):
        parse_digits(written)


def test_refusal_of_a_long_text_is_short() -> None:
    with pytest.raises(ValueError, match="1000000 digits") as error:
        normalise("1" * 1_000_000)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("01012345678", None),
        ("023124567", None),
        ("15881234", None),
        ("112", None),
        ("1335", None),
        ("182", None),
        ("03012345678", None),
        ("0607001234", None),
        ("02120", None),
        ("031120", None),
        ("0111234567", "011 is a mobile prefix of the 2G networks"),
        ("0121234567", "machine-to-machine"),
        ("0131234567", "trunked radio"),
        ("0141234567", "data services"),
        ("0151234567", "pagers"),
        ("0201234567", "no service uses: check that the number is yours"),
        ("0215881234", "the nationwide number 15881234 after an area code"),
        ("03116001234", "the nationwide number 16001234 after an area code"),
        ("021234567", "starts with 2 to 9"),
        ("0310234567", "starts with 2 to 9"),
        ("051323456", "unusual length"),
        ("1588", "an incomplete nationwide number, which has 8 digits"),
        ("1833", "an incomplete nationwide number"),
    ],
)
def test_unusual_number_has_a_reason(digits: str, words: str | None) -> None:
    assert normalise(digits) == digits
    reason = why_unusual(digits)
    if words is None:
        assert reason is None
    else:
        assert reason is not None
        assert words in reason
