"""When what is due: the daemon's passes, its accounts' own times, and how long one that fails is left alone.

Moments are aware datetimes; chance comes in as an argument.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from msgspec import Struct

__all__ = ["LONGEST_REST", "Cron", "Due", "Interval", "Scheduler", "Trigger", "cron"]

LONGEST_REST: Final = 3600.0
"""Seconds that an account which fails again and again is left alone, at most, or until the next pass."""

_FIELDS: Final = 5
_FAR: Final = timedelta(days=366)
_MOST_DOUBLINGS: Final = 20
"""Beyond, doubling an interval is longer than any rest."""


class Trigger(Protocol):
    """When passes begin."""

    def after(self, moment: datetime) -> datetime:
        """The first time later than `moment`, UTC."""
        ...


class Interval(Struct, frozen=True):
    """A pass each so many seconds."""

    seconds: float

    def after(self, moment: datetime) -> datetime:
        """So many seconds later."""
        return moment.astimezone(UTC) + timedelta(seconds=self.seconds)


class Cron(Struct, frozen=True):
    """A pass whenever a cron expression says so, in the wall time of a zone; `cron` makes one that is sound."""

    expression: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime:
        """The expression's next time; a year from then where it has none in fifty."""
        found = next(CronSim(self.expression, moment.astimezone(self.zone)), None)
        return (moment + _FAR if found is None else found).astimezone(UTC)


def cron(expression: str, zone: ZoneInfo, now: datetime) -> Cron:
    """The rhythm of a cron expression of five fields.

    Raises:
        ValueError: it is none, or never comes; with what is wrong.
    """
    fields = len(expression.split())
    if fields != _FIELDS:
        msg = f"a cron expression has five fields (minute hour day month weekday), not {fields}"
        raise ValueError(msg)
    try:
        found = next(CronSim(expression, now.astimezone(zone)), None)
    except CronSimError as error:
        msg = f"{str(error).lower()} field"
        raise ValueError(msg) from None
    if found is None:
        msg = "it names no time in the next fifty years"
        raise ValueError(msg)
    return Cron(expression, zone)


class Due(Struct, frozen=True):
    """What is due now: accounts by name, and whether it is the rhythm's turn rather than some accounts' own time."""

    accounts: frozenset[str]
    tick: bool


class _Rest(Struct, frozen=True):
    until: datetime
    failures: int


class Scheduler:
    """When each account is to be looked at again.

    All are with each pass of the rhythm, which begins up to `jitter` seconds later. One that fails sits out those
    within a rest that doubles from the rhythm's own interval up to `longest` seconds. An account's own time, such as
    the edge of a window of its schedule, is kept whatever else is.

    `uniform(low, high)` draws a number between two.
    """

    def __init__(
        self,
        rhythm: Trigger,
        now: datetime,
        *,
        uniform: Callable[[float, float], float],
        jitter: float = 0.0,
        longest: float = LONGEST_REST,
    ) -> None:
        self._rhythm = rhythm
        self._uniform = uniform
        self._jitter = jitter
        self._longest = longest
        self._tick = self._begins = now
        self._own: dict[str, datetime] = {}
        self._resting: dict[str, _Rest] = {}

    @property
    def next_pass(self) -> datetime:
        """When the next pass of the rhythm begins."""
        return self._begins

    @property
    def resting(self) -> dict[str, int]:
        """The accounts that failed when they were last looked at, and how often in a row."""
        return {name: rest.failures for name, rest in self._resting.items()}

    def wake(self) -> datetime:
        """When something is due next."""
        return min((self._begins, *self._own.values()))

    def due(self, now: datetime, accounts: Iterable[str]) -> Due:
        """What is due by `now` of these accounts."""
        tick = now >= self._begins
        return Due(
            frozenset(name for name in accounts if self._has_come(name, now) or (tick and not self._rests(name, now))),
            tick,
        )

    def expect(self, account: str, moment: datetime | None) -> None:
        """An account's next own time; None where it has none."""
        if moment is None:
            self._own.pop(account, None)
        else:
            self._own[account] = moment

    def forget(self, account: str) -> None:
        """Know nothing of an account any more."""
        self._own.pop(account, None)
        self._resting.pop(account, None)

    def hurry(self, now: datetime) -> None:
        """Let the next pass begin now, and nobody rest."""
        self._tick = self._begins = now
        self._resting.clear()

    def passed(self, began: datetime, ended: datetime) -> bool:
        """Set the next pass after one of the rhythm; whether its time fell into this one, which makes it later."""
        following = self._rhythm.after(self._tick)
        if following <= began:
            # the clock has jumped, or the machine slept
            following = self._rhythm.after(began)
        overran = following <= ended
        self._set(self._rhythm.after(ended) if overran else following)
        return overran

    def failed(self, account: str, now: datetime) -> float:
        """Leave an account alone for a while; how many seconds."""
        before = self._resting.get(account)
        failures = 1 if before is None else before.failures + 1
        interval = (self._rhythm.after(now) - now).total_seconds()
        most = min(self._longest, interval * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        seconds = self._uniform(most / 2, most)
        self._resting[account] = _Rest(now + timedelta(seconds=seconds), failures)
        return seconds

    def succeeded(self, account: str) -> None:
        """An account is well, or its file was changed: it rests no more."""
        self._resting.pop(account, None)

    def turned_back(self, now: datetime) -> None:
        """The clock was set back: wait for nothing longer than one would have waited from `now` on."""
        following = self._rhythm.after(now)
        if self._tick > following:
            self._set(following)
        latest = now + timedelta(seconds=self._longest)
        for name, rest in self._resting.items():
            if rest.until > latest:
                self._resting[name] = _Rest(latest, rest.failures)

    def _set(self, tick: datetime) -> None:
        self._tick = tick
        self._begins = tick + timedelta(seconds=self._uniform(0.0, self._jitter))

    def _has_come(self, account: str, now: datetime) -> bool:
        moment = self._own.get(account)
        return moment is not None and moment <= now

    def _rests(self, account: str, now: datetime) -> bool:
        rest = self._resting.get(account)
        return rest is not None and now < rest.until
