"""Notifications of one-shot runs. They share the channels and the memory of `senderid watch`."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING, Final

import click
from filelock import FileLock, Timeout
from msgspec import structs

from worker.cli.credentials import CredentialsResolver, open_channel
from worker.cli.ledger import ledger_path
from worker.config.files import replace
from worker.daemon.notify.changes import (
    Coverage,
    NotifiedAccount,
    NotifyState,
    decode,
    encode,
    notifications,
    update_account,
    update_covered,
)
from worker.daemon.notify.dispatcher import deliver
from worker.daemon.notify.message import compose
from worker.model.errors import ChannelUnusable, CredentialsMissing, DesiredStateError, LedgerError
from worker.model.messages import Message, system_text
from worker.render.i18n import gettext as _
from worker.render.i18n import translate

if TYPE_CHECKING:
    from worker.cli.runner import Session
    from worker.config.channels import Channel
    from worker.config.settings import Settings
    from worker.daemon.notify.changes import Notification
    from worker.model.plans import AccountPlan
    from worker.model.results import AccountResult

__all__ = ["notify_of_accounts", "notify_of_files", "read_state", "state_path"]

_LOCK_SECONDS: Final = 30.0
"""Time to wait for another run that sends notifications, in seconds."""

_Report = Callable[[str, str], None]
"""Receives the name of a channel, or of the memory, and why it failed."""


def state_path(settings: "Settings") -> Path:
    """Return the path of the memory of notifications, beside the ledger.

    Raises:
        LedgerError: the user has no home folder.
    """
    return ledger_path(settings).with_name("news.json")


def read_state(path: Path) -> NotifyState:
    """Return the saved state of notifications; an empty state if the file cannot be read."""
    try:
        return decode(path.read_bytes()) or NotifyState()
    except OSError:
        return NotifyState()


async def notify_of_accounts(
    run: "Session",
    plans: "Iterable[AccountPlan]",
    results: "Iterable[AccountResult | None]",
    coverage: Coverage,
) -> None:
    """Notify the channels of what changed in accounts since the last run.

    `plans` and `results` are of the same accounts, and `coverage` is the part of their state that the run shows.
    Failures are logged: they do not end the run.
    """
    if run.fleet.interrupted is not None:
        return
    pairs = list(zip(plans, results, strict=True))

    def update(before: NotifyState) -> NotifyState:
        accounts = dict(before.accounts)
        for plan, result in pairs:
            earlier = accounts.get(plan.account, NotifiedAccount())
            now = update_account(earlier, plan, result, run.run_id)
            accounts[plan.account] = update_covered(earlier, now, coverage)
        # the run has read its files
        return structs.replace(before, accounts=accounts, broken={})

    def report(channel: str, reason: str) -> None:
        run.log.warning("notify.failed", channel=channel, error_message=reason)

    await _update(run.settings, update, report)


def notify_of_files(settings: "Settings", error: DesiredStateError) -> None:
    """Notify the channels of invalid desired-state files. Failures are printed."""
    broken = {problem.source: str(problem) for problem in reversed(error.problems)}
    asyncio.run(_update(settings, lambda before: structs.replace(before, broken=broken), _print))


def _print(channel: str, reason: str) -> None:
    warning = Message("channel {channel}: {reason}", channel=channel, reason=reason)
    click.echo(_("warning: {warning}").format(warning=translate(warning)), err=True)


async def _update(settings: "Settings", update: Callable[[NotifyState], NotifyState], report: _Report) -> None:
    """Update the memory, and send what changed. If no channel accepts that, the next run sends it again."""
    try:
        path = state_path(settings)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=_LOCK_SECONDS, mode=0o600):
            before = read_state(path)
            now = update(before)
            changes = notifications(before, now)
            if now != before and await _send(settings, changes, report):
                replace(path, encode(now), mode=0o600)
    except (OSError, LedgerError, Timeout) as error:
        reason = system_text(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
        report("news.json", reason)


async def _send(settings: "Settings", changes: "Sequence[Notification]", report: _Report) -> bool:
    """Send notifications to the channels that subscribe to them. Return False if all of these fail."""
    resolver = CredentialsResolver(settings.secrets)
    attempts = [
        _send_to(channel, subscribed, resolver, settings.notify.timeout_seconds, report)
        for channel in settings.notify.channels
        if (subscribed := [change for change in changes if change.event in channel.events])
    ]
    accepted = await asyncio.gather(*attempts)
    return not accepted or any(accepted)


async def _send_to(
    channel: "Channel",
    changes: "Sequence[Notification]",
    resolver: CredentialsResolver,
    seconds: float,
    report: _Report,
) -> bool:
    try:
        sender = open_channel(channel, resolver)
    except (CredentialsMissing, ChannelUnusable) as error:
        report(channel.name, str(error))
        return False
    reason = await deliver(sender, compose(changes, channel, host=node()), seconds)
    if reason is not None:
        report(channel.name, reason)
    return reason is None
