"""Models and HTML of the pages of the status page. The pages work without JavaScript."""

from collections.abc import Sequence
from urllib.parse import quote, urlencode

from msgspec import Struct

from worker.model.history import NumberRecord
from worker.model.status_page import (
    AccountState,
    AttentionItem,
    DaemonState,
    LastWrite,
    NumberRun,
    RunSummary,
    UpcomingChanges,
    WriteBucket,
    is_unread,
)
from worker.render.html import render
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext
from worker.render.marks import ENDINGS, counts_text, mark_of

__all__ = [
    "Account",
    "Body",
    "Frame",
    "Number",
    "Overview",
    "Quotas",
    "Run",
    "Runs",
    "Transitions",
    "account_url",
    "link",
    "message",
    "number_url",
    "page",
    "run_url",
]

_WIDTH, _HEIGHT = 720, 120
"""Width and height of a chart in SVG units."""


class Frame(Struct, frozen=True, kw_only=True):
    """The common parts of all pages.

    `here` is the current entry of the navigation. `live` is the daemon's state; None without a daemon. `assets` are the
    URLs of style sheets and scripts, by name. `version` is the version of the data shown: a script compares it with
    the events of the server. It is empty on pages that only show a message.
    """

    here: str
    made_at: str
    ledger: str
    assets: dict[str, str]
    live: DaemonState | None = None
    leave: bool = False
    version: str = ""


class Overview(Struct, frozen=True, kw_only=True):
    """The first page: the accounts that match the search, attention items, the latest runs and upcoming changes."""

    accounts: Sequence[AccountState]
    matching: int
    total: int
    troubled: int
    differing: int
    needs: Sequence[AttentionItem]
    more_needs: int
    runs: Sequence[RunSummary]
    coming: UpcomingChanges | None
    q: str
    show: str
    next: str | None
    differ: dict[str, int]


class Account(Struct, frozen=True, kw_only=True):
    """The page of one account.

    It has the latest runs, the numbers out of sync after the last run, and the last written statuses. If the account
    could not be read, `read_as` are the keys under which earlier runs read it.
    """

    state: AccountState
    runs: Sequence[AccountState]
    older: str | None
    needing: Sequence[NumberRecord]
    numbers: Sequence[LastWrite]
    prefix: str
    next: str | None
    needs: Sequence[AttentionItem]
    read_as: Sequence[str] = ()


class Run(Struct, frozen=True, kw_only=True):
    """The page of one run: its accounts, or one of them with its numbers."""

    run: RunSummary
    accounts: Sequence[AccountState]
    show: str
    next: str | None
    account: AccountState | None
    numbers: Sequence[NumberRecord]
    prefix: str
    more: str | None


class Runs(Struct, frozen=True, kw_only=True):
    """The page of all runs, newest first."""

    runs: Sequence[RunSummary]
    next: str | None


class Number(Struct, frozen=True, kw_only=True):
    """The page with the history of one number, or with a form to search for a number."""

    phone: str | None
    query: str
    steps: Sequence[NumberRun]
    next: str | None


class Transitions(Struct, frozen=True, kw_only=True):
    """The page of upcoming changes. `coming` is None if no desired state is loaded."""

    coming: UpcomingChanges | None


class Quotas(Struct, frozen=True, kw_only=True):
    """The page of the quota: writes per minute and per hour, and the current use."""

    minutes: Sequence[WriteBucket]
    hours: Sequence[WriteBucket]


Body = Overview | Account | Run | Runs | Number | Transitions | Quotas


def page(frame: Frame, body: Body) -> str:
    """Return a page as HTML."""
    name = type(body).__name__.lower()
    fields = {field: getattr(body, field) for field in body.__struct_fields__}
    return render(f"page/{name}.html", **_around(frame), **fields)


def message(frame: Frame, title: str, text: str, *, login: bool = False) -> str:
    """Return a page with a message. With `login`, it also has a form for the token."""
    return render("page/message.html", **_around(frame), headline=title, text=text, login=login)


def account_url(key: str, name: str | None = None) -> str:
    """Return the URL of an account by its key. If it could not be read, the key lacks an id, and the name is added."""
    return link(f"/accounts/{quote(key, safe='')}", name=name if is_unread(key) else None)


def run_url(run_id: str) -> str:
    """Return the URL of a run."""
    return f"/runs/{quote(run_id, safe='')}"


def number_url(phone: str) -> str:
    """Return the URL of the history of a number."""
    return f"/numbers/{quote(phone, safe='')}"


def link(path: str, **query: object) -> str:
    """Return a path with a query string of `query`, without values that are None or empty."""
    encoded = urlencode({name: value for name, value in query.items() if value not in {None, ""}})
    return f"{path}?{encoded}" if encoded else path


def _around(frame: Frame) -> dict[str, object]:
    return {
        "frame": frame,
        "account_url": account_url,
        "run_url": run_url,
        "number_url": number_url,
        "link": link,
        "ending": ENDINGS.__getitem__,
        "outcome": mark_of,
        "counts": counts_text,
        "chart": _chart,
    }


class Bar(Struct, frozen=True):
    """One bar of a chart, in SVG units. `title` is its tooltip."""

    x: float
    y: float
    width: float
    height: float
    title: str


class WritesChart(Struct, frozen=True):
    """A bar chart of writes over time. `label` is for screen readers, `peak` is the highest count."""

    width: int
    height: int
    label: str
    bars: Sequence[Bar]
    peak: int


def _chart(windows: Sequence[WriteBucket]) -> WritesChart:
    peak = max((window.writes for window in windows), default=0)
    step = _WIDTH / max(1, len(windows))
    bars = [
        Bar(
            round(index * step, 2),
            round(_HEIGHT - _HEIGHT * window.writes / (peak or 1), 2),
            round(max(1.0, step - 1), 2),
            round(_HEIGHT * window.writes / (peak or 1), 2),
            ngettext("{start}: {number} write", "{start}: {number} writes", window.writes).format(
                start=f"{window.start[11:16]} UTC", number=f"{window.writes:,}"
            ),
        )
        for index, window in enumerate(windows)
    ]
    label = _("Writes over time, at most {maximum} per bar; the table below has the same data").format(
        maximum=f"{peak:,}"
    )
    return WritesChart(_WIDTH, _HEIGHT, label, bars, peak)
