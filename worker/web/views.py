"""Read the content of each page from the ledger. These functions block, and run in a thread."""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from re import ASCII, fullmatch
from typing import Final

from msgspec import Struct

from worker.ledger import status_page as ledger
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
"""Most characters of a search text."""
_BIGGEST: Final = (1 << 63) - 1


class PageNotFound(Exception):
    """The requested page does not exist."""


class PageRequest(Struct, frozen=True, kw_only=True):
    """A request: the decoded parts of its path, its query, and the state of the daemon."""

    path: tuple[str, ...]
    query: Mapping[str, str]
    now: datetime
    live: DaemonState | None
    coming: Callable[[], UpcomingChanges | None]

    def text(self, name: str) -> str:
        """Return a text of the query."""
        return self.query.get(name, "")[:_TEXT]

    def place(self, name: str) -> int | None:
        """Return a ledger position of the query, or None."""
        text = self.query.get(name, "")
        digits = text.isascii() and text.isdigit()
        return min(int(text), _BIGGEST) if digits and len(text) <= len(str(_BIGGEST)) else None

    @property
    def digits(self) -> str:
        """The digits of the number, or of its start, that the query searches for."""
        text = self.text("q")
        with suppress(ValueError):
            return parse_digits(text)
        digits = "".join(char for char in text if char.isascii() and char.isdigit())
        return f"0{digits.removeprefix('82').lstrip('0')}" if text.strip().startswith("+82") else digits


def build_page(connection: sqlite3.Connection, asked: PageRequest) -> tuple[str, status_pages.Body]:
    """Return the requested page, and its entry in the navigation.

    Raises:
        Missing: there is none.
    """
    match asked.path:
        case ():
            return "/", _overview(connection, asked)
        case ("accounts", key):
            return "/", _account(connection, asked, key)
        case ("runs",):
            return "/runs", _runs(connection, asked)
        case ("runs", run_id):
            return "/runs", _run(connection, asked, run_id)
        case ("numbers",):
            return "/numbers", _number(connection, asked, asked.digits)
        case ("numbers", phone):
            return "/numbers", _number(connection, asked, _phone(phone))
        case ("transitions",):
            return "/transitions", status_pages.Transitions(coming=asked.coming())
        case ("quota",):
            return "/quota", _quota(connection, asked)
        case _:
            raise PageNotFound


def _phone(text: str) -> str:
    # links have the plain digits, which must not lose a country code
    if fullmatch(PHONE_PATTERN, text, ASCII):
        return text
    with suppress(ValueError):
        return parse_digits(text)
    raise PageNotFound


def _overview(connection: sqlite3.Connection, asked: PageRequest) -> status_pages.Overview:
    every = ledger.account_states(connection)
    q, show = asked.text("q"), asked.text("show")
    folded = q.casefold()
    fitting = [each for each in every if folded in each.account.casefold() and not (show == "needing" and each.calm)]
    after = (asked.query.get("after", ""), asked.query.get("key", ""))
    rest = [each for each in fitting if (each.account, each.key) > after] if any(after) else fitting
    shown = rest[:_ROWS]
    url = None
    if len(rest) > _ROWS:
        url = status_pages.link("/", q=q, show=show, after=shown[-1].account, key=shown[-1].key)
    needs = () if asked.live is None else asked.live.needs
    return status_pages.Overview(
        accounts=shown,
        found=len(fitting),
        total=len(every),
        troubled=sum(not each.calm for each in every),
        differing=sum(each.differing for each in every),
        needs=needs[:_NEEDS],
        more_needs=max(0, len(needs) - _NEEDS),
        runs=ledger.runs(connection, limit=_FEW),
        coming=asked.coming(),
        q=q,
        show=show,
        next=url,
        differ={} if asked.live is None else {each.account: each.differing for each in asked.live.seen},
    )


