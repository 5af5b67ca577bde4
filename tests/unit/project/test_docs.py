"""The documentation is consistent with the code and the tests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
_MODULE = re.compile(r"`(worker/[\w/]+(?:\.py|/))`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_cited_test_exists(page: Path) -> None:
    for file, name in _TEST.findall(page.read_text()):
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_resolves(page: Path) -> None:
    """Linked files and named modules exist."""
    text = page.read_text()
    for target in _LINK.findall(text):
        assert (page.parent / target).exists(), target
    for module in _MODULE.findall(text):
        assert (ROOT / module).exists(), module


def test_architecture_lists_every_module() -> None:
    """Readers find the file to change on that page."""
    text = (ROOT / "docs/architecture.md").read_text()
    modules = (path.relative_to(ROOT).as_posix() for path in (ROOT / "worker").rglob("*.py"))
    commands = "worker/cli/commands/"
    modules_to_list = [
        module for module in modules if not module.endswith("__init__.py") and not module.startswith(commands)
    ]
    assert len(modules_to_list) > 100
    assert [module for module in modules_to_list if f"`{module}`" not in text] == []
    assert f"`{commands}`" in text


def test_every_promise_cites_a_test() -> None:
    rows = [line for line in (ROOT / "docs/explanation/promises.md").read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise", "| ---"))]
    assert len(promises) > 30
    assert [row for row in promises if not _TEST.search(row)] == []


def test_every_threat_cites_a_test() -> None:
    """Each row of the threat model, in all six categories, cites at least one test."""
    text = (ROOT / "docs/explanation/threat-model.md").read_text()
    rows = re.findall(r"^\| \*\*([STRIDE])\*\* .*$", text, re.MULTILINE)
    rows_with_test = re.findall(r"^\| \*\*([STRIDE])\*\* .*`tests/.*$", text, re.MULTILINE)
    assert rows == rows_with_test
    assert set(rows) == set("STRIDE")
