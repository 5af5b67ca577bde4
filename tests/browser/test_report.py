"""Reports in a browser: phone and desktop, light and dark, without scripts, by keyboard, and with 10,000 rows."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opened, Visit
from tests.support.reports import HOSTILE, fleet_plan, throttled_run
from worker.render import report
from worker.render.i18n import use_language

Written = Callable[[str, str], str]

_SLOWEST: Any = """
(text) => new Promise((report) => {
  const search = document.getElementById("search");
  const observer = new MutationObserver(() => requestAnimationFrame(() => report(performance.now() - start)));
  observer.observe(document.getElementById("matches"), { childList: true, characterData: true, subtree: true });
  const start = performance.now();
  search.value = text;
  search.dispatchEvent(new Event("input", { bubbles: true }));
})
"""
"""Milliseconds from a keystroke until the rows that match are known and laid out, the script's own rest among them."""


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Return the URL of a report as a file."""

    def write(page: str, name: str = "report.html") -> str:
        path = tmp_path / name
        path.write_text(page, encoding="utf-8")
        return path.as_uri()

    return write


def _visible_rows(visited: Visit, table: str = "numbers") -> list[str]:
    """Return the numbers, or ids, of the visible rows."""
    actual = visited.page.evaluate(
        "key => [...document.querySelectorAll(`table[data-key=${key}] tbody tr:not(.group)`)]"
        ".filter(row => row.checkVisibility()).map(row => row.querySelector('th').textContent)",
        table,
    )
    assert isinstance(actual, list)
    return actual


def _matches(visited: Visit) -> str | None:
    return visited.page.locator("#matches").text_content()


@pytest.mark.parametrize("size", ["phone", "desktop"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["plan", "run"])
def test_report_is_accessible_and_self_contained(
    visit: Opened, written: Written, *, size: str, dark: bool, kind: str
) -> None:
    """axe-core finds no violation. The page does not scroll sideways and sends no request."""
    url = written(report.plan(fleet_plan(3, 8)) if kind == "plan" else report.run(throttled_run()), "report.html")
    visited = visit(url, size=size, dark=dark)
    assert visited.violations() == []
    assert not visited.overflows()
    assert visited.requests == [url]
    assert visited.complaints == []


def test_korean_report_is_accessible(visit: Opened, written: Written) -> None:
    with use_language("ko"):
        url = written(report.plan(fleet_plan(3, 8)), "report.html")
    visited = visit(url, size="tablet")
    assert visited.violations() == []
    assert not visited.overflows()


def test_hostile_texts_are_inert(visit: Opened, written: Written) -> None:
    """This holds before and after filtering."""
    visited = visit(written(report.plan(fleet_plan(3, 8, HOSTILE)), "report.html"), size="phone")
    visited.page.select_option("select >> nth=1", index=1)
    visited.page.fill("#search", "<script>")
    expect(visited.page).to_have_url(re.compile("[#&]q="))
    assert visited.page.locator("main img, main script, td svg[onload]").count() == 0
    assert len(visited.requests) == 1
    assert not visited.overflows()
    assert visited.complaints == []


_NEVER_IDLE = "window.requestIdleCallback = (callback, options) => options?.timeout && setTimeout(callback, {})"
"""A script for a browser without idle time, with the delay of the callback in milliseconds in place of `{}`."""


def test_filters_are_filled_in_a_busy_browser(visit: Opened, written: Written) -> None:
    visited = visit("about:blank")
    visited.page.add_init_script(_NEVER_IDLE.format("options.timeout"))
    visited.page.goto(written(report.plan(fleet_plan(3, 8)), "report.html"))
    expect(visited.page.locator("label:has-text('Account') option")).to_have_count(5)


def test_filter_is_filled_before_it_opens(visit: Opened, written: Written) -> None:
    visited = visit("about:blank")
    visited.page.add_init_script(_NEVER_IDLE.format("1e9"))
    visited.page.goto(written(report.plan(fleet_plan(3, 8)), "report.html"))
    options = visited.page.locator("label:has-text('Account') option")
    assert options.count() == 1
    visited.page.locator("label:has-text('Account') select").focus()
    assert options.count() == 5


def test_hostile_link_selects_nothing(visit: Opened, written: Written) -> None:
    url = written(report.plan(fleet_plan(3, 8)), "report.html")
    visited = visit(f"{url}#q=%3Cimg%20src=x%20onerror=alert(1)%3E&account=%3Cscript%3E&sort=x.y&__proto__=1&what=%")
    assert _matches(visited) == "Accounts: 0 of 4 · Numbers: 0 of 24"
    assert visited.complaints == []


def test_report_is_complete_without_scripts(visit: Opened, written: Written) -> None:
    visited = visit(written(report.plan(fleet_plan(1, 450)), "report.html"), scripts=False)
    assert visited.page.locator("#numbers tbody tr:not(.group):visible").count() == 450
    assert not visited.page.locator("#tools").is_visible()
    assert not visited.page.get_by_text("Show these numbers").first.is_visible()
    assert visited.page.locator("thead button").count() == 0


def test_link_repeats_search_filter_and_sort_order(visit: Opened, written: Written) -> None:
    visited = visit(written(report.plan(fleet_plan(3, 8)), "report.html"))
    page = visited.page
    for text in ("01000000005", "010-0000-0005", "지점 5", "0000-0005 DEACTIVATE"):
        page.fill("#search", text)
        expect(page.locator("#matches")).to_have_text(re.compile("Numbers: 1 of 24$"))
        expect(page.locator("#numbers tbody tr:not(.group):visible")).to_have_count(1)
        assert _visible_rows(visited) == ["010-0000-0005"]
    page.click("#clear")
    assert "#" not in page.url
    page.get_by_label("Only what needs attention").check()
    accounts = page.locator("label:has-text('Account') select")
    assert accounts.locator("option").all_text_contents() == ["any", "broken", "shop-0000", "shop-0001", "shop-0002"]
    accounts.select_option("shop-0001")
    assert _matches(visited) == "Accounts: 1 of 4 · Numbers: 2 of 24"
    assert _visible_rows(visited) == ["010-0000-0010", "010-0000-0014"]
    page.get_by_role("button", name="Number", exact=True).click()
    page.get_by_role("button", name="Number", exact=True).click()
    assert page.locator("#numbers th[aria-sort=descending]").count() == 1
    assert _visible_rows(visited) == ["010-0000-0014", "010-0000-0010"]
    second = visit(page.url)
    assert _visible_rows(second) == ["010-0000-0014", "010-0000-0010"]
    assert _matches(second) == _matches(visited)
    assert visited.complaints == second.complaints == []


def test_sort_order_replaces_groups_until_it_is_removed(visit: Opened, written: Written) -> None:
    """Rows of one account are below its name. A sorted table has the accounts in a column instead."""
    page = visit(written(report.plan(fleet_plan(3, 8)), "report.html")).page
    headings = page.locator("#numbers tr.group:visible")
    accounts = page.locator("#numbers tbody td:first-child:visible")
    assert (headings.count(), accounts.count()) == (3, 0)
    page.fill("#search", "010-0000-0005")
    expect(page.locator("#matches")).to_have_text(re.compile("Numbers: 1 of 24$"))
    assert headings.count() == 1
    page.click("#clear")
    for count in (0, 0, 3):
        page.get_by_role("button", name="Number", exact=True).click()
        assert (headings.count(), accounts.count()) == (count, 0 if count else 24)


def test_name_of_an_account_stays_in_view(visit: Opened, written: Written) -> None:
    """The name stays below the titles of the columns while the rows of the account are scrolled."""
    for size in ("phone", "desktop"):
        page = visit(written(report.plan(fleet_plan(1, 150)), "report.html"), size=size).page
        page.locator("#numbers tbody tr").nth(100).scroll_into_view_if_needed()
        box = page.locator("#numbers tr.group th").bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 50


def test_fingerprint_is_copied_in_full(visit: Opened, written: Written) -> None:
    page = visit(written(report.plan(fleet_plan(1, 1)), "report.html")).page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "a1b2" * 16


def test_task_link_shows_its_rows(visit: Opened, written: Written) -> None:
    visited = visit(written(report.plan(fleet_plan(3, 8)), "report.html"))
    visited.page.get_by_text("Show these numbers").first.click()
    expect(visited.page.locator("#matches")).to_have_text(re.compile("Numbers: 6 of 24$"))
    assert visited.page.evaluate("document.activeElement.parentElement.id") == "numbers"


def test_report_is_operable_by_keyboard(visit: Opened, written: Written) -> None:
    visited = visit(written(report.plan(fleet_plan(3, 8)), "report.html"))
    page = visited.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    observed = []
    while page.evaluate("document.activeElement.textContent") != "Owner":
        page.keyboard.press("Tab")
        observed.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert len(observed) < 60
    assert [name for name in observed if name in {"search", "attention-only", "clear"}] == [
        "search",
        "attention-only",
        "clear",
    ]
    page.keyboard.press("Enter")
    assert page.locator("#numbers th[aria-sort=ascending]").text_content() == "Owner"


def test_print_has_all_rows_and_no_controls(visit: Opened, written: Written) -> None:
    visited = visit(written(report.run(throttled_run()), "report.html"))
    page = visited.page
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator("#tools").is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    many = visit(written(report.plan(fleet_plan(1, 450)), "many.html"))
    many.page.set_viewport_size({"width": 794, "height": 1123})
    assert len(_visible_rows(many)) == 200
    many.page.emulate_media(media="print")
    assert len(_visible_rows(many)) == 450
    assert not many.overflows()


@pytest.mark.parametrize(("accounts", "changes_each"), [(10, 1_000), (5_000, 2)])
def test_search_of_ten_thousand_rows_is_fast(visit: Opened, written: Written, accounts: int, changes_each: int) -> None:
    page = report.plan(fleet_plan(accounts, changes_each))
    assert len(page.encode()) < 10_000_000
    visited = visit(written(page, "report.html"))
    assert len(_visible_rows(visited)) == 200
    for text in ("0", "010-0000-12", "no such text", ""):
        assert visited.page.evaluate(_SLOWEST, text) < 2_000
    visited.page.click("#numbers th[data-key=note] button")
    assert len(_visible_rows(visited)) == 200
    visited.page.locator("#numbers .tools button").last.click()
    assert len(_visible_rows(visited)) == 10_000
    assert visited.complaints == []
