"""Tracker of the daemon's state, which sends notifications when the state changes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from worker.daemon.notify.changes import (
    Notification,
    NotifiedAccount,
    NotifyState,
    encode,
    notifications,
    start_notification,
    stop_notification,
    update_account,
)
from worker.model.messages import Message

if TYPE_CHECKING:
    from worker.daemon.passes import Pass

__all__ = ["Tracker"]

_SETTINGS: Final = "settings"
"""The name of the settings file among the invalid files."""


class Tracker:
    """Pass listener that compares the daemon's state before and after each pass or event, and sends notifications.

    `state` is the state before the restart. `keep` is called with each new state to save it, so that a restart does not
    repeat notifications. `send` is called with new notifications. Neither may raise. `names` returns the names of the
    managed accounts.
    """

    def __init__(
        self,
        state: NotifyState,
        *,
        send: Callable[[Sequence[Notification]], None],
        keep: Callable[[bytes], None],
        names: Callable[[], Collection[str]],
        version: str,
    ) -> None:
        self._state = state
        self._send = send
        self._save = keep
        self._names = names
        self._version = version
        self._suspended: dict[str | None, str] = {}

    def on_pass(self, finished_pass: "Pass") -> None:
        """Receive the result of a pass."""
        earlier = self._state.accounts
        states = {
            account_pass.plan.account: update_account(
                earlier.get(account_pass.plan.account, NotifiedAccount()),
                account_pass.plan,
                account_pass.result,
                finished_pass.run_id,
            )
            for account_pass in finished_pass.accounts
        }
        names = set(self._names())
        self._update(accounts={name: state for name, state in {**earlier, **states}.items() if name in names})

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Receive a log event of the daemon, with its fields."""
        match event:
            case "watch.started":
                self._send([start_notification(fields["accounts"], self._version)])
                # the daemon starts only if every file is valid
                self._update(broken={})
            case "watch.stopping":
                self._send([stop_notification(fields["error_message"])])
            case "watch.file_broken":
                self._update(broken={**self._state.broken, fields["file"]: fields["error_message"]})
            case "watch.file_mended" | "watch.file_removed":
                self._mark_valid(fields["file"])
            case "watch.reloaded" if fields.get("error_code") is None:
                self._mark_valid(_SETTINGS)
            case "watch.reloaded":
                self._update(broken={**self._state.broken, _SETTINGS: fields["error_message"]})
            case "watch.suspended":
                self._suspended[fields["account"]] = fields["reason"] or Message("no reason given")
            case "watch.resumed":
                self._suspended.pop(fields["account"], None)

    def _mark_valid(self, file: str) -> None:
        self._update(broken={name: problem for name, problem in self._state.broken.items() if name != file})

    def _update(
        self, *, accounts: Mapping[str, NotifiedAccount] | None = None, broken: Mapping[str, str] | None = None
    ) -> None:
        """Update the state, then send notifications of its changes and save it.

        Suspensions are updated with `accounts`, at the end of a pass, when all of them are known.
        """
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
            changes = notifications(self._state, now)
            self._state = now
            if changes:
                self._send(changes)
            self._save(encode(now))
