"""The live status of the daemon for the status page. The page reads all other data from the ledger."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from worker.model.status_page import DaemonState, QuotaUse
from worker.model.times import format_utc
from worker.render.i18n import gettext as _
from worker.render.i18n import translate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.daemon.passes import Pass
    from worker.model.accounts import DesiredAccount
    from worker.model.errors import DesiredStateError, SettingsError
    from worker.model.reads import AccountRead
    from worker.model.suspension import Suspend
    from worker.telemetry.metrics import QuotaUsage, WindowUsage

__all__ = ["LiveStatus", "Watched"]

_PROBLEMS: Final = 3
"""Maximum count of problems of an invalid file that a page shows."""


class Watched(Protocol):
    """A loop whose status is reported, such as `worker.daemon.loop.WatchLoop`."""

    @property
    def last(self) -> "Pass | None":
        """The last finished pass; None before the end of the first pass."""
        ...

    @property
    def next_pass(self) -> datetime:
        """The time at which the next pass starts."""
        ...

    @property
    def accounts(self) -> "Sequence[DesiredAccount]":
        """The managed accounts."""
        ...

    @property
    def suspended(self) -> "Mapping[str | None, Suspend]":
        """The suspensions in force by account; the key None is a suspension of all accounts."""
        ...

    @property
    def broken(self) -> "Mapping[str, DesiredStateError | SettingsError]":
        """The files whose current version is invalid, with their problems."""
        ...

    def why_not_alive(self) -> str | None:
        """Return why the process should be restarted, or None if it is alive."""
        ...

    def why_not_ready(self) -> str | None:
        """Return why the current desired state is not in force, or None if it is."""
        ...


class LiveStatus:
    """Pass listener that keeps the live status of the watch loop.

    `on_change` is called after each change. `quotas` returns the quotas of the API keys in use.
    """

    def __init__(self, quotas: "Callable[[], Collection[QuotaUsage]]") -> None:
        self._quotas = quotas
        self._watch: Watched | None = None
        self._reads: dict[str, AccountRead] = {}
        self.on_change: Callable[[], None] = lambda: None

    def follow(self, watch: Watched) -> None:
        """Set the watch loop whose status is reported."""
        self._watch = watch

    def on_pass(self, finished_pass: "Pass") -> None:
        """Record the reads of a pass."""
        self._reads |= {
            account_pass.read.account: account_pass.read
            for account_pass in finished_pass.accounts
            if account_pass.read is not None
        }
        self.on_change()

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:  # noqa: ARG002 - the signature of a listener
        """Call `on_change` after an event, such as a change of files, settings or suspensions."""
        self.on_change()

    def accounts(self) -> "Sequence[DesiredAccount]":
        """Return the managed accounts, from the last valid version of their files."""
        return () if self._watch is None else self._watch.accounts

    def state(self) -> DaemonState:
        """Return the current status."""
        watch = self._watch
        if watch is None:
            return DaemonState(ready=_("the daemon is starting"))
        names = {account.name for account in watch.accounts}
        last = watch.last
        return DaemonState(
            last_pass=None if last is None else format_utc(last.ended_at),
            next_pass=None if last is None else format_utc(watch.next_pass),
            outcome=None if last is None else last.outcome,
            ready=watch.why_not_ready(),
            reads=tuple(read for name, read in self._reads.items() if name in names),
            suspended={name: _reason(suspend) for name, suspend in watch.suspended.items()},
            broken={file: _problems(error) for file, error in sorted(watch.broken.items())},
            quotas=tuple(_quota(quota.writes, quota.reads) for quota in self._quotas()),
        )


def _quota(writes: "WindowUsage", reads: "WindowUsage") -> QuotaUse:
    return QuotaUse(writes.used, writes.capacity, reads.used, reads.capacity, writes.seconds)


def _reason(suspend: "Suspend") -> str:
    """Return the reason of a suspension, who is responsible, and when it ends."""
    parts = (suspend.reason, suspend.by, None if suspend.ends is None else format_utc(suspend.ends))
    return " · ".join(part for part in parts if part)


def _problems(error: "DesiredStateError | SettingsError") -> str:
    return "; ".join(translate(str(problem)) for problem in error.problems[:_PROBLEMS])
