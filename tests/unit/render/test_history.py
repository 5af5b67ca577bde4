"""Runs of the ledger as text."""

import re
from textwrap import dedent

import pytest

from tests.support.records import account_record, attempt, history, number_record, run_record
from tests.support.snapshots import snapshot
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.errors import ErrorInfo, NumberError
from worker.model.history import AttemptState, Ending, RunRecord
from worker.model.plans import Action
from worker.model.results import Outcome
from worker.render.terminal import width
from worker.render.text import history as text

REJECTED = NumberError("InvalidSenderId", "not registered", 400)
HOSTILE = "\x1b[31m\nroot\u202e"


def golden(page: str) -> str:
    """Return an expected page without the indentation of this file."""
    return dedent(page).lstrip("\n")


def runs(*record: RunRecord, total: int | None = None, columns: int = 80) -> str:
    """Return runs as a table."""
    return text.runs(history(*record, total=total), color=False, width=columns)


def test_each_run_has_two_rows() -> None:
    """The first row has time, outcome, accounts and numbers; the second has id, command and user."""
    accounts = (account_record(), account_record(account="campaigns"))
    page = runs(
        run_record(account_record(), command="rollback 20261124T090012Z-a1b2c3", run_id="20261125T000000Z-ffffff"),
        run_record(*accounts, outcome=Ending.CRASHED, counts={"not_attempted": 1, "changed": 2_000, "unmanaged": 3}),
        run_record(
            account_record(), outcome=Ending.UNFINISHED, finished_at=None, counts={"activate": 2, "deactivate": 1}
        ),
        run_record(counts={}),
        run_record(account_record(), counts={"unchanged": 4}),
        total=7,
    )
    assert page == snapshot("history_runs.txt", page)


def test_no_runs_and_one_run() -> None:
    """Without runs there is a sentence instead of a table."""
    assert runs() == "No runs.\n"
    assert runs(run_record()).endswith("\n1 run.\n")
    assert text.number("01012345678", history(), color=False) == "No runs with 010-1234-5678.\n"


def test_number_with_more_runs_than_the_limit_says_how_to_list_them() -> None:
    page = text.number("01012345678", history(run_record(account_record(number_record())), total=1_200), color=False)
    assert page.endswith("\n1 of 1,200 runs with 010-1234-5678. To list all: --limit 0\n")


def test_run_is_shown_in_full() -> None:
    """A run has user, host, version and settings, each account its file, and each number its attempts."""
    rate_limited = attempt(1, AttemptState.REJECTED, error=NumberError("RateLimited", "the quota is used up", 429))
    record = run_record(
        account_record(
            number_record(
                "0212345678",
                outcome=Outcome.FAILED,
                after="INACTIVE",
                error=REJECTED,
                attempts=(attempt(1, AttemptState.REJECTED, error=REJECTED),),
                duration_ms=0,
            ),
            number_record(attempts=(rate_limited, attempt(2))),
            number_record("15881234", outcome=Outcome.MISSING, before=None, after=None, attempts=(), duration_ms=0),
            sha256="ab" * 32,
            commit="c0ffee-dirty",
            outcome=Ending.PARTIAL,
            error=ErrorInfo("DeadlineExceeded", "the time was up."),
        ),
        settings={"endpoint": "solapi", "retry": {"attempts": 5}, "ledger": {"path": None}},
        outcome=Ending.PARTIAL,
    )
    page = text.run(record, color=False)
    assert page == snapshot("history_run_in_full.txt", page)


def test_run_names_the_plan_file_that_it_applied() -> None:
    """The id of the file finds the run that used it up."""
    assert "\n  plan file 5f1c\n" in text.run(run_record(plan="5f1c"), color=False)
    assert "plan file" not in text.run(run_record(), color=False)


