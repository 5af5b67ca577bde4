"""The status page in a browser: accessible, operable, live, and safe with hostile data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.ledgers import account_read, daemon_record, recorded_read
from tests.support.pages import FIRST, record_run, serve_pages
from worker.config.desired import load
from worker.ledger.reads import save
from worker.model.reads import Attention, HealthStatus, NumberState
from worker.model.status_page import DaemonState, QuotaUse

_TALLEST_CAPTION = "Math.max(0, ...[...document.querySelectorAll('caption')].map((each) => each.clientHeight))"
"""The height of the tallest caption: it is a column of letters if the table lays it out as a cell."""
Opened = Callable[..., Any]
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\u202e\x07" + "가" * 2000
TOKEN = "a-token-of-24-characters"
PHONES = ["01000000001", "01000000002"]


def _live() -> DaemonState:
    return DaemonState(
        last_pass="2026-11-24T00:28:00Z",
        next_pass="2026-11-24T00:33:00Z",
        outcome="partial",
        reads=(
            account_read(
                "a",
                at="2026-11-24T00:28:00.000Z",
                health=HealthStatus.NEEDS_ATTENTION,
                needs=(Attention("expiring", "It expires on 2026-12-01.", count=1, phones=(PHONES[0],)),),
            ),
        ),
        suspended={"b": HOSTILE},
        broken={HOSTILE[:60]: HOSTILE},
        quotas=(QuotaUse(3, 80, 1, 16, 5.0),),
    )


def _account(name: str) -> str:
    return "/accounts/" + quote(name, safe="")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Serve a ledger of four accounts: one has hostile texts, and one could not be read."""
    folder = tmp_path_factory.mktemp("pages")
    database = record_run(folder, "a", "b", phones=PHONES)
    record_run(folder, HOSTILE[:90], run="20261124T000100Z-000002", outcome="failed", bad="failed", message=HOSTILE)
    record_run(folder, "z", key="vendor 7", run="20261124T000200Z-000003", phones=["01000000009"])
    record_run(
        folder, "z", key="vendor None", run="20261124T000300Z-000004", outcome="failed", phones=(), message=HOSTILE
    )
    hostile = NumberState(PHONES[0], "ACTIVE", "INACTIVE", "held", HOSTILE, HOSTILE, HOSTILE, source=HOSTILE, line=3)
    save(database, [recorded_read("a", [hostile])], daemon_record(), program="0", now=lambda: FIRST)
    with serve_pages(folder / "ledger.db", live=_live) as url:
        yield url


SCHEDULED = f"""version: 1
account: a
numbers:
  {PHONES[0]}: {{status: ACTIVE, schedule: [{{weekly: "Mon-Fri 09:00-18:00", status: INACTIVE, reason: day}}]}}
"""
PATHS = ["/", _account("a"), _account(HOSTILE[:90]), "/runs", f"/runs/{FIRST}", "/runs/20261124T000100Z-000002?entry=3"]
PATHS += [f"/numbers/{PHONES[0]}", "/accounts/z?platform=vendor", "/calendar", "/quota", "/nothing"]
PATHS += ["/search", "/search?q=a", "/search?q=0000", "/?show=failed&sort=-name", "/accounts/a?differs=1"]


LOOKS = [(path, "phone", True) for path in PATHS] + [(path, "desktop", False) for path in ("/", "/quota", PATHS[2])]
LOOKS += [(path, "tablet", False) for path in ("/", PATHS[1], PATHS[2], "/search?q=0000")]


@pytest.mark.parametrize(("path", "size", "dark"), LOOKS)
def test_every_page_is_accessible_and_self_contained(
    pages: str, visit: Opened, path: str, size: str, *, dark: bool
) -> None:
    observed = visit(pages + path, size=size, dark=dark)
    assert observed.violations() == []
    assert not observed.overflows()
    assert observed.page.evaluate(_TALLEST_CAPTION) < 150
    assert all(url.startswith(pages) for url in observed.requests)
    assert [complaint for complaint in observed.complaints if "404" not in complaint or path != "/nothing"] == []


