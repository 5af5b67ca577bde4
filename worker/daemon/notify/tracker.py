"""Follows the daemon and finds the news: what its passes and its own events change of the state that was last told."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import structs

from worker.daemon.notify.changes import (
    AccountState,
    Notification,
    NotifyState,
    encoded,
    notifications,
    started,
    stopping,
    updated,
)
from worker.model.plans import AccountPlan
from worker.model.results import AccountResult

__all__ = ["AccountRecord", "PassRecord", "Tracker"]

_SETTINGS: Final = "settings"
"""The settings among the files that may be broken."""


class AccountRecord(Protocol):
    """One account in one pass: its plan, and what became of it where it was carried out."""

    @property
    def plan(self) -> AccountPlan:
        """What was planned."""
        ...

    @property
    def result(self) -> AccountResult | None:
        """What became of it."""
        ...


class PassRecord(Protocol):
    """One pass of the daemon."""

    @property
    def run_id(self) -> str:
        """By which the ledger knows it."""
        ...

    @property
    def accounts(self) -> Sequence[AccountRecord]:
        """The accounts that it was about, which need not be all."""
        ...


class Tracker:
    """Tells what is new of each pass and event, and keeps what was told, so that a restart does not tell it again.

    `state` is what was kept, `names` gives the accounts that are watched now, `keep` takes each new state as bytes.
    Neither `tell` nor `keep` may fail.
    """

    def __init__(
        self,
        state: NotifyState,
        *,
        tell: Callable[[Sequence[Notification]], None],
        keep: Callable[[bytes], None],
        names: Callable[[], Collection[str]],
        version: str,
    ) -> None:
        self._state = state
        self._tell = tell
        self._keep = keep
        self._names = names
        self._version = version
        self._suspended: dict[str | None, str] = {}

    def passed(self, done: PassRecord) -> None:
        """A pass has ended."""
        known = self._state.accounts
        found = {
            each.plan.account: updated(
                known.get(each.plan.account, AccountState()), each.plan, each.result, done.run_id
            )
            for each in done.accounts
        }
        watched = set(self._names())
        self._turn(accounts={name: state for name, state in {**known, **found}.items() if name in watched})

    def happened(self, event: str, fields: Mapping[str, Any]) -> None:
        """The daemon did, or met, something else: one of its log events with its fields."""
        match event:
            case "watch.started":
                self._tell([started(fields["accounts"], self._version)])
                # it starts only where every file is right
                self._turn(broken={})
            case "watch.stopping":
                self._tell([stopping(fields["error_message"])])
            case "watch.file_broken":
                self._turn(broken={**self._state.broken, fields["file"]: fields["error_message"]})
            case "watch.file_mended" | "watch.file_removed":
                self._mended(fields["file"])
            case "watch.reloaded" if fields.get("error_code") is None:
                self._mended(_SETTINGS)
            case "watch.reloaded":
                self._turn(broken={**self._state.broken, _SETTINGS: fields["error_message"]})
            case "watch.suspended":
                self._suspended[fields["account"]] = fields["reason"] or "without a reason"
            case "watch.resumed":
                self._suspended.pop(fields["account"], None)

    def _mended(self, file: str) -> None:
        self._turn(broken={name: problem for name, problem in self._state.broken.items() if name != file})

    def _turn(
        self, *, accounts: Mapping[str, AccountState] | None = None, broken: Mapping[str, str] | None = None
    ) -> None:
        """Tell and keep what is different now; suspensions count with a pass, when all that hold have been told."""
        now = self._state
        if broken is not None:
            now = structs.replace(now, broken=broken)
        if accounts is not None:
            now = NotifyState(
                accounts={
                    name: structs.replace(state, suspended=self._suspended.get(name))
                    for name, state in accounts.items()
                },
                broken=now.broken,
                suspended=self._suspended.get(None),
            )
        if now != self._state:
            told = notifications(self._state, now)
            self._state = now
            if told:
                self._tell(told)
            self._keep(encoded(now))
