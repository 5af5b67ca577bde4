"""The baseline of an account: what a read is compared with before it is accepted.

Pure: counts and phones in, a reason to read again out.
"""

from collections.abc import Iterable
from itertools import filterfalse
from typing import Final

from worker.model.accounts import ObservedAccount
from worker.model.messages import Message

__all__ = ["Baseline"]

_LEAST_LEFT: Final = (7, 10)
"""The least share of the previous numbers, as a fraction, that a read must have to be accepted at once."""


class Baseline:
    """The numbers of the last accepted read of one account.

    Clients of the account share it, so that a confirmed loss is not checked again. `registered` is the count of
    numbers, None before the first read; `absent` are the listed numbers that were missing.
    """

    __slots__ = ("_recalled", "absent", "registered")

    def __init__(self) -> None:
        self.registered: int | None = None
        self.absent: frozenset[str] = frozenset()
        self._recalled = False

    def reread_reason(self, observed: ObservedAccount, listed: Iterable[str]) -> str | None:
        """Return why a read must be repeated; None if it is accepted as the new baseline."""
        absent = _absent(observed, listed)
        missing = absent - self.absent
        if missing:
            return _missing_reason(missing)
        reason = _shrinkage(self.registered, len(observed.numbers))
        if reason is None:
            self.registered, self.absent = len(observed.numbers), absent
        return reason

    @staticmethod
    def loss(before: ObservedAccount, observed: ObservedAccount, listed: Iterable[str]) -> str | None:
        """Return why a repeated read must be repeated again: it lacks numbers of the read before; None otherwise."""
        missing = _absent(observed, listed) - _absent(before, listed)
        return _missing_reason(missing) if missing else _shrinkage(len(before.numbers), len(observed.numbers))

    def recall(self, numbers: int, registered: int | None) -> str | None:
        """Compare the count of the first accepted read with that of earlier runs. Return why to repeat it, or None.

        Later reads are only compared with the read before them.
        """
        if self._recalled:
            return None
        self._recalled = True
        return _shrinkage(registered, numbers)

    def confirm(self, observed: ObservedAccount, listed: Iterable[str]) -> None:
        """Accept a read without a check."""
        self._recalled = True
        self.registered, self.absent = len(observed.numbers), _absent(observed, listed)


def _absent(observed: ObservedAccount, listed: Iterable[str]) -> frozenset[str]:
    return frozenset(filterfalse(observed.numbers.__contains__, listed))


def _missing_reason(missing: frozenset[str]) -> str:
    return Message("listed numbers that are not registered: {phones}", phones=len(missing))


def _shrinkage(before: int | None, after: int) -> str | None:
    """Return the reason to repeat a read that lacks more than 30 % of the numbers; None up to exactly 30 %."""
    share, whole = _LEAST_LEFT
    if before is None or after * whole >= before * share:
        return None
    return Message("registered numbers fell from {before} to {after}", before=before, after=after)
