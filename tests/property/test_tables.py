"""Tables become desired state without loss."""

import csv
import io
from unicodedata import normalize

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.config.csv_import import read_csv
from worker.config.desired import load
from worker.config.fields import why_unfit
from worker.model.accounts import Desired, Status
from worker.render.desired_yaml import listed_yaml
from worker.render.terminal import safe

_phones = st.builds("010{:08d}".format, st.integers(0, 99_999_999))
_texts = st.none() | st.text(max_size=30).map(str.strip).filter(
    lambda text: text and why_unfit(text, 1000, is_multiline=True) is None
)
_desired = st.builds(Desired, st.sampled_from([Status.ACTIVE, Status.INACTIVE]), _texts, _texts, st.booleans())


@given(st.dictionaries(_phones, _desired, min_size=1, max_size=5), st.sampled_from(",;\t|"))
@example({"01012345678": Desired(Status.ACTIVE, "=cmd|' /C calc'!A0", 'a "b" \\ {c}: # d')}, ",")
@example({"01012345678": Desired(Status.ACTIVE, "two\nlines", "- x")}, ";")
def test_table_and_its_desired_state_file_are_equal(numbers: dict[str, Desired], delimiter: str) -> None:
    """Every number is the same after a round trip through a table and a desired-state file."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(["phone", "status", "note", "owner", "protected"])
    for phone, desired in numbers.items():
        writer.writerow([phone, desired.status, desired.note, desired.owner, desired.protected])
    imported = read_csv("t.csv", file.getvalue().encode(), encoding="utf-8").numbers
    assert imported == {phone: _composed(desired) for phone, desired in numbers.items()}
    loaded = load([("t.yaml", listed_yaml(imported, name="main").encode())])
    (account,) = loaded.accounts
    assert account.name == "main"
    assert {phone: _plain(desired) for phone, desired in account.numbers.items()} == {
        phone: _plain(_composed(desired)) for phone, desired in numbers.items()
    }


_words = st.text("가나다라마바사 ;,|", min_size=2, max_size=20).filter(lambda text: sum(map(str.isalpha, text)) > 1)


@given(
    st.dictionaries(_phones, st.sampled_from(["Y", "N"]), min_size=1, max_size=5),
    st.lists(_words, max_size=3),
    st.lists(_words, max_size=3),
    st.sampled_from(",;\t|"),
    st.sampled_from(["", "sep={}\n"]),
)
def test_text_around_a_table_does_not_change_its_numbers(
    flags: dict[str, str], titles: list[str], notes: list[str], delimiter: str, declaration: str
) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerows([title] for title in titles)
    writer.writerow(["순번", "발신번호(필수)", "사용여부", "비고"])
    writer.writerows([index, phone, flag, ""] for index, (phone, flag) in enumerate(flags.items()))
    writer.writerows(["", note] for note in notes)

    imported = read_csv("t.csv", f"{declaration.format(delimiter)}{file.getvalue()}".encode(), encoding="utf-8")
    statuses = {"Y": Status.ACTIVE, "N": Status.INACTIVE}
    assert imported.numbers == {phone: Desired(statuses[flag]) for phone, flag in flags.items()}
    assert len(imported.warnings) == len(titles) + len(notes) + ("Y" not in flags.values())


@given(st.text("가나다라마바사아자차카타파하거너더러머버서고노도로모보소구누두루무부수홍길동김이박최", min_size=1))
def test_encoding_of_korean_text_is_detected(note: str) -> None:
    """UTF-8 and CP949 are distinguished for any text."""
    for encoding in ("utf-8", "cp949"):
        data = f"전화번호,상태,메모\n01012345678,활성,{note}\n".encode(encoding)
        assert read_csv("t.csv", data).numbers == {"01012345678": Desired(Status.ACTIVE, note)}
        table = f"phone,status,note\n01012345678,ACTIVE,{note}\n".encode(encoding)
        assert read_csv("t.csv", table).numbers == {"01012345678": Desired(Status.ACTIVE, note)}


def _composed(desired: Desired) -> Desired:
    """Return the number with texts in NFC."""
    note, owner = (text and normalize("NFC", text) for text in (desired.note, desired.owner))
    return replace(desired, note=note, owner=owner)


def _plain(desired: Desired) -> tuple[Status, str | None, str | None, bool]:
    """Return the number as a file stores it: all whitespace becomes plain blanks."""
    note, owner = ("\n".join(map(safe, text.split("\n"))) if text else None for text in (desired.note, desired.owner))
    return desired.status, note, owner, desired.protected
