"""Tables of combinations."""

from itertools import combinations

from tests.support.pairwise import pairwise

PARAMETERS = {"a": "012", "b": "01", "c": "0123", "d": "01"}


def test_every_two_values_meet_in_a_row() -> None:
    rows = pairwise(PARAMETERS)
    for one, other in combinations(PARAMETERS, 2):
        met = {(row[one], row[other]) for row in rows}
        assert met == {(first, second) for first in PARAMETERS[one] for second in PARAMETERS[other]}
    assert len(rows) < 3 * 4 * 2


def test_rows_are_allowed() -> None:
    rows = pairwise(PARAMETERS, lambda row: not (row.get("a") == "0" and row.get("c") == "0"))
    assert rows
    assert {(row["a"], row["c"]) for row in rows} == {(a, c) for a in "012" for c in "0123"} - {("0", "0")}
