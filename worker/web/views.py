"""Views that read the content of each status page from the ledger. They block, so they run in a thread."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from importlib.util import find_spec
from re import ASCII, fullmatch
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import Struct

from worker.ledger import reads
from worker.ledger import status_page as ledger
from worker.ledger.database import Connection
from worker.ledger.history import run_record
from worker.model.accounts import PHONE_PATTERN, DesiredAccount
from worker.model.phones import parse_digits
from worker.model.reads import NumberState, Segment, platform
from worker.model.schedule import settle_schedules
from worker.model.status_page import (
    AccountState,
    AccountStatus,
    DaemonState,
    Liveness,
    NumberRun,
    RequestBucket,
    UpcomingChanges,
    liveness,
)
from worker.model.times import DEFAULT_ZONE, format_utc, format_utc_ms, load_zone
from worker.render import report, status_pages
from worker.render.text import calendar
from worker.render.view.calendar import CALENDAR_DAYS, calendar_days, calendar_rows
from worker.render.view.chart import RequestChart, request_chart
from worker.render.view.fleet import attention_kinds, headline, segments
from worker.render.view.stages import run_stages
from worker.render.view.timeline import timeline
from worker.web.accounts import Identity, account_statuses, recorded_statuses

__all__ = [
    "Built",
    "Moved",
    "PageNotFound",
    "PageRequest",
    "ReportTooLarge",
    "Snapshot",
    "build_page",
    "calendar_file",
    "read_snapshot",
    "run_report",
]

_ROWS: Final = 100
_RUNS: Final = 50
_FEW: Final = 10
_STEPS: Final = 200
"""Maximum count of runs that the timeline of a number shows."""
_CALENDAR_ROWS: Final = 60
"""Maximum count of rows of the calendar."""
_IN_FILE: Final = 200
"""Maximum count of accounts in a calendar file."""
_FOUND: Final = 50
"""Maximum count of accounts, and of numbers, that a search shows."""
_REPORT_NUMBERS: Final = 20_000
"""Maximum count of numbers of a run whose report can be downloaded, as it takes memory and time."""
_MOST: Final = 10_000
"""Maximum count of numbers of an account that no read of this version has recorded."""
_OTHERS: Final = "others"
"""The choice that shows accounts of the ledger that are not in the files."""
_SEVERITY: Final = {segment: rank for rank, segment in enumerate(Segment)}
_ORDERS: Final[dict[str, Callable[[AccountStatus], Any]]] = {
    "state": lambda account: (_SEVERITY[account.segment], -account.differing, account.name),
    "name": lambda account: account.name,
    "numbers": lambda account: (account.numbers or 0, account.name),
    "differing": lambda account: (account.differing, account.name),
    "read": lambda account: (account.at or "", account.name),
}
"""Orders of the accounts. A minus reverses them."""
_TEXT: Final = 100
"""Maximum length in characters of a text parameter of a query."""
_BIGGEST: Final = (1 << 63) - 1


class PageNotFound(Exception):
    """The requested page does not exist."""


Snapshot: TypeAlias = Mapping[Identity, AccountStatus]
"""The state of each account after the latest read or run that the ledger has."""


def read_snapshot(connection: Connection) -> Snapshot:
    """Return the state of all accounts of the ledger."""
    return recorded_statuses(reads.account_reads(connection), ledger.account_states(connection))


class ReportTooLarge(Exception):
    """The run `run_id` has more numbers than a report on the page may have."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id


class PageRequest(Struct, frozen=True, kw_only=True):
    """A request for a page.

    `path` are the decoded parts of the path, and `query` the parameters. `now` is the aware time of the request. `live`
    is the state of the daemon; None without a daemon. `snapshot` returns the states in the ledger. `coming` returns
    the upcoming changes, and `files` the accounts of the files; None without files.
    """

    path: tuple[str, ...]
    query: Mapping[str, str]
    now: datetime
    live: DaemonState | None
    snapshot: Callable[[Connection], Snapshot]
    coming: Callable[[], UpcomingChanges | None]
    files: Callable[[], Sequence[DesiredAccount] | None]

    def text(self, name: str) -> str:
        """Return a text parameter of the query, cut to 100 characters; empty if it is missing."""
        return self.query.get(name, "")[:_TEXT]

    def integer(self, name: str) -> int | None:
        """Return a parameter of the query that is a position in the ledger; None if it is missing or invalid."""
        text = self.query.get(name, "")
        digits = text.isascii() and text.isdigit()
        return min(int(text), _BIGGEST) if digits and len(text) <= len(str(_BIGGEST)) else None

    @property
    def digits(self) -> str:
        """The digits that the query searches for: a whole phone number, or its start."""
        text = self.text("q")
        with suppress(ValueError):
            return parse_digits(text)
        digits = "".join(char for char in text if char.isascii() and char.isdigit())
        return f"0{digits.removeprefix('82').lstrip('0')}" if text.strip().startswith("+82") else digits


