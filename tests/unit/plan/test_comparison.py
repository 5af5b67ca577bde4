"""A saved plan compared with its files as they are now: which writes they still ask for, and why not the others."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from worker.config.desired import load
from worker.model.accounts import DesiredAccount, SourceFile
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.messages import Message
from worker.model.plans import Action, Change, Notice, NoticeKind
from worker.model.ports import sources
from worker.model.safety import Safety
from worker.plan.comparison import CurrentFiles, missing_file_notices, stale_writes, with_current_ends
from worker.plan.planfile import SavedAccount

ON, OFF = "01000000001", "01000000002"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
OTHER = CredentialsRef(SecretRef(env="KEY"), SecretRef(env="SECRET"))

SAVED = SavedAccount(
    account="main",
    account_id="1",
    source="main.yaml",
    endpoint="solapi",
    credentials=None,
    safety=Safety(),
    changes=(
        Change(ON, Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed as ACTIVE"),
        Change(OFF, Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE"),
    ),
)
SPLIT = replace(SAVED, parts=(SourceFile("sales.yaml"), SourceFile("main.yaml", line=9)))


def _account(text: str) -> DesiredAccount:
    (account,) = load([("main.yaml", f"version: 1\n{text}\n".encode())]).accounts
    return account


def _reasons(text: str, saved: SavedAccount = SAVED, *missing: str) -> dict[str, Message]:
    return stale_writes(saved, CurrentFiles(_account(text), missing), NOW)


def test_a_file_that_still_asks_for_the_plan_leaves_all_of_it() -> None:
    """Notes, other numbers, a pin of the same account and the same endpoint by name change nothing."""
    text = f"account_id: '1'\nendpoint: solapi\nnumbers:\n  {ON}: {{status: ACTIVE, note: new}}\n  {OFF}: INACTIVE\n"
    assert _reasons(f"{text}  01000000003: ACTIVE") == {}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("INACTIVE", "main.yaml:4 now desires INACTIVE: plan again"),
        ("{status: ACTIVE, protected: true}", "main.yaml:4 protects this number now: plan again"),
        ("{status: ACTIVE, until: 2026-11-01}", "main.yaml:4 has no desired status at this time: plan again"),
        ("{status: ACTIVE, until: 2026-11-01, then: INACTIVE}", "main.yaml:4 now desires INACTIVE: plan again"),
    ],
)
def test_a_number_that_its_file_now_wants_otherwise_is_no_longer_asked_for(entry: str, reason: str) -> None:
    """The reason names the line and what it says now; the other number of the plan stays."""
    assert _reasons(f"numbers:\n  {OFF}: INACTIVE\n  {ON}: {entry}") == {ON: reason}


def test_the_moment_decides_what_a_schedule_asks_for() -> None:
    """Until the instant at which the status ends the write is asked for, and from then on it is not."""
    files = CurrentFiles(_account(f"numbers:\n  {ON}: {{status: ACTIVE, until: '2026-11-24T09:00+09:00'}}"))
    saved = replace(SAVED, changes=SAVED.changes[:1])
    end = datetime(2026, 11, 24, tzinfo=UTC)
    assert stale_writes(saved, files, end.replace(day=23, hour=23, minute=59, second=59)) == {}
    assert stale_writes(saved, files, end) == {ON: "main.yaml:3 has no desired status at this time: plan again"}


@pytest.mark.parametrize(
    ("planned", "filed", "until"),
    [
        (None, "ACTIVE", None),
        ("2026-11-25T00:00:00Z", "ACTIVE", "2026-11-25T00:00:00Z"),
        (None, "{status: ACTIVE, until: '2026-11-25T09:00+09:00'}", "2026-11-25T00:00:00Z"),
        ("2026-11-26T00:00:00Z", "{status: ACTIVE, until: '2026-11-25T09:00+09:00'}", "2026-11-25T00:00:00Z"),
        ("2026-11-24T12:00:00Z", "{status: ACTIVE, until: '2026-11-25T09:00+09:00'}", "2026-11-24T12:00:00Z"),
    ],
)
def test_a_write_ends_when_its_plan_or_its_file_says_so(planned: str | None, filed: str, until: str | None) -> None:
    """The sooner of both counts."""
    changes = (replace(SAVED.changes[0], until=planned), SAVED.changes[1])
    found = with_current_ends(changes, CurrentFiles(_account(f"numbers: {{{ON}: {filed}}}")), NOW)
    assert [change.until for change in found] == [until, None]
    assert with_current_ends(changes, CurrentFiles(None, ("main.yaml",)), NOW) == changes


@pytest.mark.parametrize("policy", ["report", "ignore", "deactivate"])
def test_a_number_that_is_no_longer_listed_is_not_written(policy: str) -> None:
    """Unless the file has unlisted numbers deactivated, and that is what the plan does."""
    unlisted = "this number is no longer listed in main.yaml: plan again"
    expected = {ON: unlisted} if policy == "deactivate" else {ON: unlisted, OFF: unlisted}
    assert _reasons(f"unmanaged: {policy}\nnumbers: {{}}") == expected


def test_an_account_that_no_file_has_any_more_is_not_written() -> None:
    """Every number of it has the reason, which names the plan's files, each once."""
    lost = "account 'main' is no longer in main.yaml, sales.yaml: plan again"
    assert stale_writes(SPLIT, CurrentFiles(None), NOW) == {ON: lost, OFF: lost}


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("account_id: '2'", "the account_id in main.yaml differs from the plan: plan again"),
        ("endpoint: coolsms", "the endpoint in main.yaml differs from the plan: plan again"),
        (
            "credentials: {api_key: {env: KEY}, api_secret: {env: SECRET}}",
            "the credentials in main.yaml differ from the plan: plan again",
        ),
    ],
)
def test_a_document_of_another_account_asks_for_nothing_of_the_plan(key: str, reason: str) -> None:
    """Another pin, endpoint or credentials: whatever the numbers say, they are of another account."""
    assert _reasons(f"{key}\nnumbers: {{{ON}: ACTIVE, {OFF}: INACTIVE}}") == {ON: reason, OFF: reason}


