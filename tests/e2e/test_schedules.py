"""Schedules in plans for other times, applies, saved plans and calendars."""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from icalendar import Calendar
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from tests.e2e.conftest import Command, Serve, Served
from worker.model.times import format_utc
from worker.plan.planfile import seal, unseal
from worker.render.json_schema import schema
from worker.sandbox import SandboxAccount

SALE, OFFICE, MOVED, FREE = "01012345678", "0223124567", "0223124568", "15881234"

FILE = f"""\
version: 1
unmanaged: deactivate
numbers:
  {SALE}: {{status: INACTIVE, schedule: [{{from: 2037-12-01T09:00, until: 2037-12-22, status: ACTIVE, reason: sale}}]}}
  {OFFICE}: {{status: INACTIVE, schedule: [{{weekly: "Mon-Fri 09:00-18:00", status: ACTIVE}}]}}
  {MOVED}: {{status: INACTIVE, until: 2037-12-01T00:00, reason: moving, then: ACTIVE}}
  {FREE}: {{schedule: [{{until: 2026-01-01, status: ACTIVE}}]}}
"""
NUMBERS = {SALE: "INACTIVE", OFFICE: "INACTIVE", MOVED: "ACTIVE", FREE: "ACTIVE"}
ENVIRONMENT = {"SENDERID_SAFETY__MIN_ACTIVE": "0"}


def _changes(command: Command, *more: str) -> dict[str, Any]:
    result = command("plan", "-f", "main.yaml", "--format", "json", *more)
    assert result.returncode == 0, result.stderr
    plan = json.loads(result.stdout)
    return {change["phone"]: change for change in plan["accounts"][0]["changes"]}


@pytest.mark.usefixtures("served")
def test_plan_at_both_sides_of_a_window_start(command: Command) -> None:
    command.write("main.yaml", FILE)
    changes_before = _changes(command, "--at", "2037-12-01T08:59")
    assert {phone: change["action"] for phone, change in changes_before.items()} == {FREE: "unmanaged"}
    changes_after = _changes(command, "--at", "2037-12-01T09:00")
    assert {phone: change["action"] for phone, change in changes_after.items()} == {
        SALE: "activate",
        OFFICE: "activate",
        FREE: "unmanaged",
    }
    assert (changes_after[SALE]["reason"], changes_after[SALE]["until"]) == (
        "scheduled ACTIVE: sale",
        "2037-12-21T15:00:00Z",
    )
    assert (changes_after[OFFICE]["reason"], changes_after[OFFICE]["until"]) == (
        "scheduled ACTIVE: Mon-Fri 09:00-18:00",
        "2037-12-01T09:00:00Z",
    )
    assert changes_after[FREE]["reason"].startswith("no window is open")
    output = command("plan", "-f", "main.yaml", "--at", "2037-12-01T00:00Z").stdout
    assert "until 2037-12-22 00:00 KST" in output
    assert "This is the plan for 2037-12-01 09:00 KST" in " ".join(output.split())


def test_apply_writes_current_windows_only(served: Served, command: Command, account: SandboxAccount) -> None:
    now = datetime.now(UTC)
    first, last = (f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (-1, 1))
    command.write(
        "main.yaml",
        f"version: 1\nnumbers:\n"
        f"  {SALE}: {{status: INACTIVE, schedule: [{{from: '{first}', until: '{last}', status: ACTIVE}}]}}\n"
        f"  {OFFICE}: {{status: INACTIVE, schedule: [{{from: '{last}', status: ACTIVE}}]}}\n"
        f"  {MOVED}: {{status: INACTIVE, until: '{last}', then: ACTIVE}}\n"
        f"  {FREE}: {{schedule: [{{until: '{first}', status: INACTIVE}}]}}\n",
    )
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert account.statuses == {SALE: "ACTIVE", OFFICE: "INACTIVE", MOVED: "INACTIVE", FREE: "ACTIVE"}
    assert sorted(served.writes) == [(SALE, "ACTIVE"), (MOVED, "INACTIVE")]
    assert command("plan", "-f", "main.yaml", "--detailed-exitcode").returncode == 0
    assert command("drift", "-f", "main.yaml").returncode == 0


CLOCK = """
import sys
from datetime import datetime
from worker.cli.main import run
from worker.reconcile import fleet

class Clock(datetime):
    moments = iter(["2037-12-01T08:59:59+09:00", "2037-12-01T09:00:00+09:00"])

    @classmethod
    def fromtimestamp(cls, seconds, zone):
        return datetime.fromisoformat(next(cls.moments)).astimezone(zone)

fleet.datetime = Clock
sys.exit(run(sys.argv[1:]))
"""
"""The command with a clock that goes on from one second before a window to its beginning when it is read again."""


def test_window_that_starts_after_the_plan_refuses_it(served: Served, command: Command) -> None:
    entry = "{status: INACTIVE, schedule: [{from: 2037-12-01T09:00, status: ACTIVE}]}"
    command.write("main.yaml", f"version: 1\nnumbers:\n  {SALE}: {entry}\n  {OFFICE}: ACTIVE\n")
    arguments = ("apply", "-y", "-f", "main.yaml", "--format", "json")
    process = command.popen(*arguments, program=(sys.executable, "-c", CLOCK))
    result = json.loads(process.communicate(timeout=60)[0])
    assert process.returncode == 4
    assert result["accounts"][0]["error"]["code"] == "StalePlan"
    assert served.writes == []


