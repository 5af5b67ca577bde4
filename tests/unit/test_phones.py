"""Every way of writing a Korean number, and what is refused with which words."""

import pytest

from worker.phones import normalise, oddity

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
def test_spellings(written: str, digits: str) -> None:
    """Every kind of Korean sender number is taken, however it is separated."""
    assert normalise(written) == digits


@pytest.mark.parametrize("code", ["+82", "82", "0082", "+82 (0)", "+ 82", "(+82)", "+82-0", "00 82 "])
@pytest.mark.parametrize("national", ["10-1234-5678", "2-312-4567", "64-312-4567", "80-123-4567"])
def test_country_code_gives_way_to_zero(code: str, national: str) -> None:
    """The country code, in any spelling and with or without the zero after it, is the same as the zero."""
    assert normalise(f"{code} {national}") == normalise(f"0{national}")


@pytest.mark.parametrize("national", ["1588-1234", "112", "1335"])
def test_country_code_before_a_nationwide_number(national: str) -> None:
    """A number that has no area code gets no zero in place of the country code."""
    assert normalise(f"+82 {national}") == normalise(national)


@pytest.mark.parametrize("separator", HYPHENS + BLANKS + ".")
def test_separators_of_word_processors(separator: str) -> None:
    """Every dash and blank that word processors put between digits is a separator."""
    assert normalise(separator.join(["010", "1234", "5678"])) == "01012345678"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "there is no number: write one such as 010-1234-5678"),
        (" - ", "there is no number"),
        ("+", "there is no number"),
        ("010-1234-567", "010 numbers have 11 digits, this one has 10"),
        ("010-1234-56789", "010 numbers have 11 digits, this one has 12"),
        ("010\n", "010 numbers have 11 digits, this one has 3"),
        ("030-1234-567", "030 numbers have 11 to 12 digits, this one has 10"),
        ("02-312-456", "02 numbers have 9 or 10 digits, this one has 8"),
        ("031-312-456789", "031 numbers have 10 or 11 digits, this one has 12"),
        ("010-1234-5678 010-1234-5679", "more than 12: are these two numbers?"),
        ("1588-123", "15xx numbers have exactly 8 digits and no area code, this one has 7"),
        ("1588-12345", "15xx numbers have exactly 8 digits"),
        ("16001", "16xx numbers have exactly 8 digits"),
        ("1899-12345", "18xx numbers have exactly 8 digits"),
        ("050-1234-5678", "050 numbers forward calls .*: give the number behind it"),
        ("0507-123-4567", "050 numbers forward calls"),
        ("+82 50-1234-5678", "050 numbers forward calls"),
        ("10-1234-5678", "leading 0 is missing, .*: write 01012345678"),
        ("312-4567", "no area code, or lost its leading 0"),
        ("2312-4567", "no area code, or lost its leading 0"),
        ("99-1234-5678", "a number begins with 0, or has eight digits and begins with 15, 16 or 18"),
        ("099-123-4567", "no Korean number begins with 099"),
        ("0312", "031 numbers have 10 or 11 digits, this one has 4"),
        ("021", "02 numbers have 9 or 10 digits"),
        ("0", "too short for a Korean number"),
        ("99", "it is too short; only special numbers"),
        ("999", "special numbers, which begin with 1"),
        ("11", "it is too short"),
        ("+1 212 555 1234", r"only Korean numbers can send: write the number with \+82"),
        ("001 82 10 1234 5678", "only Korean numbers can send"),
        ("+82", "only Korean numbers can send"),
        ("82+10-1234-5678", r"a \+ can only stand at the beginning"),
        ("010-1234-567O", "the letter 'O': a number is made of digits"),
        ("공일공", r"the letter U\+ACF5 \(hangul syllable gong\)"),
        ("010_1234_5678", "the character '_': between digits only hyphens, spaces, dots and parentheses"),
        ("../x", "the character '/'"),
        ("%2e%2e", "the character '%'"),
        ("010/../../x", "the character '/'"),
        ("010-1234-5678?x=1", r"the character '\?'"),
        ("010-1234~5678", "the character '~'"),
        ("010*12345678", r"the character '\*'"),
        ("010\uff0d1234\uff0d5678", r"the character U\+FF0D \(fullwidth hyphen-minus\)"),
        (
            "\uff10\uff11\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
            r"U\+FF10 \(fullwidth digit zero\): write the digits 0 to 9 as plain ASCII",
        ),
        (
            "\u0660\u0661\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
            r"U\+0660 \(arabic-indic digit zero\): write the digits",
        ),
        ("010²1234567", r"U\+00B2 \(superscript two\): write the digits"),
        ("010½1234567", "write the digits"),
        ("010\u200b12345678", r"invisible character U\+200B \(zero width space\): type the number anew"),
        ("010\x0012345678", "invisible character U\\+0000"),
        ("010\t12345678", "invisible character U\\+0009"),
        ("010\ud80012345678", "invisible character U\\+D800"),
    ],
)
def test_refusals(written: str, words: str) -> None:
    """What cannot be a number is refused with the reason and with what to write instead."""
    with pytest.raises(ValueError, match=words):
        normalise(written)


@pytest.mark.parametrize(
    "written",
    ["+82 001 254 357 718", "0025 435 7718", "081-158-728629", "082-311-41", "088105232051", "0500-123-4567"],
)
def test_carriers_and_foreign_numbers_are_no_senders(written: str) -> None:
    """What can be dialled from Korea and is no Korean number, behind a carrier's prefix, is refused."""
    with pytest.raises(ValueError, match=r"no Korean number|only Korean numbers|forward calls"):
        normalise(written)


def test_refusal_repeats_no_long_text() -> None:
    """A refusal is a short sentence whatever the length of the text."""
    with pytest.raises(ValueError, match="has 1000000 digits") as refused:
        normalise("1" * 1_000_000)
    assert len(str(refused.value)) < 200


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
        ("0121234567", "machines"),
        ("0131234567", "trunked radio"),
        ("0141234567", "data services"),
        ("0151234567", "pagers"),
        ("0201234567", "no service uses: check that the number is yours"),
        ("0215881234", "the nationwide number 15881234 with an area code before it"),
        ("03116001234", "the nationwide number 16001234 with an area code before it"),
        ("021234567", "begins with 2 to 9"),
        ("0310234567", "begins with 2 to 9"),
        ("051323456", "shorter or rarer than usual"),
        ("1588", "the beginning of a nationwide number, which has 8 digits"),
        ("1833", "the beginning of a nationwide number"),
    ],
)
def test_oddities(digits: str, words: str | None) -> None:
    """Numbers that could exist and are probably a mistake are told, and usual ones are not."""
    assert normalise(digits) == digits
    odd = oddity(digits)
    if words is None:
        assert odd is None
    else:
        assert odd is not None
        assert words in odd
