"""Scheduler of passes: by interval or cron expression, at transitions of accounts, and with backoff after failures.

Times are aware datetimes; randomness is an argument.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from msgspec import Struct

from worker.model.messages import Message

__all__ = ["LONGEST_REST", "Cron", "DueWork", "Interval", "Scheduler", "Trigger", "cron"]

LONGEST_REST: Final = 3600.0
"""Longest backoff in seconds of an account that keeps failing."""

_FIELDS: Final = 5
_FAR: Final = timedelta(days=366)
_MOST_DOUBLINGS: Final = 20
"""More doublings of an interval exceed every backoff."""


class Interval(Struct, frozen=True):
    """A pass every `seconds` seconds."""

    seconds: float

    def after(self, moment: datetime) -> datetime:
        """Return the first start after `moment`, in UTC."""
        return moment.astimezone(UTC) + timedelta(seconds=self.seconds)


class Cron(Struct, frozen=True):
    """A pass at the times of a cron expression in a time zone; `cron` validates the expression."""

    expression: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime:
        """Return the first start after `moment`, in UTC; a year later if there is none within 50 years."""
        found = next(CronSim(self.expression, moment.astimezone(self.zone)), None)
        return (moment + _FAR if found is None else found).astimezone(UTC)


Trigger: TypeAlias = Interval | Cron
"""Decides when passes start."""


def cron(expression: str, zone: ZoneInfo, now: datetime) -> Cron:
    """Return the trigger of a cron expression with five fields.

    Raises:
        ValueError: the expression is invalid, or never matches; with the reason.
    """
    fields = len(expression.split())
    if fields != _FIELDS:
        raise ValueError(
            Message("a cron expression has five fields (minute hour day month weekday), not {count}", count=fields)
        )
    try:
        first = next(CronSim(expression, now.astimezone(zone)), None)
    except CronSimError as error:
        raise ValueError(Message("{problem} field", problem=str(error).lower())) from None
    if first is None:
        raise ValueError(Message("it never matches within the next 50 years"))
    return Cron(expression, zone)


class DueWork(Struct, frozen=True):
    """The due accounts, by name; `tick` is True if the trigger fired, False if only transitions are due."""

    accounts: frozenset[str]
    tick: bool


class _Backoff(Struct, frozen=True):
    until: datetime
    failures: int


class Scheduler:
    """Schedule of the passes over each account.

    A pass of the trigger covers all accounts and starts up to `jitter` seconds late. An account that fails backs off:
    it skips passes for a time that doubles from the trigger's interval up to `longest` seconds. A transition of an
    account, such as the edge of a window of its schedule, is always on time.

    `uniform(low, high)` draws a random number.
    """

    def __init__(
        self,
        trigger: Trigger,
        now: datetime,
        *,
        uniform: Callable[[float, float], float],
        jitter: float = 0.0,
        longest: float = LONGEST_REST,
    ) -> None:
        self._trigger = trigger
        self._uniform = uniform
        self._jitter = jitter
        self._longest = longest
        self._tick = self._begins = now
        self._own: dict[str, datetime] = {}
        self._backoffs: dict[str, _Backoff] = {}

    @property
    def next_pass(self) -> datetime:
        """When the trigger starts the next pass."""
        return self._begins

    @property
    def backoffs(self) -> dict[str, int]:
        """The accounts that back off, with their failures in a row."""
        return {name: backoff.failures for name, backoff in self._backoffs.items()}

    def wake(self) -> datetime:
        """Return when something is due next."""
        return min((self._begins, *self._own.values()))

    def due(self, now: datetime, accounts: Iterable[str]) -> DueWork:
        """Return which of the accounts are due at `now`."""
        tick = now >= self._begins
        return DueWork(
            frozenset(
                name for name in accounts if self._is_due(name, now) or (tick and not self._backs_off(name, now))
            ),
            tick,
        )

    def expect(self, account: str, moment: datetime | None) -> None:
        """Set the next transition of an account; None for no transition."""
        if moment is None:
            self._own.pop(account, None)
        else:
            self._own[account] = moment

    def forget(self, account: str) -> None:
        """Drop the transition and the backoff of an account."""
        self._own.pop(account, None)
        self._backoffs.pop(account, None)

    def hurry(self, now: datetime) -> None:
        """Start the next pass now, and end every backoff."""
        self._tick = self._begins = now
        self._backoffs.clear()

    def passed(self, began: datetime, ended: datetime) -> bool:
        """Schedule the pass after one that the trigger started.

        Return True if it was due during this pass and is delayed.
        """
        following = self._trigger.after(self._tick)
        if following <= began:
            # the clock jumped, or the machine was suspended
            following = self._trigger.after(began)
        overran = following <= ended
        self._set(self._trigger.after(ended) if overran else following)
        return overran

    def failed(self, account: str, now: datetime) -> float:
        """Let an account back off, and return for how many seconds."""
        before = self._backoffs.get(account)
        failures = 1 if before is None else before.failures + 1
        interval = (self._trigger.after(now) - now).total_seconds()
        most = min(self._longest, interval * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        seconds = self._uniform(most / 2, most)
        self._backoffs[account] = _Backoff(now + timedelta(seconds=seconds), failures)
        return seconds

    def succeeded(self, account: str) -> None:
        """End the backoff of an account."""
        self._backoffs.pop(account, None)

    def clock_set_back(self, now: datetime) -> None:
        """Shorten every wait to its length from `now`, after the clock was set back."""
        following = self._trigger.after(now)
        if self._tick > following:
            self._set(following)
        latest = now + timedelta(seconds=self._longest)
        for name, backoff in self._backoffs.items():
            if backoff.until > latest:
                self._backoffs[name] = _Backoff(latest, backoff.failures)

    def _set(self, tick: datetime) -> None:
        self._tick = tick
        self._begins = tick + timedelta(seconds=self._uniform(0.0, self._jitter))

    def _is_due(self, account: str, now: datetime) -> bool:
        moment = self._own.get(account)
        return moment is not None and moment <= now

    def _backs_off(self, account: str, now: datetime) -> bool:
        backoff = self._backoffs.get(account)
        return backoff is not None and now < backoff.until
