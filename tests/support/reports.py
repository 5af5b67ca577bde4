"""Plans and runs to report on, and a reader of reports."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Final

from tests.support.records import account_record, attempt, number_record, run_record
from worker.model.errors import ErrorInfo, NumberError, Refusal
from worker.model.history import AttemptState, RunRecord
from worker.model.plans import AccountPlan, Action, Cause, Change, Plan, Verdict, tally
from worker.model.results import Requests
from worker.model.times import format_utc_ms

__all__ = ["HOSTILE", "Read", "changed", "fleet", "paced"]

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


def changed(place: int, text: str = "") -> Change:
    """The change of one of many numbers; `text` is its note and owner."""
    action, observed, desired, reason = _KINDS[place % len(_KINDS)]
    cause = Cause.BOTH if action.writes else None
    return Change(
        f"010{place:08d}",
        action,
        observed,
        desired,
        text or reason,
        note=text or f"지점 {place}",
        owner=text or f"team-{place % 7}",
        cause=cause,
    )


def fleet(accounts: int, each: int, text: str = "") -> Plan:
    """Accounts with some changes each, every third of them refused, and one more that could not be read."""
    refusal = Refusal("max-deactivations", text or "it deactivates 3 of 8 ACTIVE numbers.")
    planned = []
    for account in range(accounts):
        changes = tuple(changed(account * each + place, text) for place in range(each))
        counts = {action: sum(change.action is action for change in changes) for action, *_ in _KINDS}
        refused = account % 3 == 1
        planned.append(
            AccountPlan(
                account=text or f"shop-{account:04d}",
                account_id=text or f"{12_925_149 + account}",
                verdict=Verdict.REFUSED if refused else Verdict.OK,
                refusals=(refusal,) if refused else (),
                counts=tally(Action, counts | {Action.UNCHANGED: 5}),
                changes=changes,
                active=each + 5,
            )
        )
    error = ErrorInfo("AccountRejected", text or "the API key is unknown: check SOLAPI_API_KEY")
    broken = AccountPlan(account="broken", verdict=Verdict.ERROR, error=error, counts=tally(Action, {}))
    return Plan(created_at="2026-11-24T09:00:00.000Z", fingerprint="a1b2" * 16, accounts=(*planned, broken))


def paced() -> RunRecord:
    """A run of sixty writes in ten seconds; then the quota refuses two, which are sent again nine seconds later."""
    quota = NumberError("TooManyRequests", "the quota is used up", 429)
    numbers = [
        number_record(
            f"010{place:08d}", attempts=(attempt(intended_at=_at(place / 6), answered_at=_at(place / 6 + 0.1)),)
        )
        for place in range(60)
    ]
    for place in (60, 61):
        first = attempt(1, AttemptState.REJECTED, intended_at=_at(10), answered_at=_at(10.1), error=quota)
        again = attempt(2, intended_at=_at(19), answered_at=_at(19.1 + place / 1000))
        numbers.append(number_record(f"010{place:08d}", attempts=(first, again)))
    counts = {"changed": 62}
    account = account_record(*numbers, counts=counts, requests=Requests(2, 64, 2))
    return run_record(account, counts=counts, settings={"rate_limit": {"writes": 45, "per_seconds": 5.0}})


def _at(seconds: float) -> str:
    return format_utc_ms(datetime(2026, 11, 24, 9, tzinfo=UTC) + timedelta(seconds=seconds))


class Read(HTMLParser):
    """A report as a browser takes it apart: its elements with their attributes, and its text."""

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
        """An element begins."""
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._within = tag
        elif tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag == self._within:
            self._within = ""

    def handle_data(self, data: str) -> None:
        """Text, to be read or to be run."""
        if self._within:
            (self.scripts if self._within == "script" else self.styles).append(data)
            return
        self.visible += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of one kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def policy(self) -> str:
        """Its Content-Security-Policy."""
        (found,) = [each["content"] for each in self.named("meta") if "http-equiv" in each]
        assert found is not None
        return found

    def line(self, text: str) -> list[str]:
        """The first row that holds a text, cell by cell, blanks as one."""
        return next([" ".join(cell.split()) for cell in row] for row in self.rows if any(text in cell for cell in row))
