"""What is worth knowing of an account besides its numbers' story, as lines; what is alike stands together."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from worker.documents import Notice, NoticeKind
from worker.render.layout import MANY, Group, Mark, Row, count, indented, render_groups
from worker.render.terminal import Paint

__all__ = ["shown", "worth_knowing"]

_MARKS: Final = {kind: Mark("i", kind.value.replace("_", " "), "yellow") for kind in NoticeKind}
_STATUSES: Final = frozenset({NoticeKind.PENDING, NoticeKind.DUPLICATED, NoticeKind.BLOCKED})
"""Kinds that say of a number no more than that its status needs a person."""


def shown(notices: Iterable[Notice], told: Collection[str]) -> list[Notice]:
    """The notices without those of numbers whose status is `told` of anyway."""
    return [notice for notice in notices if notice.kind not in _STATUSES or notice.phone not in told]


def worth_knowing(notices: Iterable[Notice], told: Collection[str], paint: Paint, columns: int) -> Iterator[str]:
    """The notices below a heading of theirs, a blank line before it; nothing where there are none.

    Numbers with the same message share it. Of more messages than anybody reads the first are shown, and a count.
    """
    alike: dict[tuple[NoticeKind, str], list[Notice]] = {}
    for notice in shown(notices, told):
        alike.setdefault((notice.kind, notice.message), []).append(notice)
    if not alike:
        return
    yield ""
    yield f"  {paint('bold', 'Worth knowing')}"
    for (kind, message), some in list(alike.items())[:MANY]:
        rows = [notice for notice in some if notice.phone is not None]
        if rows:
            yield from render_groups([Group.of(_MARKS[kind], rows, _row, message)], paint, columns)
        else:
            yield from indented(f"{_MARKS[kind].symbol} {message}", columns, "  ", "    ")
    left = sum(map(len, list(alike.values())[MANY:]))
    if left:
        yield f"  {count(left, 'more notice')}: --format json"


def _row(notice: Notice) -> Row:
    return Row(notice.phone or "", "")
