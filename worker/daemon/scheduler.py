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

__all__ = ["LONGEST_REST", "Cron", "DueWork", "Interval", "Scheduler", "Trigger", "backoff_seconds", "cron"]

LONGEST_REST: Final = 3600.0
"""Longest backoff in seconds of an account that keeps failing."""

_FIELDS: Final = 5
_FAR: Final = timedelta(days=366)
_MAX_DOUBLINGS: Final = 20
"""Maximum count of doublings of the interval of a backoff. With more, it would exceed every possible limit."""


class Interval(Struct, frozen=True):
    """A trigger that starts a pass every `seconds` seconds."""

    seconds: float

    def next_start(self, moment: datetime) -> datetime:
        """Return the first start after `moment`, in UTC."""
        return moment.astimezone(UTC) + timedelta(seconds=self.seconds)


class Cron(Struct, frozen=True):
    """A trigger that starts passes at the times of a cron expression in a time zone. Use `cron` to create one."""

    expression: str
    zone: ZoneInfo

    def next_start(self, moment: datetime) -> datetime:
        """Return the first start after `moment`, in UTC. If there is none within 50 years, return a year later."""
        next_moment = next(CronSim(self.expression, moment.astimezone(self.zone)), None)
        return (moment + _FAR if next_moment is None else next_moment).astimezone(UTC)


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
        raise ValueError(Message("no time matches within the next 50 years"))
    return Cron(expression, zone)


class DueWork(Struct, frozen=True):
    """The names of the due accounts. `is_tick` is True if the trigger fired; otherwise, only transitions are due."""

    accounts: frozenset[str]
    is_tick: bool


class _Backoff(Struct, frozen=True):
    until: datetime
    failures: int


def backoff_seconds(
    failures: int, interval: float, *, uniform: Callable[[float, float], float], longest: float = LONGEST_REST
) -> float:
    """Return a random backoff in seconds after `failures` consecutive failures.

    Its maximum is `interval`, doubled for each failure after the first, but at most `longest`. Its minimum is half of
    the maximum. Both arguments are in seconds.
    """
    most = min(longest, interval * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
    return uniform(most / 2, most)


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
        self._tick = self._next_pass = now
        self._transitions: dict[str, datetime] = {}
        self._backoffs: dict[str, _Backoff] = {}

    @property
    def next_pass(self) -> datetime:
        """The time at which the trigger starts the next pass."""
        return self._next_pass

    @property
    def backoffs(self) -> dict[str, int]:
        """The accounts that back off, each with its count of consecutive failures."""
        return {name: backoff.failures for name, backoff in self._backoffs.items()}

    def next_wake(self) -> datetime:
        """Return the time of the next pass or transition."""
        return min((self._next_pass, *self._transitions.values()))

    def due_work(self, now: datetime, accounts: Iterable[str]) -> DueWork:
        """Return which of the accounts are due at `now`."""
        is_tick = now >= self._next_pass
        return DueWork(
            frozenset(
                name for name in accounts if self._is_due(name, now) or (is_tick and not self._backs_off(name, now))
            ),
            is_tick,
        )

    def expect(self, account: str, moment: datetime | None) -> None:
        """Set the next transition of an account; None for no transition."""
        if moment is None:
            self._transitions.pop(account, None)
        else:
            self._transitions[account] = moment

    def forget(self, account: str) -> None:
        """Drop the transition and the backoff of an account."""
        self._transitions.pop(account, None)
        self._backoffs.pop(account, None)

    def start_pass_now(self, now: datetime) -> None:
        """Start the next pass now, and end every backoff."""
        self._tick = self._next_pass = now
        self._backoffs.clear()

    def finish_pass(self, start: datetime, end: datetime) -> bool:
        """Schedule the next pass, after a pass that the trigger started at `start` and that ended at `end`.

        Return True if the pass overran: the next pass was due before `end`, and is skipped or delayed.
        """
        next_start = self._trigger.next_start(self._tick)
        if next_start <= start:
            # the pass started late, as the clock jumped or the machine was suspended: skip missed starts
            next_start = self._trigger.next_start(start)
        has_overrun = next_start <= end
        self._set(self._trigger.next_start(end) if has_overrun else next_start)
        return has_overrun

    def back_off(self, account: str, now: datetime) -> float:
        """Start or extend the backoff of an account at `now`. Return its length in seconds."""
        backoff = self._backoffs.get(account)
        failures = 1 if backoff is None else backoff.failures + 1
        interval = (self._trigger.next_start(now) - now).total_seconds()
        seconds = backoff_seconds(failures, interval, longest=self._longest, uniform=self._uniform)
        self._backoffs[account] = _Backoff(now + timedelta(seconds=seconds), failures)
        return seconds

    def end_backoff(self, account: str) -> None:
        """End the backoff of an account."""
        self._backoffs.pop(account, None)

    def limit_waits(self, now: datetime) -> None:
        """Limit all waits after the clock was set back to `now`, so that none lasts longer than intended."""
        next_start = self._trigger.next_start(now)
        if self._tick > next_start:
            self._set(next_start)
        latest = now + timedelta(seconds=self._longest)
        for name, backoff in self._backoffs.items():
            if backoff.until > latest:
                self._backoffs[name] = _Backoff(latest, backoff.failures)

    def _set(self, tick: datetime) -> None:
        self._tick = tick
        self._next_pass = tick + timedelta(seconds=self._uniform(0.0, self._jitter))

    def _is_due(self, account: str, now: datetime) -> bool:
        moment = self._transitions.get(account)
        return moment is not None and moment <= now

    def _backs_off(self, account: str, now: datetime) -> bool:
        backoff = self._backoffs.get(account)
        return backoff is not None and now < backoff.until
