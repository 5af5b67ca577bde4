"""Views that read the content of each status page from the ledger. They block, so they run in a thread."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from re import ASCII, fullmatch
from typing import Final

from msgspec import Struct

from worker.ledger import status_page as ledger
from worker.ledger.database import Connection
from worker.model.accounts import PHONE_PATTERN
from worker.model.phones import parse_digits
from worker.model.status_page import AccountState, AttentionItem, DaemonState, UpcomingChanges, WriteBucket
from worker.model.times import format_utc
from worker.render import status_pages

__all__ = ["PageNotFound", "PageRequest", "build_page"]

_ROWS: Final = 100
_RUNS: Final = 50
_FEW: Final = 10
_NEEDS: Final = 20
_TEXT: Final = 100
"""Maximum length in characters of a text parameter of a query."""
_BIGGEST: Final = (1 << 63) - 1


class PageNotFound(Exception):
    """The requested page does not exist."""


class PageRequest(Struct, frozen=True, kw_only=True):
    """A request for a page.

    `path` are the decoded parts of the path, and `query` the parameters. `now` is the aware time of the request. `live`
    is the state of the daemon; None without a daemon. `coming` returns the upcoming changes; None without files.
    """

    path: tuple[str, ...]
    query: Mapping[str, str]
    now: datetime
    live: DaemonState | None
    coming: Callable[[], UpcomingChanges | None]

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


def build_page(connection: Connection, request: PageRequest) -> tuple[str, status_pages.Body]:
    """Return the navigation entry of the requested page, and its body.

    Raises:
        PageNotFound: the page does not exist.
    """
    match request.path:
        case ():
            return "/", _overview(connection, request)
        case ("accounts", key):
            return "/", _account(connection, request, key)
        case ("runs",):
            return "/runs", _runs(connection, request)
        case ("runs", run_id):
            return "/runs", _run(connection, request, run_id)
        case ("numbers",):
            return "/numbers", _number(connection, request, request.digits)
        case ("numbers", phone):
            return "/numbers", _number(connection, request, _phone(phone))
        case ("transitions",):
            return "/transitions", status_pages.Transitions(coming=request.coming())
        case ("quota",):
            return "/quota", _quota(connection, request)
        case _:
            raise PageNotFound


def _phone(text: str) -> str:
    # links have plain digits: they are used unchanged, so that a country code is not removed
    if fullmatch(PHONE_PATTERN, text, ASCII):
        return text
    with suppress(ValueError):
        return parse_digits(text)
    raise PageNotFound


def _overview(connection: Connection, request: PageRequest) -> status_pages.Overview:
    all_accounts = ledger.account_states(connection)
    q, show = request.text("q"), request.text("show")
    search = q.casefold()
    matching_accounts = [
        account
        for account in all_accounts
        if search in account.account.casefold() and not (show == "needing" and account.is_calm)
    ]
    after = (request.query.get("after", ""), request.query.get("key", ""))
    accounts_after = (
        [account for account in matching_accounts if (account.account, account.key) > after]
        if any(after)
        else matching_accounts
    )
    page_accounts = accounts_after[:_ROWS]
    url = None
    if len(accounts_after) > _ROWS:
        url = status_pages.link("/", q=q, show=show, after=page_accounts[-1].account, key=page_accounts[-1].key)
    needs = () if request.live is None else request.live.needs
    return status_pages.Overview(
        accounts=page_accounts,
        matching=len(matching_accounts),
        total=len(all_accounts),
        troubled=sum(not account.is_calm for account in all_accounts),
        differing=sum(account.differing for account in all_accounts),
        needs=needs[:_NEEDS],
        more_needs=max(0, len(needs) - _NEEDS),
        runs=ledger.runs(connection, limit=_FEW),
        coming=request.coming(),
        q=q,
        show=show,
        next=url,
        differ={} if request.live is None else {account.account: account.differing for account in request.live.reads},
    )


def _account(connection: Connection, request: PageRequest, key: str) -> status_pages.Account:
    state = ledger.account(connection, key, request.query.get("name", ""))
    if state is None:
        raise PageNotFound
    page_url = status_pages.account_url(key)
    name = state.account if state.is_unread else None
    runs = ledger.runs_of(connection, key, state.account, before=request.integer("before"), limit=_FEW + 1)
    numbers = ledger.last_writes(connection, key, prefix=request.digits, after=request.text("after"), limit=_ROWS + 1)
    return status_pages.Account(
        state=state,
        runs=runs[:_FEW],
        older=status_pages.link(page_url, name=name, before=runs[_FEW - 1].position) if len(runs) > _FEW else None,
        needing=ledger.numbers(connection, state.position, limit=_FEW, attention_only=True),
        numbers=numbers[:_ROWS],
        prefix=request.digits,
        next=status_pages.link(page_url, q=request.digits, after=numbers[_ROWS - 1].phone)
        if len(numbers) > _ROWS
        else None,
        needs=_needs(request.live, state),
        read_as=ledger.keys_of_name(connection, state.name)[:_FEW] if state.is_unread else (),
    )


def _needs(live: DaemonState | None, state: AccountState) -> tuple[AttentionItem, ...]:
    """Return the attention items of an account."""
    return () if live is None else tuple(item for item in live.needs if item.account == state.account)[:_ROWS]


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
    return status_pages.Run(
        run=run,
        accounts=accounts[:_ROWS],
        show=show,
        next=next_page,
        account=account,
        numbers=numbers[:_ROWS],
        prefix=request.digits,
        more=more_numbers,
    )


def _number(connection: Connection, request: PageRequest, phone: str) -> status_pages.Number:
    steps = ledger.number_runs(connection, phone, before=request.integer("before"), limit=_RUNS + 1) if phone else []
    next_url = None
    if len(steps) > _RUNS:
        next_url = status_pages.link(status_pages.number_url(phone), before=steps[_RUNS - 1].position)
    return status_pages.Number(
        phone=phone or None, query=request.text("q") or phone, steps=steps[:_RUNS], next=next_url
    )


def _quota(connection: Connection, request: PageRequest) -> status_pages.Quotas:
    minute = request.now.replace(second=0, microsecond=0)
    hour = minute.replace(minute=0)
    minutes = [format_utc(minute - timedelta(minutes=before)) for before in range(59, -1, -1)]
    hours = [format_utc(hour - timedelta(hours=before)) for before in range(23, -1, -1)]
    return status_pages.Quotas(
        minutes=_fill(minutes, ledger.write_counts(connection, minutes[0])),
        hours=_fill(hours, ledger.write_counts(connection, hours[0], by_hour=True)),
    )


def _fill(starts: list[str], windows: list[WriteBucket]) -> list[WriteBucket]:
    """Return a bucket for each start, with 0 writes if `windows` lacks it. If `windows` is empty, return no buckets."""
    writes = {window.start: window.writes for window in windows}
    return [WriteBucket(start, writes.get(start, 0)) for start in starts] if writes else []
