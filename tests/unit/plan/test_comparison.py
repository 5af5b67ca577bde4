"""A saved plan compared with its current files: desired writes, and the reasons for the others."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from worker.config.desired import load
from worker.model.accounts import DesiredAccount, Observed, ObservedAccount, SourceFile, Status
from worker.model.credentials import CredentialsRef, SecretRef
from worker.model.messages import Message
from worker.model.plans import Action, Change, Notice, NoticeKind
from worker.model.ports import sources
from worker.model.safety import Safety
from worker.plan.comparison import (
    CurrentFiles,
    acknowledged_changes,
    missing_file_notices,
    stale_writes,
    with_earliest_ends,
)
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


def test_file_that_still_desires_the_plan_leaves_all_of_it() -> None:
    """Notes, other numbers, a pin of the same account and the same endpoint by name change nothing."""
    text = f"account_id: '1'\nendpoint: solapi\nnumbers:\n  {ON}: {{status: ACTIVE, note: new}}\n  {OFF}: INACTIVE\n"
    assert _reasons(f"{text}  01000000003: ACTIVE") == {}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("INACTIVE", "main.yaml:4 now desires INACTIVE: plan again"),
        ("{status: ACTIVE, protected: true}", "main.yaml:4 protects this number now: plan again"),
        (
            "{status: ACTIVE, acknowledge: {reason: known, until: 2026-12-31}}",
            "main.yaml:4 acknowledges the status of this number now: plan again",
        ),
        ("{status: ACTIVE, until: 2026-11-01}", "main.yaml:4 has no desired status at this time: plan again"),
        ("{status: ACTIVE, until: 2026-11-01, then: INACTIVE}", "main.yaml:4 now desires INACTIVE: plan again"),
    ],
)
def test_write_is_stale_if_the_file_desires_another_status(entry: str, reason: str) -> None:
    """The reason names the line and its current content. The other number of the plan stays."""
    assert _reasons(f"numbers:\n  {OFF}: INACTIVE\n  {ON}: {entry}") == {ON: reason}


def test_schedule_is_evaluated_at_the_given_time() -> None:
    """The write is desired until the status ends, and is stale from then on."""
    files = CurrentFiles(_account(f"numbers:\n  {ON}: {{status: ACTIVE, until: '2026-11-24T09:00+09:00'}}"))
    saved = replace(SAVED, changes=SAVED.changes[:1])
    end = datetime(2026, 11, 24, tzinfo=UTC)
    assert stale_writes(saved, files, end.replace(day=23, hour=23, minute=59, second=59)) == {}
    assert stale_writes(saved, files, end) == {ON: "main.yaml:3 has no desired status at this time: plan again"}


@pytest.mark.parametrize(
    ("planned", "entry", "until"),
    [
        (None, "ACTIVE", None),
        ("2026-11-25T00:00:00Z", "ACTIVE", "2026-11-25T00:00:00Z"),
        (None, "{status: ACTIVE, until: '2026-11-25T09:00+09:00'}", "2026-11-25T00:00:00Z"),
        ("2026-11-26T00:00:00Z", "{status: ACTIVE, until: '2026-11-25T09:00+09:00'}", "2026-11-25T00:00:00Z"),
        ("2026-11-24T12:00:00Z", "{status: ACTIVE, until: '2026-11-25T09:00+09:00'}", "2026-11-24T12:00:00Z"),
    ],
)
def test_write_ends_at_the_earlier_end_of_plan_and_file(planned: str | None, entry: str, until: str | None) -> None:
    changes = (replace(SAVED.changes[0], until=planned), SAVED.changes[1])
    changes_with_ends = with_earliest_ends(changes, CurrentFiles(_account(f"numbers: {{{ON}: {entry}}}")), NOW)
    assert [change.until for change in changes_with_ends] == [until, None]
    assert with_earliest_ends(changes, CurrentFiles(None, ("main.yaml",)), NOW) == changes


@pytest.mark.parametrize("policy", ["report", "ignore", "deactivate"])
def test_write_is_stale_if_the_number_is_no_longer_listed(policy: str) -> None:
    """A planned deactivation stays if the file deactivates unlisted numbers."""
    unlisted = "this number is no longer listed in main.yaml: plan again"
    expected = {ON: unlisted} if policy == "deactivate" else {ON: unlisted, OFF: unlisted}
    assert _reasons(f"unmanaged: {policy}\nnumbers: {{}}") == expected


def test_all_writes_are_stale_if_no_file_has_the_account() -> None:
    """The reason names each file of the plan once."""
    reason = "account 'main' is no longer in main.yaml, sales.yaml: plan again"
    assert stale_writes(SPLIT, CurrentFiles(None), NOW) == {ON: reason, OFF: reason}


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
def test_all_writes_are_stale_if_the_file_is_of_another_account(key: str, reason: str) -> None:
    """Another pin, endpoint or credentials make it another account, whatever its numbers."""
    assert _reasons(f"{key}\nnumbers: {{{ON}: ACTIVE, {OFF}: INACTIVE}}") == {ON: reason, OFF: reason}


def test_removed_credentials_are_different_credentials() -> None:
    """The account would use the default credentials. If a file is missing, it may have the credentials."""
    saved = replace(SAVED, credentials=OTHER)
    listed = f"numbers: {{{ON}: ACTIVE, {OFF}: INACTIVE}}"
    assert set(_reasons(listed, saved)) == {ON, OFF}
    assert _reasons(listed, saved, "sales.yaml") == {}


def test_numbers_of_a_missing_file_are_assumed_unchanged() -> None:
    """A number that the other files do not list stays; one for which they desire another status is stale."""
    assert stale_writes(SPLIT, CurrentFiles(None, ("main.yaml", "sales.yaml")), NOW) == {}
    assert stale_writes(SPLIT, CurrentFiles(None, from_stdin=True), NOW) == {}
    assert _reasons("numbers: {}", SPLIT, "sales.yaml") == {}
    assert _reasons(f"numbers: {{{OFF}: ACTIVE}}", SPLIT, "sales.yaml") == {
        OFF: "main.yaml:2 now desires ACTIVE: plan again"
    }


def test_reason_names_the_file_that_lists_the_number() -> None:
    """Lines count within one file of a split account. A number that no file lists names all files."""
    account = _account(f"numbers: {{{OFF}: ACTIVE}}")
    account = replace(account, parts=(SourceFile("sales.yaml"),), elsewhere={OFF: "sales.yaml"})
    assert stale_writes(SPLIT, CurrentFiles(account), NOW) == {
        ON: "this number is no longer listed in main.yaml, sales.yaml: plan again",
        OFF: f"sales.yaml:{account.lines[0]} now desires ACTIVE: plan again",
    }


def test_missing_files_are_a_notice() -> None:
    """The notice names each missing file and both options. Standard input has a notice of its own."""
    assert missing_file_notices(CurrentFiles(_account("numbers: {}"))) == ()
    message = (
        "main.yaml, sales.yaml not found, so the plan was not compared with the desired state; pass --files FOLDER if "
        "the files moved, or --no-files if they no longer exist"
    )
    notice = Notice(NoticeKind.FILES, message)
    assert missing_file_notices(CurrentFiles(None, ("main.yaml", "sales.yaml"))) == (notice,)
    stdin = Notice(
        NoticeKind.FILES, "the plan was made from standard input, so it was not compared with the desired state"
    )
    assert missing_file_notices(CurrentFiles(None, from_stdin=True)) == (stdin,)
    assert missing_file_notices(CurrentFiles(None, ("main.yaml", "sales.yaml"), from_stdin=True)) == (stdin, notice)


def test_files_of_a_split_account_are_listed_once() -> None:
    """Two documents of one file are one file."""
    assert sources(SAVED) == ("main.yaml",)
    assert sources(SPLIT) == ("main.yaml", "sales.yaml")


def test_write_of_a_number_that_is_ignored_now_is_stale() -> None:
    """Although unlisted numbers are deactivated."""
    unlisted = f"unmanaged: deactivate\nnumbers: {{{ON}: ACTIVE}}"
    assert _reasons(unlisted) == {}
    reason = "main.yaml ignores this number now: plan again"
    assert _reasons(f"ignore: [{OFF}]\n{unlisted}") == {OFF: reason}
    assert _reasons(f"ignore: [{OFF}]\n{unlisted}", SAVED, "b.yaml") == {OFF: reason}


KNOWN = Change(ON, Action.ACKNOWLEDGED, "PENDING", "ACTIVE", "acknowledged until …")


@pytest.mark.parametrize(
    ("entry", "is_stale"),
    [
        ("{status: ACTIVE, acknowledge: {reason: x, until: 2099-12-31, observed: PENDING}}", False),
        ("{status: ACTIVE, acknowledge: {reason: x, until: 2026-11-01, observed: PENDING}}", True),
        ("{status: ACTIVE, acknowledge: {reason: x, until: 2099-12-31}}", True),
        ("INACTIVE", True),
    ],
)
def test_acknowledgement_in_a_plan_is_stale_once_the_files_do_not_acknowledge_it(entry: str, *, is_stale: bool) -> None:
    """The acknowledgement has ended, covers another status, or is no longer in the file."""
    saved = replace(SAVED, changes=(), impossible=(KNOWN, replace(KNOWN, phone=OFF, action=Action.BLOCKED)))
    reason = "main.yaml:3 no longer acknowledges the status of this number: plan again"
    assert _reasons(f"numbers:\n  {ON}: {entry}", saved) == ({ON: reason} if is_stale else {})


def test_acknowledged_changes_are_those_of_the_files_and_else_of_the_plan() -> None:
    saved = replace(SAVED, impossible=(KNOWN,))
    observed = ObservedAccount("1", {phone: Observed(phone, Status.PENDING) for phone in (ON, OFF)})
    entry = "{status: ACTIVE, acknowledge: {reason: x, until: 2099-12-31, observed: PENDING}}"

    def phones(files: CurrentFiles | None) -> list[str]:
        return [change.phone for change in acknowledged_changes(saved, files, observed, NOW)]

    assert phones(None) == phones(CurrentFiles(None)) == [ON]
    assert phones(CurrentFiles(_account(f"numbers: {{{OFF}: {entry}}}"))) == [OFF, ON]
    assert phones(CurrentFiles(_account(f"numbers: {{{ON}: ACTIVE}}"))) == []
