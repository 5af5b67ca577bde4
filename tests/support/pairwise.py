"""Tables in which every two values of different parameters occur together in a row."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import TypeVar

__all__ = ["pairwise"]

Value = TypeVar("Value", bound=Hashable)


def pairwise(
    parameters: Mapping[str, Sequence[Value]], allowed: Callable[[Mapping[str, Value]], bool] = lambda _: True
) -> list[dict[str, Value]]:
    """Return rows with a value of each parameter. The result is the same in every process.

    Every two values of two parameters occur together in a row, unless `allowed` rejects the pair. `allowed` is also
    called with incomplete rows.
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
            values = [value for value in parameters[name] if allowed({**row, name: value})]
            row[name] = max(values, key=lambda value: len(_pairs({**row, name: value}, parameters) & missing.keys()))
        for pair in _pairs(row, parameters):
            missing.pop(pair, None)
        rows.append({name: row[name] for name in parameters})
    return rows


def _pairs(row: Mapping[str, Value], parameters: Mapping[str, object]) -> set[tuple[str, Value, str, Value]]:
    names = [name for name in parameters if name in row]
    return {(one, row[one], other, row[other]) for one, other in combinations(names, 2)}
