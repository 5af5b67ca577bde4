"""A comment on a pull request at the width of GitHub."""

from markdown_it import MarkdownIt

from tests.browser.conftest import Opened
from worker.model.plans import AccountPlan, Action, Change, Plan, tally
from worker.render import markdown

_STYLE = """
body { margin: 0; width: 760px; font: 14px/1.5 sans-serif; } table { border-collapse: collapse; }
th, td { border: 1px solid; padding: 6px 13px; }
h3, h4 { margin: 24px 0 16px; } p, table, ul, details { margin: 0 0 16px; }
"""


def test_thirty_changes_of_two_thousand_accounts_fit_a_screen(visit: Opened) -> None:
    """The verdict, what needs attention and the summary are read without scrolling; the rest is folded."""
    changes = [
        Change(f"010{index:08d}", Action.HELD if index % 10 == 0 else Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed")
        for index in range(30)
    ]
    accounts = [
        AccountPlan(
            account=f"shop-{index:04d}",
            counts=tally(Action, {change.action: 1 for change in changes[index : index + 1]}),
            changes=tuple(changes[index : index + 1]),
        )
        for index in range(2_000)
    ]
    text = markdown.plan(Plan(created_at="2026-11-24T09:00:00.000Z", fingerprint="f", accounts=tuple(accounts)))
    assert len(text) < 65_536
    page = visit("about:blank").page
    page.set_content(f"<style>{_STYLE}</style>{MarkdownIt('gfm-like').render(text)}")
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height <= 900
    assert page.locator("table:visible").count() == 1
