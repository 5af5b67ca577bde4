"""Which accounts of the status page need attention."""

from typing import Any

import pytest

from worker.model.history import Ending
from worker.model.results import Outcome
from worker.model.status_page import AccountState


def state(**more: Any) -> AccountState:
    """Return the state of an account after a run that converged."""
    values: dict[str, Any] = {
        "position": 1,
        "key": "solapi 7",
        "account": "main",
        "run_id": "r1",
        "outcome": Ending.CONVERGED,
        "started_at": "2026-11-24T00:00:00Z",
        "finished_at": "2026-11-24T00:00:01Z",
        "counts": {"changed": 2, "unchanged": 9},
        "error": None,
        "settled": True,
    }
    return AccountState(**values | more)


@pytest.mark.parametrize(
    ("more", "calm"),
    [
        ({}, True),
        ({"settled": False}, False),
        ({"counts": {"failed": 1}}, False),
        *(({"outcome": outcome}, outcome is Ending.CONVERGED) for outcome in Ending),
    ],
)
def test_an_account_is_calm_if_it_converged_and_every_write_is_known(more: dict[str, Any], *, calm: bool) -> None:
    assert state(**more).calm is calm


def test_numbers_that_an_operator_held_or_protected_are_in_sync() -> None:
    counts = {outcome.value: 1 for outcome in Outcome}
    names = {outcome for outcome in Outcome if state(counts={outcome.value: 1}).differing}
    assert names == {
        Outcome.FAILED,
        Outcome.BLOCKED,
        Outcome.MISSING,
        Outcome.CONFLICT,
        Outcome.UNVERIFIED,
        Outcome.NOT_ATTEMPTED,
    }
    assert state(counts=counts).differing == len(names)