class Moved(Exception):
    """The requested page has another address, `url`."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


def calendar_file(request: PageRequest) -> bytes:
    """Return the changes of the next two weeks as an iCalendar file.

    Raises:
        PageNotFound: no desired state is loaded, or the extra `calendar` is not installed.
    """
    files = request.files()
    if files is None or find_spec("icalendar") is None:
        raise PageNotFound
    from worker.render.ics import icalendar  # noqa: PLC0415 - it needs an extra

    name, until = request.text("account").casefold(), request.now + timedelta(CALENDAR_DAYS)
    matching = [account for account in files if account.schedules and name in account.name.casefold()][:_IN_FILE]
    return icalendar(
        calendar.Calendar(
            created_at=format_utc_ms(request.now),
            start=format_utc(request.now),
            until=format_utc(until),
            accounts=tuple(calendar.account_calendar(account, request.now, until) for account in matching),
        )
    )


def run_report(connection: Connection, request: PageRequest) -> str:
    """Return the HTML report of a run, of the address `/runs/ID/report.html`.

    Raises:
        PageNotFound: the page does not exist.
        ReportTooLarge: the run has more than 20,000 numbers.
    """
    kind, run_id, _file = request.path
    if kind != "runs" or ledger.run(connection, run_id) is None:
        raise PageNotFound
    if ledger.number_count(connection, run_id) > _REPORT_NUMBERS:
        raise ReportTooLarge(run_id)
    return report.run(run_record(connection, run_id))


class Built(NamedTuple):
    """A page: its navigation entry, its body, and whether a daemon is alive."""

    here: str
    body: status_pages.Body
    liveness: Liveness


def build_page(connection: Connection, request: PageRequest) -> Built:
    """Return the requested page.

    Raises:
        PageNotFound: the page does not exist.
        Moved: the page has another address.
    """
    here, body = _build(connection, request)
    return Built(here, body, liveness(request.live, reads.last_daemon(connection), request.now))


def _build(connection: Connection, request: PageRequest) -> tuple[str, status_pages.Body]:
    match request.path:
        case ():
            return "/", _home(connection, request)
        case ("accounts", name):
            return "/", _account(connection, request, name)
        case ("runs", run_id):
            return "/runs", _run(connection, request, run_id)
        case ("numbers", phone):
            return "", _number(connection, request, _phone(phone))
        case ("numbers",):
            raise Moved(status_pages.link("/search", q=request.text("q")))
        case ("transitions",):
            raise Moved("/calendar")
        case (name,) if name in _PAGES:
            return f"/{name}", _PAGES[name](connection, request)
    raise PageNotFound


def _phone(text: str) -> str:
    # links have plain digits: they are used unchanged, so that a country code is not removed
    if fullmatch(PHONE_PATTERN, text, ASCII):
        return text
    with suppress(ValueError):
        return parse_digits(text)
    raise PageNotFound


def _statuses(connection: Connection, request: PageRequest) -> tuple[list[AccountStatus], list[AccountStatus]]:
    """Return the accounts of the fleet, and the accounts of the ledger that are not in its files."""
    recorded, files = request.snapshot(connection), request.files()
    everything = account_statuses(recorded, None, request.live, request.now)
    if files is None:
        return everything, []
    names = {account.name for account in files}
    unlisted_accounts = [account for account in everything if account.name not in names]
    return account_statuses(recorded, files, request.live, request.now), unlisted_accounts


def _home(connection: Connection, request: PageRequest) -> status_pages.Home:
    fleet, unlisted_accounts = _statuses(connection, request)
    q, show, sort = request.text("q"), request.text("show"), request.text("sort")
    search = q.casefold()
    is_segment = show not in {"", _OTHERS}
    matching = [
        account
        for account in (unlisted_accounts if show == _OTHERS else fleet)
        if search in account.name.casefold() and not (is_segment and account.segment.value != show)
    ]
    order = _ORDERS.get(sort.removeprefix("-"), _ORDERS["state"])
    matching.sort(key=order, reverse=sort.startswith("-"))
    start = request.integer("from") or 0
    more = len(matching) > start + _ROWS
    text, tone = headline(fleet)
    return status_pages.Home(
        total=len(fleet),
        headline=text,
        tone=tone,
        segments=segments(fleet),
        matching=matching,
        accounts=matching[start : start + _ROWS],
        repeated=_repeated(fleet),
        attention=attention_kinds(matching),
        others=len(unlisted_accounts),
        runs=ledger.runs(connection, limit=_FEW),
        coming=request.coming(),
        q=q,
        show=show,
        sort=sort,
        start=start,
        next=status_pages.link("/", q=q, show=show, sort=sort, **{"from": start + _ROWS}) if more else None,
    )


def _repeated(accounts: Sequence[AccountStatus]) -> frozenset[str]:
    """Return the names that several accounts have."""
    return frozenset(name for name, count in Counter(account.name for account in accounts).items() if count > 1)


def _account(connection: Connection, request: PageRequest, name: str) -> status_pages.Account:
    fleet, unlisted_accounts = _statuses(connection, request)
    candidates = [account for account in (*fleet, *unlisted_accounts) if account.name == name]
    if not candidates:
        moved = next((account for account in (*fleet, *unlisted_accounts) if account.key == name), None)
        raise PageNotFound if moved is None else Moved(status_pages.account_url(moved.name))
    platform_name = request.query.get("platform")
    state = next((account for account in candidates if account.platform == platform_name), None)
    if state is None:
        state = max(candidates, key=lambda account: account.at or "")
    states = reads.numbers_of(connection, state.platform, name)
    is_read = bool(states)
    if not states:
        states = _listed(request, name) or [
            NumberState(write.phone, None, None) for write in ledger.last_writes(connection, state.key, limit=_MOST)
        ]
    q, status, owner = request.text("q"), request.text("status"), request.text("owner")
    differs = request.text("differs") == "1"
    words = q.casefold()
    matching = [
        number
        for number in states
        if (number.differs or not differs)
        and status in {"", number.observed}
        and owner in {"", number.owner}
        and (not q or _matches(number, words, request.digits))
    ]
    start = request.integer("from") or 0
    page_numbers = matching[start : start + _ROWS]
    last_writes = ledger.last_writes_of(connection, state.key, [number.phone for number in page_numbers])
    runs = ledger.runs_of_account(connection, state.key, name, before=request.integer("before"), limit=_FEW + 1)
    coming = request.coming()
    filters = {"platform": platform_name, "q": q, "status": status, "owner": owner, "differs": "1" if differs else None}
    url = status_pages.account_url(name)
    return status_pages.Account(
        state=state,
        attention=attention_kinds([state]),
        numbers=[status_pages.NumberLine(number, last_writes.get(number.phone)) for number in page_numbers],
        is_read=is_read,
        total=len(states),
        matching=len(matching),
        differing=sum(number.differs for number in states),
        statuses=Counter(number.observed for number in states if number.observed is not None),
        owners=dict(Counter(number.owner for number in states if number.owner).most_common(_FEW)),
        runs=runs[:_FEW],
        older=status_pages.link(url, platform=platform_name, before=runs[_FEW - 1].position)
        if len(runs) > _FEW
        else None,
        coming=() if coming is None else [turn for turn in coming.turns if turn.account == name][:_FEW],
        wanted=platform_name,
        platforms=[account.platform for account in candidates if account is not state],
        q=q,
        status=status,
        owner=owner,
        differs=differs,
        start=start,
        next=status_pages.link(url, **filters, **{"from": start + _ROWS}) if len(matching) > start + _ROWS else None,
    )


def _listed(request: PageRequest, name: str) -> list[NumberState]:
    """Return the numbers that the files list for an account, without what a read would find."""
    account = next((account for account in request.files() or () if account.name == name), None)
    if account is None:
        return []
    current = settle_schedules(account, request.now)
    locations = current.locations(current.numbers.keys())
    return [
        NumberState(
            phone, number.status.value, None, None, None, number.note, number.owner, number.until, *locations[phone]
        )
        for phone, number in current.numbers.items()
    ]


def _matches(number: NumberState, words: str, digits: str) -> bool:
    texts = (number.note or "", number.owner or "", number.observed or "", number.desired or "", number.action or "")
    return (digits != "" and digits in number.phone) or any(words in text.casefold() for text in texts)


def _runs(connection: Connection, request: PageRequest) -> status_pages.Runs:
    runs = ledger.runs(connection, before=request.query.get("before"), limit=_RUNS + 1)
    return status_pages.Runs(
        runs=runs[:_RUNS], next=status_pages.link("/runs", before=runs[_RUNS - 1].run_id) if len(runs) > _RUNS else None
    )


def _run(connection: Connection, request: PageRequest, run_id: str) -> status_pages.Run:
    run = ledger.run(connection, run_id)
    if run is None:
        raise PageNotFound
    page_url, show, entry = status_pages.run_url(run_id), request.text("show"), request.integer("entry")
    attention_only = show == "needing"
    accounts: list[AccountState] = []
    account = None
    if entry is None:
        accounts = ledger.entries_of(
            connection, run_id, after=request.integer("after") or 0, limit=_ROWS + 1, attention_only=attention_only
        )
        numbers = []
    else:
        account = next(iter(ledger.entries_of(connection, run_id, after=entry - 1, limit=1)), None)
        if account is None or account.position != entry:
            raise PageNotFound
        numbers = ledger.numbers(
            connection,
            entry,
            prefix=request.digits,
            after=request.text("after"),
            limit=_ROWS + 1,
            attention_only=attention_only,
        )
    next_page, more_numbers = None, None
    if len(accounts) > _ROWS:
        next_page = status_pages.link(page_url, show=show, after=accounts[_ROWS - 1].position)
    if len(numbers) > _ROWS:
        more_numbers = status_pages.link(
            page_url, entry=entry, q=request.digits, show=show, after=numbers[_ROWS - 1].phone
        )
    times = ledger.run_times(connection, run)
    command, _blank, rolled_back_run = run.command.partition(" ")
    return status_pages.Run(
        run=run,
        times=times,
        stages=run_stages(times),
        chart=request_chart(times.buckets) if len(times.buckets) > 1 else None,
        rolled_back=rolled_back_run if command == "rollback" else None,
        rollbacks=ledger.rollbacks_of(connection, run_id),
        accounts=accounts[:_ROWS],
        show=show,
        next=next_page,
        account=account,
        numbers=numbers[:_ROWS],
        prefix=request.digits,
        more=more_numbers,
    )


def _number(connection: Connection, request: PageRequest, phone: str) -> status_pages.Number:
    before = request.integer("before")
    steps = ledger.number_runs(connection, phone, before=before, limit=_STEPS if before is None else _RUNS + 1)
    next_url = None
    if len(steps) > _RUNS:
        next_url = status_pages.link(status_pages.number_url(phone), before=steps[_RUNS - 1].position)
    places = list(dict.fromkeys((platform(step.key), step.account) for step in steps))
    # a search in all accounts is slower
    states = (
        {place: number for place in places for number in reads.numbers_of(connection, *place) if number.phone == phone}
        if places
        else {
            (of_platform, name): number
            for of_platform, name, number in reads.search(connection, phone, _FOUND)
            if number.phone == phone
        }
    )
    places = places or list(states)
    return status_pages.Number(
        phone=phone,
        places=[] if before is not None else [_place(connection, request, place, states, steps) for place in places],
        repeated=frozenset(name for name, count in Counter(name for _, name in places).items() if count > 1),
        steps=steps[:_RUNS],
        next=next_url,
    )


def _place(
    connection: Connection,
    request: PageRequest,
    place: tuple[str, str],
    states: Mapping[tuple[str, str], NumberState],
    steps: Sequence[NumberRun],
) -> status_pages.NumberOnAccount:
    """Return a number on one account, with its timeline."""
    read = reads.account_read(connection, *place)
    number = states.get(place)
    current = None if read is None or number is None or number.observed is None else (read.at, number.observed)
    account_steps = [step for step in steps if (platform(step.key), step.account) == place]
    return status_pages.NumberOnAccount(
        place[1], place[0], number, None if read is None else read.at, timeline(account_steps, current, request.now)
    )


def _search(connection: Connection, request: PageRequest) -> status_pages.Search:
    q = request.text("q").strip()
    fleet, unlisted_accounts = _statuses(connection, request)
    everything = [*fleet, *unlisted_accounts]
    accounts = [account for account in everything if q.casefold() in account.name.casefold()] if q else []
    # a text with digits only is searched for as a number, however it is written
    is_number = bool(q) and not any(char.isalpha() for char in q) and bool(request.digits)
    query = request.digits if is_number else q
    matches = list(reads.search(connection, query, _FOUND + 1)) if query else []
    runs = ledger.runs_by_id(connection, q, limit=_FEW + 1) if q else []
    return status_pages.Search(
        q=q,
        accounts=accounts[:_FOUND],
        numbers=[status_pages.FoundNumber(name, of_platform, number) for of_platform, name, number in matches[:_FOUND]],
        phone=request.digits if is_number and fullmatch(PHONE_PATTERN, request.digits, ASCII) else None,
        runs=runs[:_FEW],
        repeated=_repeated(everything),
        more=len(matches) > _FOUND or len(accounts) > _FOUND or len(runs) > _FEW,
    )


def _quota(connection: Connection, request: PageRequest) -> status_pages.Quota:
    name = request.text("account")
    accounts = [account for account in (*itertools.chain(*_statuses(connection, request)),) if account.name == name]
    key = None if not name else accounts[0].key if accounts else ""
    minute = request.now.replace(second=0, microsecond=0)
    hour = minute.replace(minute=0)
    minutes = [format_utc(minute - timedelta(minutes=before)) for before in range(59, -1, -1)]
    hours = [format_utc(hour - timedelta(hours=before)) for before in range(23, -1, -1)]
    quotas = () if request.live is None else request.live.quotas
    by_second = sum((quota.max_writes + quota.max_reads) / quota.per_seconds for quota in quotas)
    return status_pages.Quota(
        minutes=_request_chart(minutes, ledger.request_counts(connection, minutes[0], key=key), by_second * 60),
        hours=_request_chart(
            hours, ledger.request_counts(connection, hours[0], by_hour=True, key=key), by_second * 3600
        ),
        account=name,
    )


def _request_chart(starts: list[str], buckets: list[RequestBucket], limit: float) -> RequestChart | None:
    """Return the chart of a bucket for each start; None without requests. A limit of 0 is unknown."""
    buckets_by_start = {bucket.start: bucket for bucket in buckets}
    if not buckets:
        return None
    return request_chart([buckets_by_start.get(start) or RequestBucket(start) for start in starts], int(limit) or None)


def _calendar(_: Connection, request: PageRequest) -> status_pages.Calendar:
    files, name = request.files(), request.text("account")
    midnight = request.now.astimezone(load_zone(DEFAULT_ZONE)).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = None
    if files is not None:
        matching = [account for account in files if name.casefold() in account.name.casefold()]
        rows = list(itertools.islice(calendar_rows(matching, midnight, request.now), _CALENDAR_ROWS + 1))
    return status_pages.Calendar(
        days=calendar_days(midnight, DEFAULT_ZONE),
        now_x=round(1000 * ((request.now - midnight) / timedelta(CALENDAR_DAYS)), 2),
        rows=None if rows is None else rows[:_CALENDAR_ROWS],
        more=rows is not None and len(rows) > _CALENDAR_ROWS,
        coming=request.coming(),
        account=name,
        has_file=files is not None and find_spec("icalendar") is not None,
    )


_PAGES: Final[dict[str, Callable[[Connection, PageRequest], status_pages.Body]]] = {
    "calendar": _calendar,
    "quota": _quota,
    "runs": _runs,
    "search": _search,
}
"""Pages whose address has one part."""