def test_window_that_starts_in_an_account_without_writes_refuses_it(served: Served, command: Command) -> None:
    entry = "{status: INACTIVE, schedule: [{from: 2037-12-01T09:00, status: ACTIVE}]}"
    command.write("main.yaml", f"version: 1\nnumbers:\n  {SALE}: {entry}\n")
    process = command.popen("apply", "-y", "-f", "main.yaml", "--format", "json", program=(sys.executable, "-c", CLOCK))
    result = json.loads(process.communicate(timeout=60)[0])
    assert (process.returncode, result["accounts"][0]["error"]["code"]) == (4, "StalePlan")
    assert served.writes == []


def test_saved_plan_is_conflict_after_its_window(served: Served, command: Command, account: SandboxAccount) -> None:
    command.write(
        "main.yaml", f"version: 1\nnumbers:\n  {SALE}: {{status: ACTIVE, until: 2037-12-01}}\n  {OFFICE}: ACTIVE\n"
    )
    assert command("plan", "-f", "main.yaml", "--out", "plan.json").returncode == 0
    path = command.folder / "plan.json"
    now = datetime.now(UTC)
    plan = unseal(path.read_bytes(), now=now)
    (saved,) = plan.accounts
    assert {change.phone: change.until for change in saved.changes} == {SALE: "2037-11-30T15:00:00Z", OFFICE: None}
    over = tuple(replace(change, until=change.until and format_utc(now)) for change in saved.changes)
    path.write_bytes(seal(replace(plan, accounts=(replace(saved, changes=over),))))
    process = command("apply", "plan.json", "--format", "json")
    (result,) = json.loads(process.stdout)["accounts"]
    outcomes = {number["phone"]: number["outcome"] for number in result["numbers"]}
    assert (process.returncode, outcomes) == (3, {SALE: "conflict", OFFICE: "changed"})
    assert served.writes == [(OFFICE, "ACTIVE")]
    assert account.statuses[SALE] == "INACTIVE"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--at", "2037-12-01", "--out", "plan.json"], "--at and --out cannot be combined"),
        (["--at", "soon"], "--at 'soon': not a time: use a form such as 2026-12-01"),
    ],
)
def test_invalid_time_is_wrong_usage(serve: Serve, command: Command, arguments: list[str], message: str) -> None:
    served = serve(SandboxAccount.of({}))
    command.write("main.yaml", FILE)
    result = command("plan", "-f", "main.yaml", *arguments)
    assert result.returncode == 64
    assert message in " ".join(result.stderr.split())
    assert served.sandbox.wire == []


def test_time_without_offset_needs_one_zone(command: Command) -> None:
    command.write("a.yaml", "version: 1\nnumbers: {}\n")
    keys = "credentials: {api_key: {env: B_KEY}, api_secret: {env: B_SECRET}}"
    command.write("b.yaml", f"version: 1\ntimezone: Europe/Berlin\n{keys}\nnumbers: {{}}\n")
    files = ("-f", "a.yaml", "-f", "b.yaml")
    result = command("calendar", *files, "--from", "2037-12-01T09:00")
    assert result.returncode == 64
    assert "several time zones (Asia/Seoul, Europe/Berlin)" in result.stderr
    assert command("calendar", *files, "--from", "2037-12-01T09:00Z").returncode == 0


def test_calendar_names_the_extra_for_icalendar(command: Command) -> None:
    """Without the library, the message says what to install, and no file is written."""
    command.write("main.yaml", FILE)
    command.write("sitecustomize.py", "import sys\nsys.modules['icalendar'] = None\n")
    command.environment["PYTHONPATH"] = str(command.folder)
    result = command("calendar", "-f", "main.yaml", "--format", "icalendar")
    assert (result.returncode, result.stdout) == (64, "")
    assert "pip install '.[calendar]'" in result.stderr


def test_calendar_works_without_an_account(command: Command) -> None:
    command.write("main.yaml", FILE)
    arguments = ("calendar", "-f", "main.yaml", "--from", "2037-12-01", "--days", "1")
    text = command(*arguments).stdout
    assert "2037-12-01 Tue" in text
    assert "09:00 KST  010-1234-5678  INACTIVE → ACTIVE" in text
    closing = (
        "4 changes from 2037-12-01 00:00 KST until 2037-12-02 00:00 KST. The next change after that is at 2037-12-"
    )
    assert closing in " ".join(text.split())
    document = json.loads(command(*arguments, "--format", "json").stdout)
    Draft202012Validator(schema("calendar")).validate(document)
    due = [(change["at"], change["phone"], change["after"]) for change in document["accounts"][0]["due"]]
    assert due == [
        ("2037-11-30T15:00:00Z", MOVED, "ACTIVE"),
        ("2037-12-01T00:00:00Z", SALE, "ACTIVE"),
        ("2037-12-01T00:00:00Z", OFFICE, "ACTIVE"),
        ("2037-12-01T09:00:00Z", OFFICE, "INACTIVE"),
    ]
    assert command(*arguments, "--format", "icalendar", "--output", "due.ics").returncode == 0
    once, second = (
        {str(event["UID"]): event.decoded("DTSTART") for event in Calendar.from_ical(data).walk("VEVENT")}
        for data in (
            (command.folder / "due.ics").read_bytes(),
            command(*arguments, "--format", "icalendar").stdout,
        )
    )
    assert once == second
    assert sorted(moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in once.values()) == [at for at, _, _ in due]
    assert command(*arguments, "--account", "other").returncode == 64
