"""Times relative to now, and in a zone."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.render.i18n import use_language
from worker.render.relative import local, relative

NOW = "2026-11-24T00:00:00Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s ago"),
        (-119, "119 s ago"),
        (-120, "2 min ago"),
        (-7199, "119 min ago"),
        (-7200, "2 h ago"),
        (-86_400, "24 h ago"),
        (-172_800, "2 d ago"),
        (40, "in 40 s"),
        (2400, "in 40 min"),
    ],
)
def test_time_is_relative_to_now(seconds: int, text: str) -> None:
    moment = datetime.fromisoformat(NOW) + timedelta(seconds=seconds)
    assert relative(moment.astimezone(UTC).isoformat(), NOW) == text


def test_korean_has_no_space_before_a_unit() -> None:
    with use_language("ko"):
        assert relative("2026-11-23T21:00:00.500Z", NOW) == "3시간 전"
        assert relative("2026-11-24T00:40:00Z", NOW) == "40분 후"


def test_time_is_shown_in_a_zone_and_in_utc() -> None:
    assert local("2026-11-24T00:20:00Z") == "2026-11-24 09:20 KST · 00:20 UTC"
    assert local("2026-11-23T20:20:00Z") == "2026-11-24 05:20 KST · 2026-11-23 20:20 UTC"
    assert local("2026-11-24T00:20:00Z", "Europe/Berlin") == "2026-11-24 01:20 CET · 00:20 UTC"
