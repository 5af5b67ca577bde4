"""Untrusted texts in the ledger: they are stored whole, lose no row and fail no transaction."""

import json

import pytest

from tests.support.ledgers import clock, ledger, never_wait, rows, run_info
from worker.ledger import Database, Ledger, Subject
from worker.model.accounts import Status
from worker.model.errors import Ambiguous, ErrorInfo, NumberError, NumberRejected
from worker.model.plans import AccountPlan, Action, Change, tally
from worker.model.results import AccountResult, NumberResult, Outcome, RunOutcome
from worker.model.safety import Safety

PHONE, OTHER = "01012345678", "0212345678"
_SUBJECT = Subject(
    key="vendor 1", account="a", account_id="1", endpoint="solapi", credentials=None, safety=Safety(), source="a.yaml"
)
_HOSTILE = [
    "line\r\nbreak",
    "\x1b[2J\x1b]0;title\x07",
    "next\u2028line\u2029\x85",
    "\u202eright to left\u2066",
    "quote \" ' \\ ; -- $[0] {}",
    "'; DROP TABLE runs; --",
    "\ufffe\U0010ffff",
    "한국어 👨‍👩‍👧",
    "x" * 100_000,
]
_REPLACED = [
    ("nul\0in the middle", "nul\ufffdin the middle"),
    ("\0", "\ufffd"),
    ("half \ud800 a pair", "half \ufffd a pair"),
    ("\udc80\udcff", "\ufffd\ufffd"),
]


async def _record_responses(database: Database, text: str) -> None:
    """Record a run with two responses in one transaction; one of them has `text`, as has the end of the run."""
    changes = tuple(Change(phone, Action.ACTIVATE, "INACTIVE", "ACTIVE", "x") for phone in (PHONE, OTHER))
    plan = AccountPlan(account="a", account_id="1", counts=tally(Action, {}), changes=changes)
    error = NumberError(text, text, 400)
    numbers = [NumberResult(PHONE, Action.ACTIVATE, "ACTIVE", "INACTIVE", "INACTIVE", Outcome.FAILED, 1, error)]
    result = AccountResult(
        account="a", outcome=RunOutcome.PARTIAL, error=ErrorInfo(text, text), counts={}, numbers=tuple(numbers)
    )
    async with ledger(database) as run_ledger, run_ledger.lease(_SUBJECT, never_wait) as account_ledger:
        await account_ledger.record_plan(plan, "print")
        await account_ledger.intend([(phone, 1, Status.ACTIVE) for phone in (PHONE, OTHER)])
        account_ledger.record_response(PHONE, 1, NumberRejected(text, http_status=400, api_code=text))
        account_ledger.record_response(OTHER, 1, Ambiguous("lost"))
        await account_ledger.finish(result, {})
        await run_ledger.finish(RunOutcome.PARTIAL)


@pytest.mark.parametrize(("text", "stored"), [*((text, text) for text in _HOSTILE), *_REPLACED])
async def test_any_message_is_stored_without_losing_rows(database: Database, text: str, stored: str) -> None:
    """NUL and lone surrogates of the API text are replaced; the other rows of the transaction are stored too."""
    await _record_responses(database, text)
    attempts = rows(database, "SELECT phone, state, error_code, error_message FROM attempts ORDER BY phone")
    assert attempts == [(PHONE, "rejected", stored, stored), (OTHER, "ambiguous", "Ambiguous", "lost")]
    outcomes = rows(database, "SELECT phone, outcome, error_code, error_message FROM outcomes")
    assert (PHONE, "failed", stored, stored) in outcomes
    assert rows(database, "SELECT error_code, error_message FROM entries") == [(stored, stored)]
    assert json.loads(json.dumps(attempts))[0][3] == stored


async def test_undecodable_user_and_host_names_are_stored(database: Database) -> None:
    """Names of user and host with undecodable bytes do not prevent a run from starting."""
    run = run_info(started_by="ann\udcff", host="box\udcfe")
    async with Ledger(database, run, now=clock(), max_bytes=1 << 30):
        pass
    assert rows(database, "SELECT started_by, host FROM runs") == [("ann\ufffd", "box\ufffd")]
