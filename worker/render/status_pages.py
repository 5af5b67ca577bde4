"""The pages of the status page: HTML out of what the ledger and a daemon know. They work without JavaScript."""

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
    unread,
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
"""Of a chart, in its own units."""


class Frame(Struct, frozen=True, kw_only=True):
    """What stands around every page. `live` is what a daemon knows, None where there is none.

    `assets` are the URLs of style sheets and scripts by name. `version` is that of what is shown, which a script
    compares with what it hears; messages have none, and no script.
    """

    here: str
    made_at: str
    ledger: str
    assets: dict[str, str]
    live: DaemonState | None = None
    leave: bool = False
    version: str = ""


class Overview(Struct, frozen=True, kw_only=True):
    """The first page: accounts (a page of those that fit), what needs a person, the last runs, what is coming."""

    accounts: Sequence[AccountState]
    found: int
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
    """One account: how its last runs left it, what of its last run needs a person, and its numbers as last written.

    `read_as` are the keys that it had when it could be read, where it could not.
    """

    standing: AccountState
    runs: Sequence[AccountState]
    older: str | None
    needing: Sequence[NumberRecord]
    numbers: Sequence[LastWrite]
    prefix: str
    next: str | None
    needs: Sequence[AttentionItem]
    read_as: Sequence[str] = ()


class Run(Struct, frozen=True, kw_only=True):
    """One run: its accounts, and the numbers of one of them where one was chosen."""

    run: RunSummary
    accounts: Sequence[AccountState]
    show: str
    next: str | None
    chosen: AccountState | None
    numbers: Sequence[NumberRecord]
    prefix: str
    more: str | None


class Runs(Struct, frozen=True, kw_only=True):
    """Runs, the last one first."""

    runs: Sequence[RunSummary]
    next: str | None


class Number(Struct, frozen=True, kw_only=True):
    """One number's whole story, or a form to ask for one."""

    phone: str | None
    asked: str
    steps: Sequence[NumberRun]
    next: str | None


class Transitions(Struct, frozen=True, kw_only=True):
    """What is coming, None where the desired files are not known."""

    coming: UpcomingChanges | None


class Quotas(Struct, frozen=True, kw_only=True):
    """Requests that write over time, and by how much the windows are used now."""

    minutes: Sequence[WriteBucket]
    hours: Sequence[WriteBucket]


Body = Overview | Account | Run | Runs | Number | Transitions | Quotas


def page(frame: Frame, body: Body) -> str:
    """A page."""
    name = type(body).__name__.lower()
    fields = {field: getattr(body, field) for field in body.__struct_fields__}
    return render(f"page/{name}.html", **_around(frame), **fields)


def message(frame: Frame, title: str, text: str, *, login: bool = False) -> str:
    """A page that says what is wrong and what to do, with a form for the token where `login`."""
    return render("page/message.html", **_around(frame), headline=title, text=text, login=login)


def account_url(key: str, name: str | None = None) -> str:
    """Where an account is, by the key that it has over all runs; by its name too where it could not be read."""
    return link(f"/accounts/{quote(key, safe='')}", name=name if unread(key) else None)


def run_url(run_id: str) -> str:
    """Where a run is."""
    return f"/runs/{quote(run_id, safe='')}"


def number_url(phone: str) -> str:
    """Where the story of a number is."""
    return f"/numbers/{quote(phone, safe='')}"


def link(path: str, **query: object) -> str:
    """A URL of ours; what is None or empty is left out."""
    given = urlencode({name: value for name, value in query.items() if value not in {None, ""}})
    return f"{path}?{given}" if given else path


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
    """One bar of a chart, in the chart's own units."""

    x: float
    y: float
    width: float
    height: float
    title: str


class Chart(Struct, frozen=True):
    """Bars over time, and what a reader who does not see them is told."""

    width: int
    height: int
    label: str
    bars: Sequence[Bar]
    most: int


def _chart(windows: Sequence[WriteBucket]) -> Chart:
    """Windows as bars, one beside the other."""
    most = max((window.writes for window in windows), default=0)
    step = _WIDTH / max(1, len(windows))
    bars = [
        Bar(
            round(place * step, 2),
            round(_HEIGHT - _HEIGHT * window.writes / (most or 1), 2),
            round(max(1.0, step - 1), 2),
            round(_HEIGHT * window.writes / (most or 1), 2),
            ngettext("{start}: {number} write", "{start}: {number} writes", window.writes).format(
                start=f"{window.start[11:16]} UTC", number=f"{window.writes:,}"
            ),
        )
        for place, window in enumerate(windows)
    ]
    label = _("Requests that write over time, at most {most} at once; the table below has the same figures").format(
        most=f"{most:,}"
    )
    return Chart(_WIDTH, _HEIGHT, label, bars, most)
