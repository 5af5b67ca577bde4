"""Plans and runs to report on, and a parser of reports."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Final

from tests.support.records import account_record, attempt, number_record, run_record
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.history import AttemptState, RunRecord
from worker.model.plans import AccountPlan, Action, Cause, Change, Plan, Verdict, tally
from worker.model.results import Requests
from worker.model.times import format_utc_ms

__all__ = ["HOSTILE", "ParsedReport", "change_at", "fleet_plan", "throttled_run"]

HOSTILE: Final = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'></td><svg/onload=alert(3)> {{7*7}} {% raw %} ]]> <!-- "
    "javascript:alert(4) \u202egnp.exe \x1b[31m\x00 &amp;"
)
"""Markup, script, templates, comments, and what turns a text around."""

_KINDS: Final = (
    (Action.ACTIVATE, "INACTIVE", "ACTIVE", "listed as ACTIVE"),
    (Action.DEACTIVATE, "ACTIVE", "INACTIVE", "listed as INACTIVE"),
    (Action.BLOCKED, "PENDING", "ACTIVE", "its registration is pending"),
    (Action.PROTECTED, "ACTIVE", "INACTIVE", "the file protects it"),
)


def change_at(index: int, text: str = "") -> Change:
    """Return the change of one number of many. `text` is its note and owner."""
    action, observed, desired, reason = _KINDS[index % len(_KINDS)]
    cause = Cause.BOTH if action.writes else None
    return Change(
        f"010{index:08d}",
        action,
        observed,
        desired,
        text or reason,
        note=text or f"지점 {index}",
        owner=text or f"team-{index % 7}",
        cause=cause,
    )


def fleet_plan(accounts: int, changes_each: int, text: str = "") -> Plan:
    """Return a plan of some accounts with `changes_each` changes each.

    Every third account is refused, and one more cannot be read.
    """
    refusal = Refusal("max-deactivations", text or "it deactivates 3 of 8 ACTIVE numbers.")
    plans = []
    for account in range(accounts):
        changes = tuple(change_at(account * changes_each + index, text) for index in range(changes_each))
        counts = {action: sum(change.action is action for change in changes) for action, *_ in _KINDS}
        is_refused = account % 3 == 1
        plans.append(
            AccountPlan(
                account=text or f"shop-{account:04d}",
                account_id=text or f"{12_925_149 + account}",
                verdict=Verdict.REFUSED if is_refused else Verdict.OK,
                refusals=(refusal,) if is_refused else (),
                counts=tally(Action, counts | {Action.UNCHANGED: 5}),
                changes=changes,
                active=changes_each + 5,
            )
        )
    error = ErrorInfo("AccountRejected", text or "the API key is unknown: check SOLAPI_API_KEY")
    unreadable = AccountPlan(account="broken", verdict=Verdict.ERROR, error=error, counts=tally(Action, {}))
    return Plan(created_at="2026-11-24T09:00:00.000Z", fingerprint="a1b2" * 16, accounts=(*plans, unreadable))


def throttled_run() -> RunRecord:
    """Return a run of 60 writes in ten seconds. Then the quota refuses two, which are sent again nine seconds later."""
    quota = NumberError("TooManyRequests", "the quota is used up", 429)
    numbers = [
        number_record(
            f"010{index:08d}", attempts=(attempt(intended_at=_at(index / 6), answered_at=_at(index / 6 + 0.1)),)
        )
        for index in range(60)
    ]
    for index in (60, 61):
        first = attempt(1, AttemptState.REJECTED, intended_at=_at(10), answered_at=_at(10.1), error=quota)
        second = attempt(2, intended_at=_at(19), answered_at=_at(19.1 + index / 1000))
        numbers.append(number_record(f"010{index:08d}", attempts=(first, second)))
    counts = {"changed": 62}
    account = account_record(*numbers, counts=counts, requests=Requests(2, 64, 2))
    return run_record(account, counts=counts, settings={"rate_limit": {"writes": 45, "per_seconds": 5.0}})


def _at(seconds: float) -> str:
    return format_utc_ms(datetime(2026, 11, 24, 9, tzinfo=UTC) + timedelta(seconds=seconds))


class ParsedReport(HTMLParser):
    """A report as a browser parses it: elements with their attributes, scripts, styles, table rows and visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.rows: list[list[str]] = []
        self.visible = ""
        self._within = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Add an element."""
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._within = tag
        elif tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """End a script or style element."""
        if tag == self._within:
            self._within = ""

    def handle_data(self, data: str) -> None:
        """Add text to a script, a style, or the visible text."""
        if self._within:
            (self.scripts if self._within == "script" else self.styles).append(data)
            return
        self.visible += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of one kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def policy(self) -> str:
        """Return the Content-Security-Policy of the page."""
        (policy,) = [element["content"] for element in self.named("meta") if "http-equiv" in element]
        assert policy is not None
        return policy

    def line(self, text: str) -> list[str]:
        """Return the cells of the first row that contains a text, with whitespace normalized."""
        return next([" ".join(cell.split()) for cell in row] for row in self.rows if any(text in cell for cell in row))