def _account(connection: sqlite3.Connection, asked: PageRequest, key: str) -> status_pages.Account:
    standing = ledger.account(connection, key, asked.query.get("name", ""))
    if standing is None:
        raise PageNotFound
    here = status_pages.account_url(key)
    name = standing.account if standing.unread else None
    runs = ledger.runs_of(connection, key, standing.account, before=asked.place("before"), limit=_FEW + 1)
    numbers = ledger.last_writes(connection, key, prefix=asked.digits, after=asked.text("after"), limit=_ROWS + 1)
    return status_pages.Account(
        standing=standing,
        runs=runs[:_FEW],
        older=status_pages.link(here, name=name, before=runs[_FEW - 1].place) if len(runs) > _FEW else None,
        needing=ledger.numbers(connection, standing.place, limit=_FEW, attention_only=True),
        numbers=numbers[:_ROWS],
        prefix=asked.digits,
        next=status_pages.link(here, q=asked.digits, after=numbers[_ROWS - 1].phone) if len(numbers) > _ROWS else None,
        needs=_needs(asked.live, standing),
        read_as=ledger.keys_of_name(connection, standing.name)[:_FEW] if standing.unread else (),
    )


def _needs(live: DaemonState | None, standing: AccountState) -> tuple[AttentionItem, ...]:
    """Return the attention items of an account."""
    return () if live is None else tuple(need for need in live.needs if need.account == standing.account)[:_ROWS]


def _runs(connection: sqlite3.Connection, asked: PageRequest) -> status_pages.Runs:
    runs = ledger.runs(connection, before=asked.query.get("before"), limit=_RUNS + 1)
    return status_pages.Runs(
        runs=runs[:_RUNS], next=status_pages.link("/runs", before=runs[_RUNS - 1].run_id) if len(runs) > _RUNS else None
    )


def _run(connection: sqlite3.Connection, asked: PageRequest, run_id: str) -> status_pages.Run:
    run = ledger.run(connection, run_id)
    if run is None:
        raise PageNotFound
    here, show, entry = status_pages.run_url(run_id), asked.text("show"), asked.place("entry")
    needing = show == "needing"
    accounts: list[AccountState] = []
    chosen = None
    if entry is None:
        accounts = ledger.entries_of(
            connection, run_id, after=asked.place("after") or 0, limit=_ROWS + 1, attention_only=needing
        )
        numbers = []
    else:
        chosen = next(iter(ledger.entries_of(connection, run_id, after=entry - 1, limit=1)), None)
        if chosen is None or chosen.place != entry:
            raise PageNotFound
        numbers = ledger.numbers(
            connection, entry, prefix=asked.digits, after=asked.text("after"), limit=_ROWS + 1, attention_only=needing
        )
    following, further = None, None
    if len(accounts) > _ROWS:
        following = status_pages.link(here, show=show, after=accounts[_ROWS - 1].place)
    if len(numbers) > _ROWS:
        further = status_pages.link(here, entry=entry, q=asked.digits, show=show, after=numbers[_ROWS - 1].phone)
    return status_pages.Run(
        run=run,
        accounts=accounts[:_ROWS],
        show=show,
        next=following,
        chosen=chosen,
        numbers=numbers[:_ROWS],
        prefix=asked.digits,
        more=further,
    )


def _number(connection: sqlite3.Connection, asked: PageRequest, phone: str) -> status_pages.Number:
    steps = ledger.number_runs(connection, phone, before=asked.place("before"), limit=_RUNS + 1) if phone else []
    further = None
    if len(steps) > _RUNS:
        further = status_pages.link(status_pages.number_url(phone), before=steps[_RUNS - 1].place)
    return status_pages.Number(phone=phone or None, asked=asked.text("q") or phone, steps=steps[:_RUNS], next=further)


def _quota(connection: sqlite3.Connection, asked: PageRequest) -> status_pages.Quotas:
    minute = asked.now.replace(second=0, microsecond=0)
    hour = minute.replace(minute=0)
    minutes = [format_utc(minute - timedelta(minutes=before)) for before in range(59, -1, -1)]
    hours = [format_utc(hour - timedelta(hours=before)) for before in range(23, -1, -1)]
    return status_pages.Quotas(
        minutes=_filled(minutes, ledger.write_counts(connection, minutes[0])),
        hours=_filled(hours, ledger.write_counts(connection, hours[0], by_hour=True)),
    )


def _filled(starts: list[str], windows: list[WriteBucket]) -> list[WriteBucket]:
    """Return a window for each start, with zero writes by default; none at all if there were no writes."""
    writes = {window.start: window.writes for window in windows}
    return [WriteBucket(start, writes.get(start, 0)) for start in starts] if writes else []
