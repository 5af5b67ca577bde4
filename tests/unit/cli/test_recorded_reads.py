"""The state of accounts that an apply records for the status page."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.daemon import DaemonLog
from tests.support.ledgers import file_account
from worker.cli.runner import Session
from worker.config.settings import Settings
from worker.ledger.reads import RecordedRead
from worker.model.errors import LedgerError
from worker.model.plans import AccountPlan
from worker.plan.build import Draft, Terms
from worker.plan.policy import Selection

DRAFT = Draft(AccountPlan(account="main", account_id="7", counts={}), {})


async def recorded(terms: Terms, error: Exception | None = None) -> tuple[list[RecordedRead], list[dict[str, Any]]]:
    """Record one account. Return what the ledger received, and the log."""
    received: list[RecordedRead] = []

    async def record_reads(reads: list[RecordedRead]) -> None:
        if error is not None:
            raise error
        received.extend(reads)

    log = DaemonLog()
    session = Session(
        Settings(),
        *(SimpleNamespace(), log, SimpleNamespace()),  # type: ignore[arg-type]
        run_id="r1",
        stopped=asyncio.Event(),
        transport=SimpleNamespace(),  # type: ignore[arg-type]
        ledger=SimpleNamespace(record_reads=record_reads),  # type: ignore[arg-type]
        metering=SimpleNamespace(),  # type: ignore[arg-type]
    )
    await session.record_reads([file_account("main")], [DRAFT], [None], terms)
    return received, log.lines


async def test_run_over_some_numbers_records_nothing() -> None:
    (read,), _ = await recorded(Terms())
    assert (read.read.account, read.read.command) == ("main", "apply")
    assert await recorded(Terms(selection=Selection(only=frozenset({"0212345678"})))) == ([], [])


@pytest.mark.parametrize(("error", "events"), [(LedgerError("full"), []), (RuntimeError("bug"), ["account.failed"])])
async def test_error_does_not_hide_the_result_of_the_run(error: Exception, events: list[str]) -> None:
    received, lines = await recorded(Terms(), error)
    assert received == []
    assert [line["event"] for line in lines] == events
