"""When nothing is to be written, as settings and files say it."""

from datetime import UTC, datetime

import pytest

from worker.config import desired
from worker.config.settings import load
from worker.model.errors import DesiredStateError, SettingsError
from worker.model.suspension import Maintenance, Suspend, parse_until

NOW = datetime(2026, 12, 1, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-12-01", datetime(2026, 11, 30, 15, 0, tzinfo=UTC)),
        ("2026-12-01T09:00", datetime(2026, 12, 1, 0, 0, tzinfo=UTC)),
        ("2026-12-01 09:00:30", datetime(2026, 12, 1, 0, 0, 30, tzinfo=UTC)),
        ("2026-12-01T09:00Z", datetime(2026, 12, 1, 9, 0, tzinfo=UTC)),
        ("2026-12-01T09:00+01:00", datetime(2026, 12, 1, 8, 0, tzinfo=UTC)),
    ],
)
def test_moments_are_korean_unless_they_say_otherwise(text: str, found: datetime) -> None:
    """A date is its midnight; an offset is believed."""
    assert parse_until(text) == found


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2026-13-01", "20261201", "2026-12-01T25:00", "0001-01-01", "2026-12-01T09", "2026-W01-1"]
)
def test_invalid_moment_is_refused(text: str) -> None:
    """The message has valid spellings."""
    with pytest.raises(ValueError, match="2026-12-01T09:00"):
        parse_until(text)


def test_any_of_the_three_suspends_until_the_time_is_over() -> None:
    """Nothing given is no suspension; a time that is past ends one, to the second."""
    assert not Suspend().is_in_force(NOW)
    assert Suspend(reason="moving").is_in_force(NOW)
    assert Suspend(by="kim").is_in_force(NOW)
    assert Suspend(until="2026-12-01T09:00:01").is_in_force(NOW)
    assert not Suspend("moving", "kim", "2026-12-01T09:00").is_in_force(NOW)


def _loaded(suspend: str) -> Suspend | None:
    text = f"version: 1\nsuspend: {suspend}\nnumbers: {{}}\n"
    return desired.load([("a.yaml", text.encode())]).accounts[0].suspend


def test_a_file_suspends_its_account() -> None:
    """All three keys are read as they stand."""
    assert _loaded("{reason: moving, by: kim, until: 2026-12-01}") == Suspend("moving", "kim", "2026-12-01")
    assert _loaded("{reason: moving}") == Suspend("moving")


@pytest.mark.parametrize(
    ("suspend", "message"),
    [
        ("true", "a.yaml:2:10: suspend must be {reason: …}"),
        ("{}", "suspend is empty"),
        ("{until: soon}", "a.yaml:2:18: invalid until"),
        ("{reason: }", "reason is empty"),
        ("{whom: kim}", "whom"),
    ],
)
def test_wrong_suspension_is_reported_at_its_place(suspend: str, message: str) -> None:
    """Each mistake has its line and column."""
    with pytest.raises(DesiredStateError) as caught:
        _loaded(suspend)
    assert message in str(caught.value)


def test_settings_suspend_everything() -> None:
    """The section and the environment both may; a wrong time is reported at its place."""
    found = load(("w.yaml", b"suspend: {reason: audit}\n"), {"SENDERID_SUSPEND__BY": "kim"}, {})
    assert found.suspend == Suspend("audit", "kim")
    with pytest.raises(SettingsError) as caught:
        load(("w.yaml", b"suspend: {until: soon}\n"), {}, {})
    assert "w.yaml:1:18: invalid until" in str(caught.value)


def test_a_file_has_a_maintenance_window() -> None:
    """It has times of every week, in any of their spellings, and a reason where one is given."""
    (found,) = desired.load(
        [("a.yaml", b"version: 1\nmaintenance: {weekly: 'sun 2:00-4:00', reason: backup}\nnumbers: {}\n")]
    ).accounts
    assert found.maintenance == Maintenance("sun 2:00-4:00", "backup")


@pytest.mark.parametrize(
    ("maintenance", "message"),
    [
        ("3", "a.yaml:2:14: maintenance must be {weekly:"),
        ("{reason: backup}", "a.yaml:2:14: maintenance must be {weekly:"),
        ("{weekly: often}", "a.yaml:2:23: not a weekly window"),
        ("{weekly: Son 1:00-2:00}", "a.yaml:2:23: unknown day 'son'"),
        ("{weekly: Sun 1:00-2:00, until: 3}", "a.yaml:2:38: unknown key 'until'"),
    ],
)
def test_wrong_maintenance_window_is_reported_at_its_place(maintenance: str, message: str) -> None:
    """An invalid weekly time is exit status 65, with its line and column."""
    with pytest.raises(DesiredStateError) as caught:
        desired.load([("a.yaml", f"version: 1\nmaintenance: {maintenance}\nnumbers: {{}}\n".encode())])
    assert str(caught.value.problems[0]).startswith(message)
