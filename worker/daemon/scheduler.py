"""Scheduler of passes. A pass starts by interval or cron expression, and at transitions of accounts.

After failures, accounts back off. Times are aware datetimes. Random numbers come from an argument.
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
"""Most doublings of the interval of a backoff. With more, it would exceed every possible limit."""


class Interval(Struct, frozen=True):
    """A trigger that starts a pass every `seconds` seconds."""

    seconds: float

    def after(self, moment: datetime) -> datetime:
        """Return the first start after `moment`, in UTC."""
        return moment.astimezone(UTC) + timedelta(seconds=self.seconds)


class Cron(Struct, frozen=True):
    """A trigger that starts passes at the times of a cron expression in a time zone. Use `cron` to create one."""

    expression: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime:
        """Return the first start after `moment`, in UTC. If there is none within 50 years, return a year later."""
        found = next(CronSim(self.expression, moment.astimezone(self.zone)), None)
        return (moment + _FAR if found is None else found).astimezone(UTC)


Trigger: TypeAlias = Interval | Cron
"""Decides when passes start."""


def cron(expression: str, zone: ZoneInfo, now: datetime) -> Cron:
    """Return the trigger of a cron expression with five fields.

    Raises:
        ValueError: the expression is invalid, or never matches. The message has the reason.
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
    """The names of the due accounts. `tick` is True if the trigger fired, and False if only transitions are due."""

    accounts: frozenset[str]
    tick: bool


class _Backoff(Struct, frozen=True):
    until: datetime
    failures: int


class Scheduler:
    """Scheduler of the passes over each account.

    The trigger starts passes over all accounts, up to `jitter` seconds late. An account that fails backs off: it skips
    such passes for a time that starts at the trigger's interval and doubles up to `longest` seconds. A transition of an
    account, such as the start of a window of its schedule, is never delayed by jitter or backoff.

    `uniform(low, high)` returns a random number in this range.
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
        """The time at which the trigger starts the next pass."""
        return self._begins

    @property
    def backoffs(self) -> dict[str, int]:
        """The accounts that back off, each with its count of consecutive failures."""
        return {name: backoff.failures for name, backoff in self._backoffs.items()}

    def wake(self) -> datetime:
        """Return the time of the next pass or transition."""
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
        """Schedule the next pass, after a pass that the trigger started at `began` and that ended at `ended`.

        Return True if the pass overran: the next pass was due before `ended`, and is skipped or delayed.
        """
        following = self._trigger.after(self._tick)
        if following <= began:
            # the pass started late, as the clock jumped or the machine was suspended: skip missed starts
            following = self._trigger.after(began)
        overran = following <= ended
        self._set(self._trigger.after(ended) if overran else following)
        return overran

    def failed(self, account: str, now: datetime) -> float:
        """Start or extend the backoff of an account at `now`. Return its length in seconds."""
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
        """Limit all waits after the clock was set back to `now`, so that none lasts longer than intended."""
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
