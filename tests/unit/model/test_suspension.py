"""Suspensions and maintenance windows of settings and files."""

from datetime import UTC, datetime

import pytest

from worker.config import desired
from worker.config.settings import load
from worker.model.errors import DesiredStateError, SettingsError
from worker.model.suspension import Maintenance, Suspend, parse_until

NOW = datetime(2026, 12, 1, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-01", datetime(2026, 11, 30, 15, 0, tzinfo=UTC)),
        ("2026-12-01T09:00", datetime(2026, 12, 1, 0, 0, tzinfo=UTC)),
        ("2026-12-01 09:00:30", datetime(2026, 12, 1, 0, 0, 30, tzinfo=UTC)),
        ("2026-12-01T09:00Z", datetime(2026, 12, 1, 9, 0, tzinfo=UTC)),
        ("2026-12-01T09:00+01:00", datetime(2026, 12, 1, 8, 0, tzinfo=UTC)),
    ],
)
def test_time_without_offset_is_korean_time(text: str, expected: datetime) -> None:
    """A date is its midnight."""
    assert parse_until(text) == expected


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2026-13-01", "20261201", "2026-12-01T25:00", "0001-01-01", "2026-12-01T09", "2026-W01-1"]
)
def test_invalid_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="2026-12-01T09:00"):
        parse_until(text)


def test_reason_by_or_until_suspends() -> None:
    """`until` ends the suspension to the second."""
    assert not Suspend().is_in_force(NOW)
    assert Suspend(reason="moving").is_in_force(NOW)
    assert Suspend(by="kim").is_in_force(NOW)
    assert Suspend(until="2026-12-01T09:00:01").is_in_force(NOW)
    assert not Suspend("moving", "kim", "2026-12-01T09:00").is_in_force(NOW)


def _load_suspend(suspend: str) -> Suspend | None:
    text = f"version: 1\nsuspend: {suspend}\nnumbers: {{}}\n"
    return desired.load([("a.yaml", text.encode())]).accounts[0].suspend


def test_suspension_of_a_file_is_read() -> None:
    assert _load_suspend("{reason: moving, by: kim, until: 2026-12-01}") == Suspend("moving", "kim", "2026-12-01")
    assert _load_suspend("{reason: moving}") == Suspend("moving")


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
def test_invalid_suspension_is_reported_at_its_location(suspend: str, message: str) -> None:
    with pytest.raises(DesiredStateError) as error:
        _load_suspend(suspend)
    assert message in str(error.value)


def test_suspension_of_settings_is_read_from_file_and_environment() -> None:
    settings = load(("w.yaml", b"suspend: {reason: audit}\n"), {"SENDERID_SUSPEND__BY": "kim"}, {})
    assert settings.suspend == Suspend("audit", "kim")
    with pytest.raises(SettingsError) as error:
        load(("w.yaml", b"suspend: {until: soon}\n"), {}, {})
    assert "w.yaml:1:18: invalid until" in str(error.value)


def test_maintenance_window_of_a_file_is_read() -> None:
    (account,) = desired.load(
        [("a.yaml", b"version: 1\nmaintenance: {weekly: 'sun 2:00-4:00', reason: backup}\nnumbers: {}\n")]
    ).accounts
    assert account.maintenance == Maintenance("sun 2:00-4:00", "backup")


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
def test_invalid_maintenance_window_is_reported_at_its_location(maintenance: str, message: str) -> None:
    with pytest.raises(DesiredStateError) as error:
        desired.load([("a.yaml", f"version: 1\nmaintenance: {maintenance}\nnumbers: {{}}\n".encode())])
    assert str(error.value.problems[0]).startswith(message)
