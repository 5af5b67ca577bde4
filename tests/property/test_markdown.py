"""Markdown of arbitrary plans, results and runs contains no foreign markup and fits a comment."""

import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.support.examples import examples
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.plans import AccountPlan, Action, Cause, Change, Notice, NoticeKind, Plan
from worker.model.results import AccountResult, NumberResult, Outcome, Result, RunOutcome
from worker.render import markdown
from worker.render.markdown.escape import code, html_code, prose
from worker.render.terminal import safe

GITHUB = MarkdownIt("gfm-like")

OURS = {"h3", "h4", "p", "strong", "b", "ul", "li", "code", "details", "summary"} | {
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
}
EVIL = [
    "| a | b |",
    "`",
    "a`b``c```",
    "\\`x\\`|\\|",
    "<script>alert(1)</script>",
    "<!-- x",
    "-->",
    "</details></summary></td>",
    "@everyone",
    "ping @octocat, please",
    "#123 GH-12 acme/numbers#1 !7 ~label %1 &4 $1",
    "JIRA-12",
    "0123456789abcdef0123456789abcdef01234567",
    "https://evil.example/x",
    "www.evil.example",
    "WWW.evil.example",
    "a@evil.example",
    "mailto:a@evil.example",
    "xmpp:a@evil.example",
    "ftp://evil.example",
    "![x](https://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "[x]: https://evil.example",
    "a\r\n\r\n# b",
    "\n/close",
    "/close",
    "1. a",
    "- a",
    "* a",
    "> a",
    "---",
    "    code",
    "~~~",
    "**a** _b_ __c__ ~~d~~ ==e==",
    "&lt;b&gt; &#64;everyone &copy;",
    "\u202egnp.exe\u2066\u200b\ufeff",
    "$x$ $`x`$",
    ":smile: :+1:",
    "{+ a +} [- b -]",
    "[^1]: note",
    "- [ ] task",
    "\\",
    "a\\",
    " ` ",
    "\ud800",
    "",
    "x" * 10_000,
    "가|" * 5_000,
    "본사 고객센터",
    "listed as ACTIVE",
]
hostile = st.sampled_from(EVIL) | st.text(max_size=30) | st.text("`|\\<>@#&*_-:/.[]()! aA1\n", max_size=20)
unhurried = examples(40)


class ParsedPage(HTMLParser):
    """A page as a browser parses it: elements, and the text inside and outside code."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements = Counter[str]()
        self.attributes: list[tuple[str, str | None]] = []
        self.comments: list[str] = []
        self.within: list[str] = []
        self.outside = ""
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Count an element."""
        self.elements[tag] += 1
        self.attributes += attributes
        self._open.append(tag)
        if tag == "code":
            self.within.append("")

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.text += data
        if "code" in self._open:
            self.within[-1] += data
        else:
            self.outside += data

    def handle_comment(self, data: str) -> None:
        """Keep a comment."""
        self.comments.append(data)


FOLLOWED = re.compile(r"@\w|#\w|!\d|~\w|&\w|\$\d|%\w|://|www\.|GH-\d|\b[0-9a-f]{7,40}\b|`", re.IGNORECASE)
"""Patterns that GitHub and GitLab recognize in text outside code."""


def parse_page(page: str) -> ParsedPage:
    """Return the page as a browser parses it, and check its elements."""
    assert len(page.encode()) <= markdown.CAP
    parsed = ParsedPage(GITHUB.render(page))
    assert set(parsed.elements) <= OURS
    assert (parsed.attributes, parsed.comments) == ([], [])
    assert not FOLLOWED.search(parsed.outside)
    assert not any(re.match(r"\s*/\w", line) for line in page.split("\n"))
    assert "\ufffe" not in page
    return parsed


@pytest.mark.parametrize(
    "reference",
    [
        "@a",
        "#1",
        "!1",
        "~a",
        "&1",
        "$1",
        "%a",
        "a://b",
        "www.a",
        "GH-1",
        "abc-1",
        "abcdef1",
        "0123456",
        "ABCDEF1",
        "/a",
    ],
)
def test_shortest_reference_is_code(reference: str) -> None:
    """GitHub and GitLab turn a reference of this length into a link, a mention or a command."""
    assert prose(reference) == f"`{reference}`"
    # a command starts a line
    assert reference == "/a" or prose(f"see {reference}, ok") == f"`see {reference}, ok`"


