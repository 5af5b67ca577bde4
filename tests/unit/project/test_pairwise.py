"""Pairwise combinations of parameters."""

from itertools import combinations

from tests.support.pairwise import pairwise

PARAMETERS = {"a": "012", "b": "01", "c": "0123", "d": "01"}


def test_every_pair_of_values_is_in_a_row() -> None:
    rows = pairwise(PARAMETERS)
    for first_name, second_name in combinations(PARAMETERS, 2):
        pairs = {(row[first_name], row[second_name]) for row in rows}
        assert pairs == {(first, second) for first in PARAMETERS[first_name] for second in PARAMETERS[second_name]}
    assert len(rows) < 3 * 4 * 2


def test_rows_satisfy_the_constraint() -> None:
    rows = pairwise(PARAMETERS, lambda row: not (row.get("a") == "0" and row.get("c") == "0"))
    assert rows
    assert {(row["a"], row["c"]) for row in rows} == {(a, c) for a in "012" for c in "0123"} - {("0", "0")}