def test_credentials_that_a_document_names_no_longer_are_others() -> None:
    """It now is reached with the default ones; where a file is missing, that one may name them."""
    saved = replace(SAVED, credentials=OTHER)
    listed = f"numbers: {{{ON}: ACTIVE, {OFF}: INACTIVE}}"
    assert set(_reasons(listed, saved)) == {ON, OFF}
    assert _reasons(listed, saved, "sales.yaml") == {}


def test_what_only_a_missing_file_could_say_is_taken_as_unchanged() -> None:
    """A number that the files at hand do not list stays; one that they want otherwise does not."""
    assert stale_writes(SPLIT, CurrentFiles(None, ("main.yaml", "sales.yaml")), NOW) == {}
    assert _reasons("numbers: {}", SPLIT, "sales.yaml") == {}
    assert _reasons(f"numbers: {{{OFF}: ACTIVE}}", SPLIT, "sales.yaml") == {
        OFF: "main.yaml:2 now desires ACTIVE: plan again"
    }


def test_of_a_split_account_the_file_that_lists_a_number_is_named() -> None:
    """Lines count within one file each. A number that none of them lists is looked for in all."""
    account = _account(f"numbers: {{{OFF}: ACTIVE}}")
    account = replace(account, parts=(SourceFile("sales.yaml"),), elsewhere={OFF: "sales.yaml"})
    assert stale_writes(SPLIT, CurrentFiles(account), NOW) == {
        ON: "this number is no longer listed in main.yaml, sales.yaml: plan again",
        OFF: f"sales.yaml:{account.lines[0]} now desires ACTIVE: plan again",
    }


def test_files_that_are_not_there_are_a_notice() -> None:
    """It names each of them and both options; there is none where all were found."""
    assert missing_file_notices(CurrentFiles(_account("numbers: {}"))) == ()
    message = (
        "the plan was not compared with main.yaml, sales.yaml: not found; add --files with the folder that the files "
        "are in now, or --no-files if there are none"
    )
    assert missing_file_notices(CurrentFiles(None, ("main.yaml", "sales.yaml"))) == (Notice(NoticeKind.FILES, message),)


def test_the_files_of_a_split_account_are_named_once_each() -> None:
    """Two documents of one file are one file."""
    assert sources(SAVED) == ("main.yaml",)
    assert sources(SPLIT) == ("main.yaml", "sales.yaml")
