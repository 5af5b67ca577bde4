"""Reports in a browser: on phones and desktops, in light and dark, without scripts, by keyboard, with 10,000 rows."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opened, Visit
from tests.support.reports import HOSTILE, fleet, paced
from worker.render import report

Written = Callable[[str, str], str]

_SLOWEST: Any = """
(text) => new Promise((report) => {
  const search = document.getElementById("search");
  const seen = new MutationObserver(() => requestAnimationFrame(() => report(performance.now() - begun)));
  seen.observe(document.getElementById("matches"), { childList: true, characterData: true, subtree: true });
  const begun = performance.now();
  search.value = text;
  search.dispatchEvent(new Event("input", { bubbles: true }));
})
"""
"""Milliseconds from a keystroke until the rows that match are known and laid out, the script's own rest among them."""


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """The URL of a report as a file, which is how people open it."""

    def write(page: str, name: str = "report.html") -> str:
        path = tmp_path / name
        path.write_text(page, encoding="utf-8")
        return path.as_uri()

    return write


def _shown(visited: Visit, table: str = "numbers") -> list[str]:
    """The phones, or ids, of the rows that are visible."""
    found = visited.page.evaluate(
        "key => [...document.querySelectorAll(`table[data-key=${key}] tbody tr`)]"
        ".filter(row => row.checkVisibility()).map(row => row.querySelector('th').textContent)",
        table,
    )
    assert isinstance(found, list)
    return found


def _matches(visited: Visit) -> str | None:
    return visited.page.locator("#matches").text_content()


