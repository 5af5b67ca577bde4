"""Renderer of Markdown that fits a comment. If it is too long, rows are omitted and counted."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from worker.model.plans import Action
from worker.render.i18n import gettext as _
from worker.render.i18n import ngettext, translate
from worker.render.markdown.escape import NOTE, code, html_code, name_list, phone, prose, table
from worker.render.marks import MARKS, count
from worker.render.view.attention import AttentionGroup, group_by
from worker.render.view.parts import MANY, AccountView, DocumentView, NumberGroup, NumberRow

__all__ = ["CAP", "comment"]

CAP: Final = 65_000
"""Maximum size in bytes of a comment in UTF-8. GitHub accepts 65,536 characters, and the caller adds a line or two."""

_WRITES: Final = (Action.ACTIVATE, Action.DEACTIVATE)
_FOLDED: Final = 30
"""Maximum count of rows of a document whose accounts are unfolded; accounts of longer ones are in `<details>`."""
_GATHERED: Final = 5
"""Maximum count of accounts that are shown one below the other; more are in one `<details>`."""
_SUMMED: Final = 10
"""Maximum count of accounts that the summary names. The others are summed up, so that it fits a screen."""
_SAMPLES: Final = (None, 500, 100, 10)
"""Maximum counts of rows shown of one group; None means all rows. The first value that fits a comment is used."""
_LIST: Final = 15_000
"""Maximum size in bytes of a list, so that three lists, a title and totals always fit a comment."""
_PHONES: Final = 10
"""Maximum count of numbers that a notice names. The others are counted."""
_ALIKE: Final = 200
"""Maximum count of rows of an account that is compared with others, as larger accounts rarely have the same rows."""


class _Head(Struct, frozen=True):
    """The title of a comment, in Markdown, and its verdict; "" for none."""

    title: str
    verdict: str


class Section(Struct, frozen=True):
    """Accounts with equal rows, which are shown once."""

    accounts: Sequence[AccountView]

    @property
    def view(self) -> AccountView:
        """The first account, which represents all."""
        return self.accounts[0]

    @property
    def names(self) -> list[str]:
        """The names of the accounts."""
        return [account.name for account in self.accounts]


def comment(view: DocumentView, title: str, remarks: Sequence[str] = (), cap: int = CAP, *, verdict: str = "") -> str:
    """Return a comment of at most `cap` bytes, ended by a newline, with as much of a view as fits.

    `title` is Markdown; `remarks` are plain text and are escaped. `verdict` is a sentence about the whole view; with
    it, a table sums up the accounts. A view that is too long is reduced to samples of its tables, then to a line for
    each account, then to counts.
    """
    sections = _sections(view.accounts)
    head = _Head(title, verdict)
    for lines in (
        *(_in_full(view, sections, head, remarks, limit) for limit in _SAMPLES),
        _in_brief(view, sections, head, remarks, is_complete=True),
    ):
        text = _within(lines, cap)
        if text is not None:
            return text
    return "\n".join(_in_brief(view, sections, head, remarks, is_complete=False)) + "\n"


def _sections(accounts: Sequence[AccountView]) -> list[Section]:
    """Return the accounts that have rows or provenance, grouped by equal rows."""
    groups = group_by(
        ((account.brief, index if account.size > _ALIKE else account.content), account)
        for index, account in enumerate(accounts)
        if account.size or account.provenance
    )
    return list(map(Section, groups.values()))


def _within(lines: Iterator[str], cap: int) -> str | None:
    output = []
    size = 0
    for line in lines:
        size += len(line.encode()) + 1
        if size > cap:
            return None
        output.append(line)
    return "\n".join(output) + "\n"


def _head(view: DocumentView, head: _Head) -> Iterator[str]:
    yield f"### {head.verdict or head.title}"
    if head.verdict:
        yield ""
        yield f"**{head.title}**"
    for _tone, sentence in view.remarks:
        yield ""
        yield f"**{prose(sentence)}**"
    yield from _list(list(map(_item, view.attention)))


def _item(item: AttentionGroup) -> str:
    if item.kind == "numbers":
        text = f": {prose(item.text)}" if item.text else ""
        return f"**{item.title}** ({name_list(item.accounts)}){text}"
    account_prefix = f"{count(len(item.accounts), 'account')}: " if len(item.accounts) > 1 else ""
    text = item.text if item.kind == "error" else f"{item.title}: {item.text}"
    return f"{account_prefix}{name_list(item.accounts)}: {prose(text)}"


def _notice(item: AttentionGroup) -> str:
    accounts = name_list(item.accounts)
    if not item.phones:
        return f"{accounts}: {prose(item.text)}"
    numbers = ", ".join(map(phone, item.phones[:_PHONES]))
    omitted_count = len(item.phones) - _PHONES
    if omitted_count > 0:
        numbers = _("{names} and {count} more").format(names=numbers, count=f"{omitted_count:,}")
    return f"{accounts}: {numbers}: {prose(item.text)}"


def _foot(view: DocumentView, remarks: Sequence[str]) -> Iterator[str]:
    if view.quiet_title:
        yield ""
        yield f"<details><summary>{view.quiet_title}</summary>"
        yield ""
        yield name_list(view.quiet, limit=MANY)
        yield ""
        yield "</details>"
    if view.notices:
        yield ""
        yield f"<details><summary><b>{_('Notices')}</b>: {len(view.notices):,}</summary>"
        yield from _list(list(map(_notice, view.notices)))
        yield ""
        yield "</details>"
    for remark in remarks:
        yield ""
        yield prose(remark)


def _list(lines: Sequence[str]) -> Iterator[str]:
    """Yield a blank line and a list of the first lines that fit, with the count of the others."""
    items: list[str] = []
    bytes_left = _LIST
    for line in lines[:MANY] if len(lines) > MANY + 1 else lines:
        bytes_left -= len(line.encode()) + 3
        if bytes_left < 0:
            break
        items.append(f"- {line}")
    more_count = len(lines) - len(items)
    if more_count:
        items.append("- " + _("and {count} more like these").format(count=f"{more_count:,}"))
    if items:
        yield ""
        yield from items


def _in_full(
    view: DocumentView, sections: Sequence[Section], head: _Head, remarks: Sequence[str], sample: int | None
) -> Iterator[str]:
    is_folded = sum(section.view.size for section in sections) > _FOLDED
    is_gathered = len(sections) > _GATHERED
    yield from _head(view, head)
    if head.verdict and len(sections) > 1:
        yield from _summary(sections)
    if is_gathered:
        yield ""
        yield f"<details><summary><b>{_('Changes by account')}</b>: {_sizes(sections)}</summary>"
    omitted_count = 0
    for section in sections:
        is_own_fold = is_folded or section.view.size > MANY
        yield ""
        if is_own_fold:
            yield f"<details><summary>{_name(section, html=True)}: {_html_brief(section)}</summary>"
        else:
            yield f"#### {_name(section)}: {prose(section.view.brief)}"
        for remark in section.view.provenance:
            yield ""
            yield prose(remark)
        groups = section.view.groups()
        yield from _numbers(groups, sample, _("Action") if view.ending is None else _("Outcome"))
        omitted_count += sum(_omitted_count(group, sample) for group in groups)
        if is_own_fold:
            yield ""
            yield "</details>"
    if is_gathered:
        yield ""
        yield "</details>"
    yield from _foot(view, remarks)
    if omitted_count:
        text = ngettext(
            "{count} number is left out of the tables.", "{count} numbers are left out of the tables.", omitted_count
        )
        yield from _all_of_them(text, omitted_count)


def _sizes(sections: Sequence[Section]) -> str:
    """Return the counts of the numbers and the accounts of sections."""
    numbers = sum(section.view.size * len(section.accounts) for section in sections)
    accounts = sum(len(section.accounts) for section in sections)
    return f"{count(numbers, 'number')}, {count(accounts, 'account')}"


def _summary(sections: Sequence[Section]) -> Iterator[str]:
    """Yield a table of accounts, the most severe first: what each activates, deactivates, and leaves to an operator."""
    ordered = sorted(sections, key=lambda section: (section.view.mark.tone != "bad", not section.view.attention_count))
    listed_sections = ordered if len(ordered) <= _SUMMED + 1 else ordered[:_SUMMED]
    counted_accounts = [account for section in ordered[len(listed_sections) :] for account in section.accounts]
    rows = [
        (name_list(section.names), *_sums(section.accounts), _attention(section.accounts))
        for section in listed_sections
    ]
    if counted_accounts:
        rows.append(
            (count(len(counted_accounts), "more account"), *_sums(counted_accounts), _attention(counted_accounts))
        )
    yield from table((_("Account"), *(MARKS[action].symbol for action in _WRITES), _("Needs attention")), rows)


def _sums(accounts: Sequence[AccountView]) -> tuple[str, ...]:
    return tuple(f"{sum(account.counts.get(action, 0) for account in accounts):,}" for action in _WRITES)


def _attention(accounts: Sequence[AccountView]) -> str:
    """Return the verdict on accounts if none can be applied, or the count of their numbers that need attention.

    The count is followed by the count of accounts that cannot be applied, for each verdict.
    """
    verdicts = Counter(account.mark.word for account in accounts if account.mark.tone == "bad")
    if list(verdicts.values()) == [len(accounts)]:
        return prose(translate(accounts[0].mark.word))
    numbers = f"{sum(account.attention_count for account in accounts):,}"
    return "; ".join([numbers, *(f"{prose(translate(word))}: {count(n, 'account')}" for word, n in verdicts.items())])


def _omitted_count(group: NumberGroup, sample: int | None) -> int:
    return 0 if sample is None or len(group.rows) <= max(sample, MANY) else len(group.rows) - sample


def _numbers(groups: Sequence[NumberGroup], sample: int | None, action: str) -> Iterator[str]:
    """Yield one table of the numbers of an account, and a line for each group of which rows are left out."""
    group_sizes = [(group, len(group.rows) - _omitted_count(group, sample)) for group in groups]
    rows = [(group, row) for group, size in group_sizes for row in group.rows[:size]]
    columns = {title: [cell(group, row) for group, row in rows] for title, cell in _columns(action).items()}
    filled_columns = {title: cells for title, cells in columns.items() if any(cells)}
    if rows:
        yield from table(list(filled_columns), zip(*filled_columns.values(), strict=True))
    for group, size in group_sizes:
        omitted_rows = group.rows[size:]
        if omitted_rows:
            text = _("and {count} more, from {first} to {last}").format(
                count=f"{len(omitted_rows):,}", first=phone(omitted_rows[0].phone), last=phone(omitted_rows[-1].phone)
            )
            yield ""
            yield f"{prose(translate(group.mark.word))}: {text}"


def _columns(action: str) -> dict[str, Callable[[NumberGroup, NumberRow], str]]:
    """Return the columns of a table of numbers by title. `action` is the title of the first."""
    return {
        action: lambda _group, row: f"{row.mark.symbol}\u00a0{prose(translate(row.mark.word))}".strip(),
        _("Number"): lambda _group, row: phone(row.phone),
        _("Status"): lambda _group, row: prose(row.status),
        _("Why"): _why,
        _("Until"): lambda _group, row: code(row.until),
        _("Note"): lambda _group, row: prose(row.note, NOTE),
        _("Owner"): lambda _group, row: prose(row.owner, NOTE),
        _("Attempts"): lambda _group, row: prose(
            ", ".join(f"{attempt.number}: {translate(attempt.state)}" for attempt in row.attempts)
        ),
    }


def _why(group: NumberGroup, row: NumberRow) -> str:
    """Return the reason and the cause of a number. A group without advice has the error of its account."""
    reason = "" if group.advice == "" else row.reason or row.error
    return prose("; ".join(filter(None, (reason, row.cause))))


def _in_brief(
    view: DocumentView, sections: Sequence[Section], head: _Head, remarks: Sequence[str], *, is_complete: bool
) -> Iterator[str]:
    yield from _head(view, head)
    rows = (
        (prose(translate(count.mark.counted)), f"{count.numbers:,}", f"{count.accounts:,}") for count in view.counts
    )
    if view.counts:
        yield from table(("", _("Numbers"), _("Accounts")), rows)
    names: dict[str, list[str]] = {}
    for section in sections:
        names.setdefault(section.view.brief, []).extend(section.names)
    lines = [_in_a_line(brief, names_alike) for brief, names_alike in names.items()]
    if is_complete:
        yield ""
        yield from (f"- {line}" for line in lines)
    else:
        yield from _list(lines)
    yield from _foot(view, remarks)
    size = sum(section.view.size * len(section.accounts) for section in sections)
    text = ngettext("{count} number is not listed here.", "{count} numbers are not listed here.", size)
    yield from _all_of_them(text, size)


def _in_a_line(brief: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{code(names[0])}: {prose(brief)}"
    return f"{count(len(names), 'account')} ({name_list(names)}): {prose(brief)}"


def _all_of_them(text: str, more_count: int) -> Iterator[str]:
    yield ""
    yield text.format(count=f"{more_count:,}") + " " + _("All of them: `--format html` or `--format json`.")


def _name(section: Section, *, html: bool = False) -> str:
    names = name_list(section.names, html=html)
    if len(section.accounts) > 1:
        text = _("Same in {accounts}: {names}")
        return text.format(accounts=count(len(section.accounts), "account"), names=names)
    if section.view.id is None:
        return names
    return f"{names} ({html_code(section.view.id) if html else code(section.view.id)})"


def _html_brief(section: Section) -> str:
    text = prose(section.view.brief)
    return html_code(section.view.brief) if text.startswith("`") else text
