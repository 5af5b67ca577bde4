"""What is worth knowing of an account besides its numbers' story, as lines; what is alike stands together."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from worker.model.plans import Notice, NoticeKind
from worker.render.i18n import gettext as _
from worker.render.i18n import translated
from worker.render.terminal import Paint
from worker.render.text.layout import MANY, Group, Mark, Row, count, indented, render_groups

__all__ = ["MARKS", "grouped", "repeats", "worth_knowing"]

MARKS: Final = {kind: Mark("i", kind.value.replace("_", " "), "yellow") for kind in NoticeKind}
_STATUSES: Final = frozenset({NoticeKind.PENDING, NoticeKind.DUPLICATED, NoticeKind.BLOCKED})
"""Kinds that say of a number no more than that its status needs a person."""


def worth_knowing(notices: Iterable[Notice], told: Collection[str], paint: Paint, columns: int) -> Iterator[str]:
    """The notices below a heading of theirs, a blank line before it; nothing where there are none.

    Those of numbers whose status is `told` of anyway are left out.
    Numbers with the same message share it. Of more messages than anybody reads the first are shown, and a count.
    """
    alike = grouped(notice for notice in notices if not repeats(notice, told))
    if not alike:
        return
    yield ""
    yield f"  {paint('bold', _('Worth knowing'))}"
    first = list(alike.items())[:MANY]
    groups = [
        Group.of(MARKS[kind], some, _row, translated(message)) for (kind, message), some in first if some[0].phone
    ]
    yield from render_groups(groups, paint, columns)
    for (_kind, message), some in first:
        if not some[0].phone:
            yield from indented(f"i {translated(message)}", columns, "  ", "    ")
    left = sum(map(len, alike.values())) - sum(len(some) for _alike, some in first)
    if left:
        yield f"  {count(left, 'more notice')}: --format json"


def repeats(notice: Notice, told: Collection[str]) -> bool:
    """Whether a notice says no more than what is told of these numbers anyway."""
    return notice.kind in _STATUSES and notice.phone in told


def grouped(notices: Iterable[Notice]) -> dict[tuple[NoticeKind, str], list[Notice]]:
    """Notices of one kind and message together."""
    alike: dict[tuple[NoticeKind, str], list[Notice]] = {}
    for notice in notices:
        alike.setdefault((notice.kind, notice.message), []).append(notice)
    return alike


def _row(notice: Notice) -> Row:
    return Row(notice.phone or "", "")
