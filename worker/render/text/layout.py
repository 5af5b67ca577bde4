"""Layout of text in columns: accounts, tables of numbers, samples of long tables, and lists of names."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

from worker.model.history import Attempt
from worker.model.phones import hyphenated
from worker.model.results import Requests
from worker.render.i18n import gettext as _
from worker.render.i18n import translate
from worker.render.marks import count, counts_text
from worker.render.terminal import Paint, fit, safe, width, wrap
from worker.render.view.attention import AttentionGroup, error_text
from worker.render.view.parts import MANY, AccountView, NumberGroup, NumberRow

__all__ = ["account_lines", "group_lines", "header", "in_full_or_brief", "indented", "names"]

_SAMPLE: Final = 10
_NAMES: Final = 5
_NAME_COLUMNS: Final = 50
_ID_COLUMNS: Final = 24
_PHONE_COLUMNS: Final = 16
_STATUS_COLUMNS: Final = 40
_REMARK_COLUMNS: Final = 60
_NARROWEST: Final = 20
"""Minimum width in columns of wrapped text, even if the page is narrower.

Numbers and statuses are never cut, so that a row may be wider than a page of under 80 columns.
"""

T = TypeVar("T")


class _Cells(NamedTuple):
    """The texts of a row in a table, before they are padded to columns."""

    row: NumberRow
    phone: str
    status: str
    remark: str


def account_lines(
    account: AccountView, paint: Paint, columns: int, *, has_ended: bool, show_all: bool = False
) -> Iterator[str]:
    """Yield the lines of an account in full: name, counts, error, rows, notices and refusals.

    `has_ended` is True if the account has an outcome, which is then shown beside its name. `show_all` is as for
    `group_lines`.
    """
    word = translate(account.mark.word)
    name = header(account.name, account.id, paint, columns - width(f": {word}") if has_ended else columns)
    yield f"{name}: {paint(account.mark.tone, word)}" if has_ended else name
    yield from indented(counts_text(account.counts) + _requests_text(account.requests), columns, "  ", "  ")
    yield from indented(account.error, columns, "  ", "    ", paint.style("bad"))
    for line in account.provenance:
        yield from indented(line, columns, "  ", "    ", paint.style("quiet"))
    groups = account.groups()
    if groups:
        yield ""
    yield from group_lines(groups, paint, columns, show_all=show_all)
    yield from _notices(account.notices, paint, columns, show_all=show_all)
    for refusal in account.refusals:
        yield ""
        yield from indented(f"{refusal.title}: {refusal.text}", columns, "  ", "    ", paint.style("bad"))


def _requests_text(requests: Requests) -> str:
    text = ", ".join(
        part
        for number, part in (
            (requests.reads, count(requests.reads, "read")),
            (requests.writes, count(requests.writes, "write")),
            (requests.retries, _("{count} retried").format(count=f"{requests.retries:,}")),
        )
        if number
    )
    return f" ({text})" if text else ""


def group_lines(groups: Sequence[NumberGroup], paint: Paint, columns: int, *, show_all: bool = False) -> Iterator[str]:
    """Yield the lines of one table of all groups. The advice of a group follows its rows.

    A long group is cut to a sample, unless `show_all` is True.
    """
    samples = [
        list(map(_cells, group.rows if show_all or len(group.rows) <= MANY else group.rows[:_SAMPLE]))
        for group in groups
    ]
    all_cells = [cells for sample in samples for cells in sample]
    mark_width = max((width(translate(cells.row.mark.word)) for cells in all_cells), default=0)
    phone_width = max((width(cells.phone) for cells in all_cells), default=0)
    status_width = max((width(cells.status) for cells in all_cells if cells.remark), default=0)
    indent = " " * (4 + mark_width + 2)
    for group, sample in zip(groups, samples, strict=True):
        label = paint(group.mark.tone, f"{group.mark.symbol} {fit(translate(group.mark.word), mark_width)}")
        for cells in sample:
            left_text = f"{fit(cells.phone, phone_width)}  {fit(cells.status, status_width)}"
            remark = safe(cells.remark, max(columns - len(indent), _NARROWEST))
            if remark and len(indent) + width(left_text) + 2 + width(remark) <= columns:
                yield f"  {label}  {left_text}  {paint('quiet', remark)}"
            else:
                yield f"  {label}  {left_text}".rstrip()
                if remark:
                    yield indent + paint("quiet", remark)
            if group.advice is None:
                yield from indented(_record(cells.row), columns, indent, indent, paint.style("quiet"))
        omitted_rows = group.rows[len(sample) :]
        if omitted_rows:
            text = _("and {count} more, from {first} to {last}").format(
                count=f"{len(omitted_rows):,}", first=_phone(omitted_rows[0].phone), last=_phone(omitted_rows[-1].phone)
            )
            yield f"{indent}{text}: --show-all"
        yield from indented(group.advice or "", columns, indent, indent, paint.style("quiet"))


def _phone(phone: str) -> str:
    return safe(hyphenated(phone), _PHONE_COLUMNS)


def _cells(row: NumberRow) -> _Cells:
    return _Cells(row, _phone(row.phone), safe(row.status, _STATUS_COLUMNS), _remark(row))


def _remark(row: NumberRow) -> str:
    until = row.until and _("until {moment}").format(moment=row.until)
    words = (" ".join(text.split()) for text in (until, row.external, row.note, row.owner))
    return " · ".join(safe(text, _REMARK_COLUMNS) for text in words if text)


def _record(row: NumberRow) -> str:
    """Return the error and the attempts of a number in the ledger."""
    parts = [row.error, *(_attempt(attempt, row.error) for attempt in row.attempts)]
    if row.duration_ms:
        parts.append(_("{milliseconds} ms in total").format(milliseconds=f"{row.duration_ms:,}"))
    return "; ".join(filter(None, parts))


def _attempt(attempt: Attempt, error_above: str) -> str:
    """Return the text of an attempt. Its error is left out if it is the error of the number, `error_above`."""
    error = "" if attempt.error is None else error_text(attempt.error)
    return _("attempt {number} at {time}: {state}{error}").format(
        number=attempt.number,
        time=attempt.intended_at[11:].removesuffix("Z"),
        state=translate(attempt.state),
        error="" if error in {"", error_above} else f" ({error})",
    )


def _notices(notices: Sequence[AttentionGroup], paint: Paint, columns: int, *, show_all: bool) -> Iterator[str]:
    if not notices:
        return
    yield ""
    yield f"  {paint('bold', _('Notices'))}"
    shown_notices = notices if show_all else notices[:MANY]
    groups = [
        NumberGroup(notice.mark, notice.text, [NumberRow(phone=phone, mark=notice.mark) for phone in notice.phones])
        for notice in shown_notices
        if notice.mark and notice.phones
    ]
    yield from group_lines(groups, paint, columns, show_all=show_all)
    for notice in shown_notices:
        if not notice.phones:
            yield from indented(f"i {notice.text}", columns, "  ", "    ")
    more_count = sum(len(notice.phones) or 1 for notice in notices[len(shown_notices) :])
    if more_count:
        yield f"  {count(more_count, 'more notice')}: --show-all"


def in_full_or_brief(
    accounts: Sequence[T],
    full: Callable[[T], Iterable[str]],
    brief: Callable[[T], str],
    names_of: Callable[[T], Sequence[str]],
    columns: int,
    *,
    show_all: bool = False,
) -> Iterator[str]:
    """Yield the lines of the first accounts in full, then a line for each group of further accounts.

    With `show_all`, yield the lines of all accounts in full.

    `full` returns the lines of an account. A group contains the accounts with equal `brief` texts. Its line shows their
    count and the first of their `names_of`.
    """
    count_in_full = len(accounts) if show_all else MANY
    for account in accounts[:count_in_full]:
        yield from full(account)
        yield ""
    names_by_text: dict[str, list[str]] = {}
    for account in accounts[count_in_full:]:
        names_by_text.setdefault(brief(account), []).extend(names_of(account))
    for text, names_of_text in sorted(names_by_text.items(), key=lambda item: -len(item[1]))[:MANY]:
        more_text = count(len(names_of_text), "more account")
        yield from indented(f"{more_text}: {text} ({names(names_of_text)})", columns, "", "  ")
    other_sizes = sorted(map(len, names_by_text.values()), reverse=True)[MANY:]
    if other_sizes:
        more_text, kinds = count(sum(other_sizes), "more account"), count(len(other_sizes), "other kind")
        yield _("{more} of {kinds}").format(more=more_text, kinds=kinds)
    if names_by_text:
        yield from indented(_("One account in full: --account NAME. All accounts: --show-all."), columns, "", "  ")
        yield ""


def names(all_names: Sequence[str]) -> str:
    """Return the first names, with the count of the others."""
    text = ", ".join(safe(name, _NAME_COLUMNS) for name in all_names[:_NAMES])
    more_count = len(all_names) - _NAMES
    return _("{names} and {count} more").format(names=text, count=f"{more_count:,}") if more_count > 0 else text


def header(account: str, account_id: str | None, paint: Paint, columns: int) -> str:
    """Return an account's name, cut to fit into `columns`, and the vendor's account id."""
    suffix = _(" (account {id})").format(id=safe(account_id, _ID_COLUMNS)) if account_id else ""
    return paint("bold", safe(account, max(columns - width(suffix), _NARROWEST))) + suffix


def indented(text: str, columns: int, first: str, rest: str, style: Callable[[str], str] = str) -> Iterator[str]:
    """Yield untrusted text as lines of at most `columns`. `first` indents the first line, `rest` the others."""
    for index, line in enumerate(wrap(text, max(columns - max(len(first), len(rest)), _NARROWEST))):
        yield (rest if index else first) + style(line)