@unhurried
@given(hostile)
@example("a  b")
def test_any_text_renders_as_itself(foreign: str) -> None:
    """In a line, a cell, code and HTML, a text is rendered in escaped form, with no element except code."""
    expected = safe(foreign, 64).strip()
    substituted = expected.translate(str.maketrans("`|", "\u02cb\u00a6"))
    for markup in (prose(foreign, 64), code(foreign)):
        parsed = ParsedPage(GITHUB.render(f"x {markup} y"))
        assert set(parsed.elements) <= {"p", "code"}
        assert parsed.text.strip() in {f"x {expected} y", f"x {substituted} y"}
        cell = ParsedPage(GITHUB.render(f"| a | b |\n| --- | --- |\n| {markup} | x |\n"))
        assert (cell.elements["td"], cell.elements["tr"]) == (2, 2)
        assert set(cell.elements) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
        assert not FOLLOWED.search(cell.outside)
    folded = ParsedPage(GITHUB.render(f"<details><summary>{html_code(foreign)}</summary>\n\nx\n\n</details>\n"))
    assert folded.within == [safe(foreign, 64)]
    assert set(folded.elements) == {"details", "summary", "code", "p"}


changes = st.builds(
    Change,
    st.from_regex(r"[0-9]{3,12}", fullmatch=True) | hostile,
    st.sampled_from([action for action in Action if action is not Action.UNCHANGED]),
    st.none() | hostile,
    hostile,
    hostile,
    st.none() | hostile,
    st.none() | hostile,
    st.none() | st.sampled_from(Cause),
    st.none() | st.just("2026-11-24T08:12:00Z"),
    st.none() | st.just("2026-12-01T00:00:00Z"),
)
refusals = st.builds(Refusal, hostile, hostile)
errors = st.builds(ErrorInfo, hostile, hostile)
notices = st.builds(Notice, st.sampled_from(NoticeKind), hostile, st.none() | hostile)


def few(of: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return some values, and sometimes many equal ones."""
    return st.lists(of, max_size=most).map(tuple) | st.tuples(of, st.integers(21, 40)).map(
        lambda two: (two[0],) * two[1]
    )


@unhurried
@given(
    few(
        st.builds(
            AccountPlan,
            account=hostile,
            account_id=st.none() | hostile,
            refusals=few(refusals, 1),
            error=st.none() | errors,
            counts=st.dictionaries(st.sampled_from(Action), st.integers(0, 10**6)),
            changes=few(changes),
            notices=few(notices, 2),
        )
    ),
    st.none() | st.just("2026-12-01T00:00:00Z"),
    st.booleans(),
)
def test_any_plan_fits_a_comment(accounts: tuple[AccountPlan, ...], at: str | None, drift: bool) -> None:  # noqa: FBT001
    """A plan of any content contains no foreign markup, mentions or links."""
    plan = Plan(created_at="2026-11-25T00:00:00Z", at=at, fingerprint="f", accounts=accounts)
    parsed = parse_page(markdown.plan(plan, drift=drift))
    assert parsed.elements["h3"] == 1
    assert parsed.elements["details"] == parsed.elements["summary"]


@pytest.mark.slow
@unhurried
@given(
    few(
        st.builds(
            AccountResult,
            account=hostile,
            account_id=st.none() | hostile,
            outcome=st.sampled_from(RunOutcome),
            error=st.none() | errors,
            refusals=few(refusals, 1),
            counts=st.dictionaries(st.sampled_from(Outcome), st.integers(0, 10**6)),
            numbers=few(
                st.builds(
                    NumberResult,
                    hostile,
                    st.none() | st.sampled_from(Action),
                    st.none() | hostile,
                    st.none() | hostile,
                    st.none() | hostile,
                    st.sampled_from(Outcome),
                    error=st.none() | st.builds(NumberError, hostile, hostile, st.none() | st.integers(100, 599)),
                )
            ),
            notices=few(notices, 2),
        )
    ),
    hostile,
)
def test_any_result_fits_a_comment(accounts: tuple[AccountResult, ...], remark: str) -> None:
    """A result of any content contains no foreign markup, mentions or links."""
    started_at = "2026-11-25T00:00:00Z"
    result = Result(
        run_id="r", started_at=started_at, finished_at=started_at, outcome=RunOutcome.PARTIAL, accounts=accounts
    )
    assert parse_page(markdown.result(result, remark)).elements["h3"] == 1
