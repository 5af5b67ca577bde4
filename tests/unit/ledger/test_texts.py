"""Texts of others in the ledger: kept whole, and whatever they hold, no row is lost and no transaction fails."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.ledgers import clock, ledger, never, started
from worker.ledger import Ledger, Subject
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
_MENDED = [
    ("nul\0in the middle", "nul\ufffdin the middle"),
    ("\0", "\ufffd"),
    ("half \ud800 a pair", "half \ufffd a pair"),
    ("\udc80\udcff", "\ufffd\ufffd"),
]


def _rows(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        return connection.execute(query).fetchall()


async def _answered(folder: Path, text: str) -> None:
    """A run in which two requests are answered in one transaction, one of them with a text, which also is its end."""
    changes = tuple(Change(phone, Action.ACTIVATE, "INACTIVE", "ACTIVE", "x") for phone in (PHONE, OTHER))
    plan = AccountPlan(account="a", account_id="1", counts=tally(Action, {}), changes=changes)
    error = NumberError(text, text, 400)
    numbers = [NumberResult(PHONE, Action.ACTIVATE, "ACTIVE", "INACTIVE", "INACTIVE", Outcome.FAILED, 1, error)]
    result = AccountResult(
        account="a", outcome=RunOutcome.PARTIAL, error=ErrorInfo(text, text), counts={}, numbers=tuple(numbers)
    )
    async with ledger(folder) as open_one, open_one.hold(_SUBJECT, never) as page:
        await page.begin(plan, "print")
        await page.intend([(phone, 1, Status.ACTIVE) for phone in (PHONE, OTHER)])
        page.record_answer(PHONE, 1, NumberRejected(text, http_status=400, api_code=text))
        page.record_answer(OTHER, 1, Ambiguous("lost"))
        await page.finish(result, {})
        await open_one.finish(RunOutcome.PARTIAL)


@pytest.mark.parametrize(("text", "kept"), [*((text, text) for text in _HOSTILE), *_MENDED])
async def test_any_message_is_kept_and_costs_no_row(tmp_path: Path, text: str, kept: str) -> None:
    """The API's text is kept except for NUL and lone surrogates; the rows beside it are there too."""
    await _answered(tmp_path, text)
    attempts = _rows(tmp_path, "SELECT phone, state, error_code, error_message FROM attempts ORDER BY phone")
    assert attempts == [(PHONE, "rejected", kept, kept), (OTHER, "ambiguous", "Ambiguous", "lost")]
    outcomes = _rows(tmp_path, "SELECT phone, outcome, error_code, error_message FROM outcomes")
    assert (PHONE, "failed", kept, kept) in outcomes
    assert _rows(tmp_path, "SELECT error_code, error_message FROM entries") == [(kept, kept)]
    assert json.loads(json.dumps(attempts))[0][3] == kept


async def test_a_user_without_a_name_that_can_be_shown_has_a_run(tmp_path: Path) -> None:
    """Names of user and host with undecodable bytes do not keep a run from beginning."""
    run = started(started_by="ann\udcff", host="box\udcfe")
    async with Ledger(tmp_path / "ledger.db", run, now=clock(), most_bytes=1 << 30):
        pass
    assert _rows(tmp_path, "SELECT started_by, host FROM runs") == [("ann\ufffd", "box\ufffd")]
