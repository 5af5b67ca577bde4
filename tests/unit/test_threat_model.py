"""The threat model names its proofs: each of them is there."""

import re
from pathlib import Path

import pytest

_PAGE = Path("docs/threat-model.md")
_PROOFS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", _PAGE.read_text())))


@pytest.mark.parametrize(("file", "test"), _PROOFS)
def test_a_proof_that_is_named_exists(file: str, test: str) -> None:
    """The test is in the file, under this name."""
    assert re.search(rf"^(async )?def {test}\(", Path(file).read_text(), re.MULTILINE)


def test_every_threat_has_a_proof() -> None:
    """Each row of the table, of every one of the six kinds, names at least one test."""
    rows = re.findall(r"^\| \*\*([STRIDE])\*\* .*$", _PAGE.read_text(), re.MULTILINE)
    proven = re.findall(r"^\| \*\*([STRIDE])\*\* .*`tests/.*$", _PAGE.read_text(), re.MULTILINE)
    assert rows == proven
    assert set(rows) == set("STRIDE")