@pytest.mark.parametrize("size", ["phone", "desktop"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("which", ["plan", "run"])
def test_everybody_can_read_it(visit: Opened, written: Written, *, size: str, dark: bool, which: str) -> None:
    """axe-core finds nothing; it does not scroll sideways, asks for nothing but itself and complains of nothing."""
    url = written(report.plan(fleet(3, 8)) if which == "plan" else report.run(paced()), "report.html")
    visited = visit(url, size=size, dark=dark)
    assert visited.violations() == []
    assert not visited.overflows()
    assert visited.requests == [url]
    assert visited.complaints == []


def test_texts_that_mean_harm_do_nothing(visit: Opened, written: Written) -> None:
    """No dialog, no request, no element, no wider page comes of markup in every field, before and after filtering."""
    visited = visit(written(report.plan(fleet(3, 8, HOSTILE)), "report.html"), size="phone")
    visited.page.select_option("select >> nth=1", index=1)
    visited.page.fill("#search", "<script>")
    expect(visited.page).to_have_url(re.compile("[#&]q="))
    assert visited.page.locator("main img, main script, td svg[onload]").count() == 0
    assert len(visited.requests) == 1
    assert not visited.overflows()
    assert visited.complaints == []


def test_a_link_that_means_harm_chooses_nothing(visit: Opened, written: Written) -> None:
    """What a link says is searched for as text, and unknown filters are none."""
    url = written(report.plan(fleet(3, 8)), "report.html")
    visited = visit(f"{url}#q=%3Cimg%20src=x%20onerror=alert(1)%3E&account=%3Cscript%3E&sort=x.y&__proto__=1&what=%")
    assert _matches(visited) == "Accounts: 0 of 4 · Numbers: 0 of 24"
    assert visited.complaints == []


def test_without_scripts_all_of_it_is_there(visit: Opened, written: Written) -> None:
    """Every row can be read, and nothing is shown that would not work."""
    visited = visit(written(report.plan(fleet(1, 450)), "report.html"), scripts=False)
    assert visited.page.locator("#numbers tbody tr:visible").count() == 450
    assert not visited.page.locator("#tools").is_visible()
    assert not visited.page.get_by_text("Show them").first.is_visible()
    assert visited.page.locator("thead button").count() == 0


def test_searching_filtering_and_sorting_leave_a_link_that_repeats_them(visit: Opened, written: Written) -> None:
    """A phone is found with and without hyphens, filters narrow it down, and the same link shows the same rows."""
    visited = visit(written(report.plan(fleet(3, 8)), "report.html"))
    page = visited.page
    for text in ("01000000005", "010-0000-0005", "지점 5", "0000-0005 DEACTIVATE"):
        page.fill("#search", text)
        expect(page.locator("#matches")).to_have_text(re.compile("Numbers: 1 of 24$"))
        assert _shown(visited) == ["010-0000-0005"]
    page.click("#clear")
    assert "#" not in page.url
    page.get_by_label("Only what needs attention").check()
    accounts = page.locator("label:has-text('Account') select")
    assert accounts.locator("option").all_text_contents() == ["any", "broken", "shop-0000", "shop-0001", "shop-0002"]
    accounts.select_option("shop-0001")
    assert _matches(visited) == "Accounts: 1 of 4 · Numbers: 2 of 24"
    assert _shown(visited) == ["010-0000-0010", "010-0000-0014"]
    page.get_by_role("button", name="Number", exact=True).click()
    page.get_by_role("button", name="Number", exact=True).click()
    assert page.locator("#numbers th[aria-sort=descending]").count() == 1
    assert _shown(visited) == ["010-0000-0014", "010-0000-0010"]
    again = visit(page.url)
    assert _shown(again) == ["010-0000-0014", "010-0000-0010"]
    assert _matches(again) == _matches(visited)
    assert visited.complaints == again.complaints == []


def test_a_task_shows_its_rows(visit: Opened, written: Written) -> None:
    """The link of a task chooses its rows and leads to them."""
    visited = visit(written(report.plan(fleet(3, 8)), "report.html"))
    visited.page.get_by_text("Show them").first.click()
    expect(visited.page.locator("#matches")).to_have_text(re.compile("Numbers: 6 of 24$"))
    assert visited.page.evaluate("document.activeElement.parentElement.id") == "numbers"


def test_a_keyboard_is_enough(visit: Opened, written: Written) -> None:
    """From the skip link on, all controls are reached in order; Enter sorts, and where one is can be seen."""
    visited = visit(written(report.plan(fleet(3, 8)), "report.html"))
    page = visited.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = []
    while page.evaluate("document.activeElement.textContent") != "Owner":
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert len(seen) < 60
    assert [each for each in seen if each in {"search", "attention-only", "clear"}] == [
        "search",
        "attention-only",
        "clear",
    ]
    page.keyboard.press("Enter")
    assert page.locator("#numbers th[aria-sort=ascending]").text_content() == "Owner"


def test_paper_has_all_of_it(visit: Opened, written: Written) -> None:
    """Printed, late rows and closed details are there, and controls are not."""
    visited = visit(written(report.run(paced()), "report.html"))
    page = visited.page
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator("#tools").is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    many = visit(written(report.plan(fleet(1, 450)), "many.html"))
    many.page.set_viewport_size({"width": 794, "height": 1123})
    assert len(_shown(many)) == 200
    many.page.emulate_media(media="print")
    assert len(_shown(many)) == 450
    assert not many.overflows()


@pytest.mark.parametrize(("accounts", "each"), [(10, 1_000), (5_000, 2)])
def test_ten_thousand_rows_are_searched_while_one_types(
    visit: Opened, written: Written, accounts: int, each: int
) -> None:
    """The file is of a reasonable size, and a keystroke is answered before anybody takes the page for stuck."""
    page = report.plan(fleet(accounts, each))
    assert len(page.encode()) < 10_000_000
    visited = visit(written(page, "report.html"))
    assert len(_shown(visited)) == 200
    for text in ("0", "010-0000-12", "no such text", ""):
        assert visited.page.evaluate(_SLOWEST, text) < 2_000
    visited.page.click("#numbers th[data-key=note] button")
    assert len(_shown(visited)) == 200
    visited.page.locator("#numbers .tools button").last.click()
    assert len(_shown(visited)) == 10_000
    assert visited.complaints == []
