"""The baseline of an account: the last accepted read, with which a new read is compared.

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
    """The count of numbers and the absent listed numbers of the last accepted read of one account.

    All clients of the account share its baseline, so that a confirmed loss of numbers is not checked again.
    `registered` is the count of numbers in that read; None before the first read. `absent` are the listed numbers that
    the read lacked.
    """

    __slots__ = ("_unconfirmed", "_was_compared", "absent", "registered")

    def __init__(self) -> None:
        self.registered: int | None = None
        self.absent: frozenset[str] = frozenset()
        self._unconfirmed: tuple[int, frozenset[str]] | None = None
        self._was_compared = False

    def reread_reason(self, observed: ObservedAccount, listed: Iterable[str]) -> str | None:
        """Return why a read must be repeated; None if it is accepted, which makes it the new baseline.

        If the last read had to be repeated, the read is compared with that one, even if its repeats failed; otherwise
        with the baseline. It must have each listed number of the other, and at least 70 % of its count of numbers.
        """
        registered, known_absent = self._unconfirmed or (self.registered, self.absent)
        count, absent_phones = len(observed.numbers), _absent(observed, listed)
        missing_phones = absent_phones - known_absent
        reason = _missing_reason(missing_phones) if missing_phones else _shrinkage(registered, count)
        if reason is not None:
            self._unconfirmed = count, absent_phones
        elif self._unconfirmed is not None:
            self.confirm(observed, listed)
        else:
            self.registered, self.absent = count, absent_phones
        return reason

    def last_run_mismatch(self, count: int, last_run_count: int | None) -> str | None:
        """Compare the first accepted read with the last run. Return the reason to repeat the read, or None.

        `count` is the count of numbers in the read, and `last_run_count` that of the last run; None if unknown. Later
        calls return None, because later reads are compared with the baseline.
        """
        if self._was_compared:
            return None
        self._was_compared = True
        reason = _shrinkage(last_run_count, count)
        if reason is not None:
            self._unconfirmed = count, self.absent
        return reason

    def confirm(self, observed: ObservedAccount, listed: Iterable[str]) -> None:
        """Accept a read as the new baseline without a check."""
        self._was_compared = True
        self._unconfirmed = None
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
