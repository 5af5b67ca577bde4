"""Status-page accounts that need attention."""

from typing import Any

import pytest

from worker.model.history import Ending
from worker.model.results import Outcome
from worker.model.status_page import AccountState, is_unread, platform


def account_state(**fields: Any) -> AccountState:
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
    return AccountState(**values | fields)


@pytest.mark.parametrize(
    ("fields", "calm"),
    [
        ({}, True),
        ({"settled": False}, False),
        ({"counts": {"failed": 1}}, False),
        *(({"outcome": outcome}, outcome is Ending.CONVERGED) for outcome in Ending),
    ],
)
def test_account_is_converged_if_its_run_converged_and_settled(fields: dict[str, Any], *, calm: bool) -> None:
    assert account_state(**fields).is_calm is calm


def test_held_and_protected_numbers_are_in_sync() -> None:
    counts = {outcome.value: 1 for outcome in Outcome}
    names = {outcome for outcome in Outcome if account_state(counts={outcome.value: 1}).differing}
    assert names == {
        Outcome.FAILED,
        Outcome.BLOCKED,
        Outcome.MISSING,
        Outcome.CONFLICT,
        Outcome.UNVERIFIED,
        Outcome.NOT_ATTEMPTED,
    }
    assert account_state(counts=counts).differing == len(names)


def test_platform_of_a_key_may_have_blanks() -> None:
    assert platform("https://api.example a b 12925149") == "https://api.example a b"


def test_accounts_that_could_not_be_read_share_a_key_without_an_id() -> None:
    assert [is_unread(key) for key in ("vendor None", "vendor 7", "vendorNone")] == [True, False, False]
