"""The live status of the daemon for the status page. The page reads all other data from the ledger."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from worker.model.plans import Action
from worker.model.results import Outcome
from worker.model.status_page import AttentionItem, DaemonState, LastRead, QuotaUse
from worker.model.times import format_utc
from worker.render.i18n import gettext as _
from worker.render.i18n import translate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.daemon.loop import WatchLoop
    from worker.daemon.passes import Pass
    from worker.model.accounts import DesiredAccount
    from worker.model.plans import AccountPlan
    from worker.telemetry.metrics import QuotaUsage, WindowUsage

__all__ = ["LiveStatus"]

_CHANGED: Final = Outcome.CHANGED
_NOT_WRITTEN: Final = frozenset({Action.UNMANAGED, Action.PROTECTED})
_PROBLEMS: Final = 3
"""Maximum count of problems of an invalid file that a page shows."""


class LiveStatus:
    """Pass listener that keeps the live status of the watch loop.

    `on_change` is called after each change. `quotas` returns the quotas of the API keys in use.
    """

    def __init__(self, quotas: "Callable[[], Collection[QuotaUsage]]") -> None:
        self._quotas = quotas
        self._watch: WatchLoop | None = None
        self._reads: dict[str, LastRead] = {}
        self._plans: dict[str, tuple[AttentionItem, ...]] = {}
        self.on_change: Callable[[], None] = lambda: None

    def follow(self, watch: "WatchLoop") -> None:
        """Set the watch loop whose status is reported."""
        self._watch = watch

    def on_pass(self, finished_pass: "Pass") -> None:
        """Record the result of a pass. Numbers that it changed count as in sync."""
        at = format_utc(finished_pass.ended_at)
        for account_pass in finished_pass.accounts:
            plan = account_pass.plan
            changed_count = 0 if account_pass.result is None else account_pass.result.counts.get(_CHANGED, 0)
            differing_count = max(0, sum(change.action not in _NOT_WRITTEN for change in plan.changes) - changed_count)
            self._reads[plan.account] = LastRead(plan.account, at, plan.verdict, differing_count)
            self._plans[plan.account] = tuple(_needs(plan))
        self.on_change()

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:  # noqa: ARG002 - the signature of a listener
        """Receive an event, such as a change of files, settings or suspensions."""
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
            outcome=None if last is None else last.outcome,
            ready=watch.why_not_ready(),
            reads=tuple(read for name, read in self._reads.items() if name in names),
            needs=(
                *_standing(watch),
                *(item for name, items in self._plans.items() if name in names for item in items),
            ),
            quotas=tuple(_quota(quota.writes, quota.reads) for quota in self._quotas()),
        )


def _quota(writes: "WindowUsage", reads: "WindowUsage") -> QuotaUse:
    return QuotaUse(writes.used, writes.capacity, reads.used, reads.capacity, writes.seconds)


def _standing(watch: "WatchLoop") -> Iterator[AttentionItem]:
    for file, error in sorted(watch.broken.items()):
        problems = "; ".join(translate(str(problem)) for problem in error.problems[:_PROBLEMS])
        yield AttentionItem("broken", None, f"{file}: {problems}")
    for name, suspend in watch.suspended.items():
        parts = (suspend.reason, suspend.by, None if suspend.ends is None else format_utc(suspend.ends))
        yield AttentionItem("suspended", name, " · ".join(part for part in parts if part) or _("nothing is written"))


def _needs(plan: "AccountPlan") -> Iterator[AttentionItem]:
    if plan.error is not None:
        yield AttentionItem(plan.error.code, plan.account, plan.error.message)
    for refusal in plan.refusals:
        yield AttentionItem(refusal.rule, plan.account, refusal.message)
    for notice in plan.notices:
        yield AttentionItem(notice.kind, plan.account, notice.message, notice.phone)
