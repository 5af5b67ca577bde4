"""What a read of an account is compared with before it is believed.

Pure: counts and phones in, a reason to read again out.
"""

from collections.abc import Iterable
from itertools import filterfalse
from typing import Final

from worker.model.accounts import ObservedAccount
from worker.model.messages import Message

__all__ = ["Baseline"]

_LEAST_LEFT: Final = (7, 10)
"""The share of the numbers, as a fraction, that one read may leave of those before it and still be believed at once."""


class Baseline:
    """The numbers that the last believed read of one account has shown.

    Clients of the account share it, so that a loss that a further read has confirmed is not doubted again. `registered`
    is how many numbers there were, None before the first read; `absent` are the listed numbers that were not among
    them.
    """

    __slots__ = ("_compared", "absent", "registered")

    def __init__(self) -> None:
        self.registered: int | None = None
        self.absent: frozenset[str] = frozenset()
        self._compared = False

    def doubt(self, observed: ObservedAccount, listed: Iterable[str]) -> str | None:
        """Return why a read must be repeated before it is believed; None if it is believed, and compared with next."""
        absent = _absent(observed, listed)
        lost = absent - self.absent
        if lost:
            return _lost(lost)
        reason = _shrinkage(self.registered, len(observed.numbers))
        if reason is None:
            self.registered, self.absent = len(observed.numbers), absent
        return reason

    @staticmethod
    def loss(before: ObservedAccount, observed: ObservedAccount, listed: Iterable[str]) -> str | None:
        """Return why a read after a doubted one is doubted too: it lost what that one had; None if it did not."""
        lost = _absent(observed, listed) - _absent(before, listed)
        return _lost(lost) if lost else _shrinkage(len(before.numbers), len(observed.numbers))

    def recall(self, numbers: int, registered: int | None) -> str | None:
        """Compare the count of the first believed read with that of earlier runs; return why to repeat it, or None.

        Later reads are compared with the read before them alone.
        """
        if self._compared:
            return None
        self._compared = True
        return _shrinkage(registered, numbers)

    def confirm(self, observed: ObservedAccount, listed: Iterable[str]) -> None:
        """Believe a read, whatever it shows."""
        self._compared = True
        self.registered, self.absent = len(observed.numbers), _absent(observed, listed)


def _absent(observed: ObservedAccount, listed: Iterable[str]) -> frozenset[str]:
    return frozenset(filterfalse(observed.numbers.__contains__, listed))


def _lost(lost: frozenset[str]) -> str:
    return Message("listed numbers that are not registered: {phones}", phones=len(lost))


def _shrinkage(before: int | None, after: int) -> str | None:
    """Return the reason to repeat a read that lost more than 30 % of the numbers; exactly 30 % is no reason."""
    share, whole = _LEAST_LEFT
    if before is None or after * whole >= before * share:
        return None
    return Message("registered numbers fell from {before} to {after}", before=before, after=after)
