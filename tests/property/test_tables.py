"""Tables become desired state without losing anything."""

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
    lambda text: text and why_unfit(text, 1000, prose=True) is None
)
_desired = st.builds(Desired, st.sampled_from([Status.ACTIVE, Status.INACTIVE]), _texts, _texts, st.booleans())


@given(st.dictionaries(_phones, _desired, min_size=1, max_size=5), st.sampled_from(",;\t|"))
@example({"01012345678": Desired(Status.ACTIVE, "=cmd|' /C calc'!A0", 'a "b" \\ {c}: # d')}, ",")
@example({"01012345678": Desired(Status.ACTIVE, "two\nlines", "- x")}, ";")
def test_a_table_and_the_file_made_of_it_say_the_same(numbers: dict[str, Desired], delimiter: str) -> None:
    """Written as a table, read, written as a desired-state file and read again, every number says what it said."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(["phone", "status", "note", "owner", "protected"])
    for phone, want in numbers.items():
        writer.writerow([phone, want.status, want.note, want.owner, want.protected])
    found = read_csv("t.csv", file.getvalue().encode(), encoding="utf-8").numbers
    assert found == {phone: _composed(want) for phone, want in numbers.items()}
    loaded = load([("t.yaml", listed_yaml(found, name="main").encode())])
    (account,) = loaded.accounts
    assert account.name == "main"
    assert {phone: _plain(want) for phone, want in account.numbers.items()} == {
        phone: _plain(_composed(want)) for phone, want in numbers.items()
    }


@given(st.text("가나다라마바사아자차카타파하거너더러머버서고노도로모보소구누두루무부수홍길동김이박최", min_size=1))
def test_korean_text_is_read_in_the_encoding_that_it_is_in(note: str) -> None:
    """UTF-8 and CP949 are distinguished for any text."""
    for encoding in ("utf-8", "cp949"):
        data = f"전화번호,상태,메모\n01012345678,활성,{note}\n".encode(encoding)
        assert read_csv("t.csv", data).numbers == {"01012345678": Desired(Status.ACTIVE, note)}
        bare = f"phone,status,note\n01012345678,ACTIVE,{note}\n".encode(encoding)
        assert read_csv("t.csv", bare).numbers == {"01012345678": Desired(Status.ACTIVE, note)}


def _composed(want: Desired) -> Desired:
    """The number with texts in NFC."""
    note, owner = (text and normalize("NFC", text) for text in (want.note, want.owner))
    return replace(want, note=note, owner=owner)


def _plain(want: Desired) -> tuple[Status, str | None, str | None, bool]:
    """What a file keeps of a number: blanks of all kinds are plain ones."""
    note, owner = ("\n".join(map(safe, text.split("\n"))) if text else None for text in (want.note, want.owner))
    return want.status, note, owner, want.protected
