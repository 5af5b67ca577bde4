"""Files of expected outputs."""

from pathlib import Path

from tests.support.snapshots import SNAPSHOTS


def test_every_snapshot_is_used() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [path.name for path in SNAPSHOTS.iterdir() if f'"{path.name}"' not in tests] == []