@pytest.mark.parametrize("path", ["/", "/calendar", "/accounts/a", "/search?q=a"])
@pytest.mark.parametrize(("size", "language"), [("phone", "ko"), ("desktop", "en-GB")])
def test_pages_with_files_are_accessible(tmp_path: Path, visit: Opened, path: str, size: str, language: str) -> None:
    """The calendar has a row for each schedule."""
    accounts = load(iter([("a.yaml", SCHEDULED.encode())])).accounts
    with serve_pages(tmp_path / "ledger.db", desired=lambda: accounts) as url:
        observed = visit(url + path, size=size, language=language)
        assert observed.violations() == []
        assert not observed.overflows()
        assert observed.complaints == []


@pytest.mark.parametrize("path", ["/", _account("a"), f"/runs/{FIRST}"])
def test_korean_pages_are_accessible(pages: str, visit: Opened, path: str) -> None:
    observed = visit(pages + path, size="phone", language="ko")
    assert observed.page.locator("html").get_attribute("lang") == "ko"
    assert observed.violations() == []
    assert not observed.overflows()


def test_status_page_is_complete_without_scripts(pages: str, visit: Opened) -> None:
    page = visit(pages, scripts=False).page
    page.get_by_label("Account name contains").fill("b")
    page.get_by_role("button", name="Filter").click()
    page.locator("#accounts").get_by_role("link", name="b", exact=True).click()
    page.locator("#numbers").get_by_role("link", name="010-0000-0001").click()
    assert page.get_by_role("heading", level=1).inner_text() == "010-0000-0001"
    assert page.get_by_text("verified").count() == 3


def test_status_page_is_operable_by_keyboard(pages: str, visit: Opened) -> None:
    page = visit(pages).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "q":
            break
    page.keyboard.type("b")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=b*")


def test_accounts_are_paged_by_a_hundred(tmp_path: Path, visit: Opened) -> None:
    record_run(tmp_path, *(f"shop {number:04}" for number in range(5000)))
    with serve_pages(tmp_path / "ledger.db") as url:
        observed = visit(url, size="phone")
        assert observed.page.locator("#accounts tbody tr").count() == 100
        assert not observed.overflows()
        observed.page.get_by_role("link", name="More accounts").click()
        assert observed.page.locator("#accounts tbody th").first.inner_text() == "shop 0100"
        assert observed.page.locator(".map a").count() == 5000
        observed.page.goto(url + "/?q=shop 4999")
        assert observed.page.locator("#accounts tbody tr").count() == 1


def test_open_page_shows_a_run_that_ends(tmp_path: Path, visit: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Input and focus are kept."""
    monkeypatch.setattr("worker.web.sse._POLL_SECONDS", 0.1)
    path = tmp_path / "ledger.db"
    record_run(tmp_path, "first")
    with serve_pages(path) as url:
        observed = visit(url, size="desktop")
        page = observed.page
        page.get_by_label("Account name contains").fill("typed")
        page.locator("#accounts").get_by_role("link", name="first").focus()
        with page.expect_response("**/events") as listening:
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        assert listening.value.ok
        record_run(tmp_path, "second", run="20261124T000500Z-000002")
        page.locator("#accounts").get_by_role("link", name="second").wait_for()
        assert page.get_by_label("Account name contains").input_value() == "typed"
        assert page.evaluate("document.activeElement.textContent.trim()") == "first"
        assert page.locator("#news").inner_text() == "Page updated."
        assert observed.complaints == []
        assert observed.violations() == []


def test_run_that_ends_before_the_event_stream_opens_is_shown(tmp_path: Path, visit: Opened) -> None:
    path = tmp_path / "ledger.db"
    record_run(tmp_path, "first")
    with serve_pages(path) as url:
        page = visit(url).page
        requested: list[str] = []

        def late(route: Any) -> None:
            if not requested:
                record_run(tmp_path, "second", run="20261124T000500Z-000002")
            requested.append(route.request.url)
            route.continue_()

        page.route("**/events", late)
        page.reload()
        page.locator("#accounts").get_by_role("link", name="second").wait_for()
        assert len(requested) == 1


def test_login_keeps_the_token_out_of_urls_and_scripts(tmp_path: Path, visit: Opened) -> None:
    record_run(tmp_path, "main")
    with serve_pages(tmp_path / "ledger.db", TOKEN) as url:
        observed = visit(url, size="phone")
        page = observed.page
        assert observed.violations() == []
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.locator("#accounts").get_by_role("link", name="main").wait_for()
        assert page.evaluate("document.cookie") == ""
        assert not any(TOKEN in request for request in observed.requests)
        page.get_by_role("button", name="Log out").click()
        page.get_by_label("Token").wait_for()
