"""The documents say what is so: what they name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
_MODULE = re.compile(r"`(worker/[\w/]+(?:\.py|/))`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    """A promise that is said to be proven by a test has that test."""
    for file, name in _TEST.findall(page.read_text()):
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """A link to a file of the project has that file, and so has each module that is named."""
    text = page.read_text()
    for target in _LINK.findall(text):
        assert (page.parent / target).exists(), target
    for module in _MODULE.findall(text):
        assert (ROOT / module).exists(), module


def test_architecture_lists_every_module() -> None:
    """A reader finds the file for a change on that page."""
    text = (ROOT / "docs/architecture.md").read_text()
    modules = (path.relative_to(ROOT).as_posix() for path in (ROOT / "worker").rglob("*.py"))
    commands = "worker/cli/commands/"
    wanted = [module for module in modules if not module.endswith("__init__.py") and not module.startswith(commands)]
    assert len(wanted) > 100
    assert [module for module in wanted if f"`{module}`" not in text] == []
    assert f"`{commands}`" in text


def test_every_promise_names_its_proof() -> None:
    """No row of the promises is without a test."""
    rows = [line for line in (ROOT / "docs/explanation/promises.md").read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise", "| ---"))]
    assert len(promises) > 30
    assert [row for row in promises if not _TEST.search(row)] == []


def test_every_threat_has_a_proof() -> None:
    """Each row of the threat model, of every one of its six kinds, names at least one test."""
    text = (ROOT / "docs/explanation/threat-model.md").read_text()
    rows = re.findall(r"^\| \*\*([STRIDE])\*\* .*$", text, re.MULTILINE)
    proven = re.findall(r"^\| \*\*([STRIDE])\*\* .*`tests/.*$", text, re.MULTILINE)
    assert rows == proven
    assert set(rows) == set("STRIDE")