def test_run_without_an_end() -> None:
    """The page says that the run may have crashed and how to settle it. Its numbers are unfinished."""
    number = number_record(outcome=None, after=None, attempts=(attempt(1, AttemptState.INTENT),), duration_ms=0)
    account = account_record(
        number,
        outcome=Ending.UNFINISHED,
        finished_at=None,
        counts={"activate": 1},
        fingerprint="",
        account_id=None,
        credentials=CredentialsRef(SecretRef(env="MAIN_KEY"), SecretRef(file="/run/secrets/main")),
    )
    record = run_record(account, outcome=Ending.UNFINISHED, finished_at=None)
    page = text.run(record, color=False)
    assert page == snapshot("history_unfinished_run.txt", page)
    assert text.run(run_record(), color=False).endswith("\n\nNo accounts are recorded for this run.\n")


def test_credentials_from_a_command_are_shown_by_its_program() -> None:
    """The arguments of the command may name a secret."""
    reference = CredentialsRef(SecretRef(env="MAIN_KEY"), SecretRef(command=("pass", "show", "main")))
    page = text.run(run_record(account_record(credentials=reference)), color=False)
    assert "with credentials from $MAIN_KEY and the command pass\n" in page


def test_many_numbers_are_a_sample() -> None:
    """Of more than twenty numbers with one outcome, ten are shown with their attempts and the others are counted."""
    numbers = [number_record(f"0101234{n:04}") for n in range(21)]
    page = text.run(
        run_record(account_record(*numbers, number_record("15881234", outcome=Outcome.FAILED))), color=False
    )
    assert page.count("attempt 1") == 11
    assert "and 11 more, from 010-1234-0010 to 010-1234-0020" in page
    assert text.run(run_record(account_record(*numbers[:20])), color=False).count("attempt 1") == 20


def test_many_accounts_are_summarised() -> None:
    """Accounts after the twentieth are counted by outcome."""
    accounts = [account_record(account=f"shop-{n}") for n in range(25)]
    page = text.run(run_record(*accounts), color=False)
    assert "5 more accounts: converged, 1 changed (shop-20, shop-21, shop-22" in page
    assert "shop-0, shop-1, shop-2, shop-3, shop-4 and 20 more" not in runs(run_record(*accounts), columns=80)
    assert "shop-0, shop-1, sho…" in runs(run_record(*accounts))


def test_history_of_one_number_is_newest_first() -> None:
    """Each run has the outcome of the number. An account without numbers is shown too."""
    document = history(
        run_record(account_record(number_record(action=Action.DEACTIVATE, before="ACTIVE", after="INACTIVE"))),
        run_record(account_record(numbers=None), outcome=Ending.CRASHED),
    )
    page = text.number("01012345678", document, color=False)
    assert page == snapshot("history_number.txt", page)


@pytest.mark.parametrize("columns", [80, 120])
def test_untrusted_text_does_not_control_a_terminal(columns: int) -> None:
    """Names, errors and settings stay on their lines and within the width of the page."""
    number = number_record(error=NumberError(HOSTILE, HOSTILE * 30), outcome=Outcome.CONFLICT, after=HOSTILE)
    account = account_record(
        number, account=HOSTILE * 30, account_id=HOSTILE, source=HOSTILE, endpoint=HOSTILE, commit=HOSTILE
    )
    record = run_record(
        account,
        started_by=HOSTILE,
        host=HOSTILE,
        command=HOSTILE,
        settings={HOSTILE: HOSTILE},
        run_id=HOSTILE,
        counts={HOSTILE: 1},
        started_at="2026-11-24T09\x1b:00.000Z",
        finished_at=None,
    )
    pages = (
        text.run(record, color=False, width=columns),
        text.runs(history(record), color=False, width=columns),
        text.number("01012345678", history(record), color=False, width=columns),
    )
    for page in pages:
        assert all(line.isprintable() for line in page.splitlines())
        assert max(map(width, page.splitlines())) <= columns


def test_colours_change_only_escape_codes() -> None:
    record = run_record(account_record(number_record(), error=ErrorInfo("E", "text")), settings={"endpoint": "solapi"})
    pages = [
        (
            text.run(record, color=color),
            text.runs(history(record, total=3), color=color),
            text.number("01012345678", history(record), color=color),
        )
        for color in (True, False)
    ]
    for colored, uncoloured in zip(*pages, strict=True):
        assert "\x1b[" in colored
        assert re.sub("\x1b\\[[0-9]+m", "", colored) == uncoloured
