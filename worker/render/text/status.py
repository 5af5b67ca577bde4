"""Renderer of the current state of numbers as a table."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from worker.model.number_status import AccountStatus, KnownDifference, NumberStatus, StatusReport
from worker.model.phones import hyphenated
from worker.model.times import format_local, load_zone
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translate
from worker.render.marks import count
from worker.render.terminal import Paint, fit, safe
from worker.render.terminal import width as cells
from worker.render.text.layout import header, indented
from worker.render.view.attention import error_text

__all__ = ["text"]

_STATUS_COLUMNS: Final = 20
_VALUE_COLUMNS: Final = 40
_REMARK_COLUMNS: Final = 20
"""Minimum width in columns of a remark, even if the page is narrower."""


def text(report: StatusReport, *, color: bool, width: int = 80) -> str:
    """Return the state of numbers as a table for each account, ended by a newline. Every number has a row."""
    paint = Paint(color=color)
    lines: list[str] = []
    for account in report.accounts:
        if account.numbers or account.error is not None:
            lines += [*_account(account, paint, width), ""]
    return "\n".join([*lines, *indented(_closing(report), width, "", "  ", paint.style("bold"))]) + "\n"


def _account(account: AccountStatus, paint: Paint, width: int) -> Iterator[str]:
    yield header(account.account, account.account_id, paint, width)
    if account.error is not None:
        yield from indented(error_text(account.error), width, "  ", "    ", paint.style("bad"))
        return
    columns = _columns(account)
    table = [[cell(number) for _title, cell in columns] for number in account.numbers]
    titles = [title for title, _cell in columns]
    widths = [max(map(cells, column)) for column in zip(titles, *table, strict=True)]
    yield "  " + paint("quiet", _row([*titles, _("OWNER · NOTE")], widths))
    room = max(width - sum(widths) - 2 * len(widths) - 2, _REMARK_COLUMNS)
    for number, row in zip(account.numbers, table, strict=True):
        line = _row([*row, safe(_remark(number, load_zone(account.timezone)), room)], widths)
        yield "  " + (paint("warn", line) if number.differs and number.acknowledged is None else line)
        yield from _origins(number)


def _origins(number: NumberStatus) -> Iterator[str]:
    """Yield where each field of a number comes from, one a line."""
    names = max((cells(origin.field) for origin in number.origins), default=0)
    for origin in number.origins:
        location = (
            _("{location}, by default").format(location=origin.location) if origin.by_default else origin.location
        )
        yield f"    {fit(origin.field, names)}  {safe(origin.value, _VALUE_COLUMNS)}  ({safe(location)})"


def _columns(account: AccountStatus) -> Sequence[tuple[str, Callable[[NumberStatus], str]]]:
    """Return the titles and cells of the columns. The last two are left out if all their cells would be empty."""
    zone = load_zone(account.timezone)

    def next_change(number: NumberStatus) -> str:
        if number.next is None:
            return ""
        moment = format_local(datetime.fromisoformat(number.next.at), zone)
        return _("{status} from {moment}").format(status=number.next.status or translate("not set"), moment=moment)

    def expiry(number: NumberStatus) -> str:
        day = (number.expires_at or "")[:10]
        return _("{day} (extended)").format(day=day) if day and number.extended else day

    return [
        (_("PHONE"), lambda number: hyphenated(number.phone)),
        (_("OBSERVED"), lambda number: safe(number.observed or translate("missing"), _STATUS_COLUMNS)),
        (_("DESIRED"), _desired),
        *([(_("NEXT CHANGE"), next_change)] if any(map(next_change, account.numbers)) else []),
        *([(_("EXPIRES"), expiry)] if any(map(expiry, account.numbers)) else []),
    ]


def _desired(number: NumberStatus) -> str:
    if number.desired is not None:
        return f"{number.desired} *" if number.differs else number.desired
    return translate("not set") if number.listed else _("not listed")


def _remark(number: NumberStatus, zone: ZoneInfo) -> str:
    acknowledgement = "" if number.acknowledged is None else _acknowledged(number.acknowledged, zone)
    return " · ".join(" ".join(text.split()) for text in (acknowledgement, number.owner, number.note) if text)


def _acknowledged(difference: KnownDifference, zone: ZoneInfo) -> str:
    end = format_local(datetime.fromisoformat(difference.until), zone)
    return _("acknowledged until {end}: {reason}").format(end=end, reason=difference.reason)


def _row(texts: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line of texts. All but the last one are padded to their widths."""
    return "  ".join([*map(fit, texts, widths), texts[-1]]).rstrip()


def _closing(report: StatusReport) -> str:
    """Return the counts of numbers, of those that differ, and of accounts that could not be read."""
    numbers = [number for account in report.accounts for number in account.numbers]
    differing = sum(number.differs for number in numbers)
    total = sum(account.total for account in report.accounts)
    shown_count = f"{len(numbers):,}"
    parts = [_("{shown} of {numbers}").format(shown=shown_count, numbers=count(total, "number"))]
    if differing:
        text = ngettext("{count} differs (*)", "{count} differ (*)", differing)
        parts.append(text.format(count=f"{differing:,}"))
    acknowledged_count = sum(number.acknowledged is not None for number in numbers)
    if acknowledged_count:
        text = ngettext("{count} of them acknowledged", "{count} of them acknowledged", acknowledged_count)
        parts.append(text.format(count=f"{acknowledged_count:,}"))
    failed_count = sum(account.error is not None for account in report.accounts)
    if failed_count:
        parts.append(_("could not be read: {accounts}").format(accounts=count(failed_count, "account")))
    return ", ".join(parts) + "."
