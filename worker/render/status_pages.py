"""Models and HTML of the pages of the status page. The pages work without JavaScript."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Final, Literal
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape
from msgspec import Struct

from worker.model.history import NumberRecord
from worker.model.plans import Timestamp
from worker.model.reads import NumberState
from worker.model.status_page import (
    AccountState,
    AccountStatus,
    DaemonState,
    LastWrite,
    Liveness,
    NumberRun,
    RunSummary,
    RunTimes,
    UpcomingChange,
    UpcomingChanges,
)
from worker.model.times import DEFAULT_ZONE, load_zone
from worker.render.html import render
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.marks import (
    CANCELLED,
    ENDINGS,
    HEALTH,
    SEGMENTS,
    SYNC,
    Mark,
    Tone,
    counts_text,
    ending_mark,
    mark_of,
)
from worker.render.relative import local, relative, units
from worker.render.terminal import safe
from worker.render.view.calendar import CalendarDay, CalendarRow
from worker.render.view.chart import RequestChart
from worker.render.view.fleet import AttentionKind, SegmentView
from worker.render.view.run import seconds_between
from worker.render.view.stages import Stage
from worker.render.view.timeline import Timeline

__all__ = [
    "Account",
    "Body",
    "Calendar",
    "FoundNumber",
    "Frame",
    "Home",
    "Number",
    "NumberLine",
    "NumberOnAccount",
    "PageDocument",
    "Quota",
    "Run",
    "Runs",
    "Search",
    "account_url",
    "fleet_map",
    "link",
    "message",
    "number_url",
    "page",
    "run_url",
]


_NAMED: Final = 30
"""Maximum count of accounts whose squares have names."""


class Frame(Struct, frozen=True, kw_only=True):
    """The common parts of all pages.

    `here` is the current entry of the navigation. `liveness` says whether a daemon is alive. `live` is the state of the
    daemon that serves the page; None without one. `assets` are the URLs of style sheets and scripts, by name. `version`
    is the version of the data shown: a script compares it with the events of the server. It is empty on pages that only
    show a message.
    """

    here: str
    made_at: str
    ledger: str
    assets: dict[str, str]
    liveness: Liveness = Liveness()
    live: DaemonState | None = None
    requires_token: bool = False
    version: str = ""


class Home(Struct, frozen=True, kw_only=True, tag_field="page", tag="home"):
    """The first page: segments, fleet map, what needs attention, the accounts that match, and runs and changes.

    `matching` are the accounts that match the search and the segment, in the order of `sort`, and `accounts` the part
    of them that this page shows. `repeated` are names that several accounts have. `others` is the count of accounts of
    the ledger that are not in the files.
    """

    total: int
    headline: str
    tone: Tone
    segments: Sequence[SegmentView]
    matching: Sequence[AccountStatus]
    accounts: Sequence[AccountStatus]
    repeated: Collection[str]
    attention: Sequence[AttentionKind]
    others: int
    runs: Sequence[RunSummary]
    coming: UpcomingChanges | None
    q: str
    show: str
    sort: str
    start: int
    next: str | None


class NumberLine(Struct, frozen=True):
    """One number of an account, and its last change by a run."""

    state: NumberState
    written: LastWrite | None


class Account(Struct, frozen=True, kw_only=True, tag_field="page", tag="account"):
    """The page of one account: its state, all its numbers now, and its runs.

    `numbers` are those of the page, of `matching` that match the search and the filters, of `total`. `statuses` and
    `owners` count all numbers by observed status and by owner. `is_read` is False if the numbers are those of the files
    or of earlier writes, as no read of the account is recorded. `platforms` are those of other accounts with this name,
    `wanted` is the one that the address names.
    """

    state: AccountStatus
    attention: Sequence[AttentionKind]
    numbers: Sequence[NumberLine]
    is_read: bool
    total: int
    matching: int
    differing: int
    statuses: Mapping[str, int]
    owners: Mapping[str, int]
    runs: Sequence[AccountState]
    older: str | None
    coming: Sequence[UpcomingChange]
    platforms: Sequence[str]
    wanted: str | None
    q: str
    status: str
    owner: str
    differs: bool
    start: int
    next: str | None


class Run(Struct, frozen=True, kw_only=True, tag_field="page", tag="run"):
    """The page of one run: its stages and requests, and its accounts, or one of them with its numbers.

    `rolled_back` is the id of the run that this one rolled back, and `rollbacks` are the runs that rolled it back.
    """

    run: RunSummary
    times: RunTimes
    stages: Sequence[Stage]
    chart: RequestChart | None
    rolled_back: str | None
    rollbacks: Sequence[RunSummary]
    accounts: Sequence[AccountState]
    show: str
    next: str | None
    account: AccountState | None
    numbers: Sequence[NumberRecord]
    prefix: str
    more: str | None


class Runs(Struct, frozen=True, kw_only=True, tag_field="page", tag="runs"):
    """The page of all runs, newest first."""

    runs: Sequence[RunSummary]
    next: str | None


class NumberOnAccount(Struct, frozen=True):
    """A number on one account: its state at the latest read, and its timeline.

    `state` is None if no read has shown it.
    """

    account: str
    platform: str
    state: NumberState | None
    read_at: str | None
    timeline: Timeline


class Number(Struct, frozen=True, kw_only=True, tag_field="page", tag="number"):
    """The page of one number: its state and its timeline on each account, and its runs."""

    phone: str
    places: Sequence[NumberOnAccount]
    repeated: Collection[str]
    steps: Sequence[NumberRun]
    next: str | None


class FoundNumber(Struct, frozen=True):
    """A number that a search found, and the name and the platform of its account."""

    account: str
    platform: str
    number: NumberState


class Search(Struct, frozen=True, kw_only=True, tag_field="page", tag="search"):
    """The page of a search: accounts by name, numbers by any part, note or owner, and runs by the start of their id.

    `phone` is the number that was searched for, if the text is a whole one. `more` is True if there are more results.
    """

    q: str
    accounts: Sequence[AccountStatus]
    numbers: Sequence[FoundNumber]
    phone: str | None
    runs: Sequence[RunSummary]
    repeated: Collection[str]
    more: bool


class Calendar(Struct, frozen=True, kw_only=True, tag_field="page", tag="calendar"):
    """The calendar of two weeks. `rows` are None if no desired state is loaded; `more` is True if there are others.

    `now_x` is the place of now in thousandths. `coming` are the next changes. `has_file` is True if an .ics file can be
    made.
    """

    days: Sequence[CalendarDay]
    now_x: float
    rows: Sequence[CalendarRow] | None
    more: bool
    coming: UpcomingChanges | None
    account: str
    has_file: bool


class Quota(Struct, frozen=True, kw_only=True, tag_field="page", tag="quota"):
    """The page of the quota: requests per minute and per hour, of all accounts or of one, and the current use."""

    minutes: RequestChart | None
    hours: RequestChart | None
    account: str


Body = Home | Account | Run | Runs | Number | Search | Calendar | Quota


class PageDocument(Struct, frozen=True, kw_only=True):
    """The data behind a page, as JSON. `at` is when it was read, `daemon` says whether a daemon is alive."""

    schema: Literal["senderid.page/v1"] = "senderid.page/v1"
    at: Timestamp
    daemon: Liveness
    content: Body


def page(frame: Frame, body: Body) -> str:
    """Return a page as HTML."""
    name = type(body).__name__.lower()
    fields = {field: getattr(body, field) for field in body.__struct_fields__}
    return render(f"page/{name}.html", **_around(frame), **fields)


def message(
    frame: Frame,
    title: str,
    text: str,
    *,
    next_page: str | None = None,
    with_navigation: bool = False,
    is_error: bool = False,
) -> str:
    """Return a page with a message.

    With `next_page`, the address of a page, it has a form for the token that leads there. `with_navigation` adds the
    links to pages. `is_error` marks the text as an error of the form.
    """
    return render(
        "page/message.html",
        **_around(frame),
        headline=title,
        text=text,
        next_page=next_page,
        with_navigation=with_navigation,
        is_error=is_error,
    )


def account_url(name: str, platform: str | None = None) -> str:
    """Return the URL of an account by its name. `platform` chooses between accounts with the same name."""
    return link(f"/accounts/{quote(name, safe='')}", platform=platform)


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


def _run_ending(run: RunSummary) -> Mark:
    return CANCELLED if run.declined else ENDINGS[run.outcome]


def _account_ending(account: AccountState) -> Mark:
    return ending_mark(account.outcome, [account.error])


def _around(frame: Frame) -> dict[str, object]:
    return {
        "frame": frame,
        "account_url": account_url,
        "run_url": run_url,
        "number_url": number_url,
        "link": link,
        "run_ending": _run_ending,
        "account_ending": _account_ending,
        "outcome": mark_of,
        "segment": SEGMENTS.__getitem__,
        "sync": SYNC.__getitem__,
        "health": HEALTH.__getitem__,
        "counts": counts_text,
        "weekdays": _weekdays(),
        "fleet_map": fleet_map,
        "when": partial(_when, frame.made_at),
        "at": _at,
        "zoned": _zoned,
        "units": units(),
        "clock": partial(_local, "%H:%M"),
        "clock_seconds": partial(_local, "%H:%M:%S"),
        "day": partial(_local, "%m-%d"),
        "stamp": lambda stamp, zone: _local("%m-%d %H:%M", stamp, zone),
        "seconds": seconds_between,
    }


def _weekdays() -> tuple[str, ...]:
    return _("Mon"), _("Tue"), _("Wed"), _("Thu"), _("Fri"), _("Sat"), _("Sun")


def _when(now: str, stamp: str) -> Markup:
    """Return a time relative to now. Its tooltip has the time in the zone of the files and in UTC."""
    return Markup('<time datetime="{}" title="{}" data-relative>{}</time>').format(
        stamp, local(stamp), relative(stamp, now)
    )


def _local(time_format: str, stamp: str, zone: str = DEFAULT_ZONE) -> str:
    return datetime.fromisoformat(stamp).astimezone(load_zone(zone)).strftime(time_format)


def _zoned(stamp: str, zone: str) -> Markup:
    """Return a time in the zone of a file, which stays in that zone. Its tooltip also has it in UTC."""
    text = local(stamp, zone)
    return Markup('<time datetime="{}" title="{}" data-zone>{}</time>').format(stamp, text, text.partition(" · ")[0])


def _at(stamp: str) -> Markup:
    """Return a time in the zone of files that name none. Its tooltip also has it in UTC."""
    text = local(stamp)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(stamp, text, text.partition(" · ")[0])


def fleet_map(accounts: Sequence[AccountStatus], repeated: Collection[str]) -> Markup:
    """Return one linked square for each account, with its name if there are few, as there may be thousands.

    Links to accounts whose name is in `repeated` have the platform. The squares are not for screen readers and not in
    the order of tabs, as the table has the same links.
    """
    kinds = {
        segment: f'{escape(translate(mark.word))}" data-tone="{mark.tone}">{escape(mark.symbol)}'
        for segment, mark in SEGMENTS.items()
    }
    squares = []
    is_named = len(accounts) <= _NAMED
    for account in accounts:
        squares.append(_square_start(account.name, account.platform if account.name in repeated else None))
        squares.append(kinds[account.segment])
        if is_named:
            squares.append(f" <span>{escape(safe(account.name, 30))}</span>")
        squares.append("</a>")
    # every part is escaped above
    return Markup("".join(squares))  # noqa: S704


@lru_cache(10_000)
def _square_start(name: str, platform: str | None) -> str:
    """Return the start of the square of an account, up to its state, which is the same in every language."""
    return f'<a tabindex="-1" href="{escape(account_url(name, platform))}" title="{escape(safe(name, 80))}: '
