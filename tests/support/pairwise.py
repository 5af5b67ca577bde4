"""Tables of rows in which every two values of different parameters meet."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

__all__ = ["pairwise"]

Value = TypeVar("Value", bound=Hashable)


def pairwise(
    parameters: Mapping[str, Sequence[Value]], allowed: Callable[[Mapping[str, Value]], bool] = lambda _: True
) -> list[dict[str, Value]]:
    """Return rows with a value of each parameter, the same ones in every process.

    Every two values of two parameters are in a row together, unless `allowed` rejects them. It is given rows that are
    not complete yet as well.
    """
    missing = {
        (one, first, other, second): None
        for one, other in combinations(parameters, 2)
        for first in parameters[one]
        for second in parameters[other]
        if allowed({one: first, other: second})
    }
    rows = []
    while missing:
        one, first, other, second = next(iter(missing))
        row = {one: first, other: second}
        for name in sorted(parameters.keys() - row.keys(), key=list(parameters).index):
            fitting = [value for value in parameters[name] if allowed({**row, name: value})]
            row[name] = max(fitting, key=lambda value: len(_pairs({**row, name: value}, parameters) & missing.keys()))
        for pair in _pairs(row, parameters):
            missing.pop(pair, None)
        rows.append({name: row[name] for name in parameters})
    return rows


def _pairs(row: Mapping[str, Value], parameters: Mapping[str, object]) -> set[tuple[str, Value, str, Value]]:
    given = [name for name in parameters if name in row]
    return {(one, row[one], other, row[other]) for one, other in combinations(given, 2)}
