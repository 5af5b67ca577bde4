"""The baseline of an account: the numbers of earlier reads, against which a new read is checked.

The module does no I/O. It returns the reason to repeat a read.
"""

from collections.abc import Iterable
from itertools import filterfalse
from typing import Final

from worker.model.accounts import ObservedAccount
from worker.model.messages import Message

__all__ = ["Baseline"]

_MIN_SHARE: Final = (7, 10)
"""Minimum share of the previous count of numbers, as a fraction, for a read to be accepted without a repeat."""


class Baseline:
    """The numbers of the last accepted read of one account.

    All clients of the account share its baseline, so that a confirmed loss of numbers is not checked again.
    `registered` is the count of numbers in that read; None before the first read. `absent` are the listed numbers that
    the read lacked.
    """

    __slots__ = ("_was_compared", "absent", "registered")

    def __init__(self) -> None:
        self.registered: int | None = None
        self.absent: frozenset[str] = frozenset()
        self._was_compared = False

    def reread_reason(self, observed: ObservedAccount, listed: Iterable[str]) -> str | None:
        """Return why a read must be repeated; None if it is complete. A complete read becomes the new baseline."""
        absent_phones = _absent(observed, listed)
        missing_phones = absent_phones - self.absent
        if missing_phones:
            return _missing_reason(missing_phones)
        reason = _shrinkage(self.registered, len(observed.numbers))
        if reason is None:
            self.registered, self.absent = len(observed.numbers), absent_phones
        return reason

    @staticmethod
    def loss(observed_before: ObservedAccount, observed: ObservedAccount, listed: Iterable[str]) -> str | None:
        """Return why a repeated read must be repeated again; None if it is accepted.

        It must have each listed number that `observed_before` has, and at least 70 % of that read's count of numbers.
        """
        missing_phones = _absent(observed, listed) - _absent(observed_before, listed)
        return (
            _missing_reason(missing_phones)
            if missing_phones
            else _shrinkage(len(observed_before.numbers), len(observed.numbers))
        )

    def last_run_mismatch(self, count: int, last_run_count: int | None) -> str | None:
        """Compare the first accepted read with the last run. Return the reason to repeat the read, or None.

        `count` is the count of numbers in the read, and `last_run_count` that of the last run; None if unknown. Later
        calls return None, because later reads are compared with the baseline.
        """
        if self._was_compared:
            return None
        self._was_compared = True
        return _shrinkage(last_run_count, count)

    def confirm(self, observed: ObservedAccount, listed: Iterable[str]) -> None:
        """Accept a read as the new baseline without a check."""
        self._was_compared = True
        self.registered, self.absent = len(observed.numbers), _absent(observed, listed)


def _absent(observed: ObservedAccount, listed: Iterable[str]) -> frozenset[str]:
    return frozenset(filterfalse(observed.numbers.__contains__, listed))


def _missing_reason(missing_phones: frozenset[str]) -> str:
    return Message("listed numbers that are not registered: {phones}", phones=len(missing_phones))


def _shrinkage(before: int | None, after: int) -> str | None:
    """Return the reason to repeat a read if it lacks more than 30 % of the numbers; None at exactly 30 % or less."""
    share, divisor = _MIN_SHARE
    if before is None or after * divisor >= before * share:
        return None
    return Message("registered numbers fell from {before} to {after}", before=before, after=after)
