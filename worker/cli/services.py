"""The services of the daemon: metrics, health checks, status page and notifications."""

import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING, Any, Final

from worker import __version__, web
from worker.cli import ledger
from worker.cli.credentials import CredentialsResolver, open_channel
from worker.cli.notifications import read_state, state_path
from worker.cli.runner import now
from worker.config.files import replace
from worker.daemon.notify.dispatcher import Notifier
from worker.daemon.notify.tracker import Tracker
from worker.daemon.reads import ReadRecorder
from worker.daemon.status import LiveStatus, Watched
from worker.model.errors import UsageError
from worker.model.messages import Message, system_text
from worker.web import Access

if TYPE_CHECKING:
    from worker.config.settings import Settings
    from worker.daemon.loop import PassListener
    from worker.daemon.passes import Pass
    from worker.telemetry.logs import Logger
    from worker.telemetry.metrics import Metrics, QuotaUsage

__all__ = ["MetricsListener", "Services", "read_access"]

_FILE_EVENTS: Final = frozenset({"watch.file_broken", "watch.file_mended", "watch.file_removed", "watch.reloaded"})
"""Log events after which the desired state may have become valid or invalid."""


class MetricsListener:
    """Pass listener that updates the metrics of the daemon, and source of its health.

    `names` returns the names of the managed accounts. `quotas` returns the quotas of the API keys in use. `wall`
    returns the Unix time in seconds.
    """

    def __init__(
        self,
        metrics: "Metrics",
        names: Callable[[], Collection[str]],
        quotas: "Callable[[], Collection[QuotaUsage]]",
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._names = names
        self._quotas = quotas
        self._wall = wall
        self._suspended_since: dict[str | None, float] = {}
        self._watch: Watched | None = None
        self.live_status: LiveStatus | None = None
        self.recorder: ReadRecorder | None = None

    def follow(self, watch: Watched) -> None:
        """Set the watch loop whose health and status are reported."""
        self._watch = watch
        for follower in (self.live_status, self.recorder):
            if follower is not None:
                follower.follow(watch)

    def on_pass(self, finished_pass: "Pass") -> None:
        """Update the metrics with the result of a pass."""
        from worker.model.results import RunOutcome

        metrics = self._metrics
        metrics.set_accounts(self._names())
        for account in finished_pass.accounts:
            metrics.count_plan(account.plan, account.statuses)
            if account.result is not None:
                metrics.count_result(account.result)
        if any(account.result is not None for account in finished_pass.accounts):
            metrics.record_run(finished_pass.outcome)
        metrics.set_quotas(self._quotas())
        self._update_suspensions()
        if finished_pass.error is None and finished_pass.outcome is not RunOutcome.INTERRUPTED:
            metrics.record_pass()
        else:
            metrics.record_aborted_pass()

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Update the metrics after an event of files, settings or suspensions."""
        if event in _FILE_EVENTS and self._watch is not None:
            self._metrics.record_desired_state(is_valid=not self._watch.broken)
        elif event == "watch.suspended":
            self._suspended_since.setdefault(fields["account"], self._wall())
            self._update_suspensions()
        elif event == "watch.resumed":
            self._suspended_since.pop(fields["account"], None)
            self._update_suspensions()

    def render_metrics(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in a format that the Accept header allows, and their content type."""
        return self._metrics.render(accept)

    def why_not_alive(self) -> str | None:
        """Return why the daemon should be restarted, or None if it is alive."""
        return None if self._watch is None else self._watch.why_not_alive()

    def why_not_ready(self) -> str | None:
        """Return why the current files are not in force, or None if they are."""
        return Message("the daemon is starting") if self._watch is None else self._watch.why_not_ready()

    def _update_suspensions(self) -> None:
        fleet_since = self._suspended_since.get(None)
        by_fleet = {} if fleet_since is None else dict.fromkeys(self._names(), fleet_since)
        by_account = {name: since for name, since in self._suspended_since.items() if name is not None}
        self._metrics.set_suspensions(by_fleet | by_account)


class Services:
    """The services of the daemon that the settings configure.

    `listen` is the address of the HTTP server; None means no server. `resolver` resolves the secrets of accounts and
    channels.

    Raises:
        CredentialsMissing, ChannelUnusable: a channel of the settings cannot be used.
        UsageError: the token of the status page cannot be read, or is too short.
    """

    def __init__(self, settings: "Settings", metrics: "Metrics", listen: tuple[str, int] | None) -> None:
        self.resolver = CredentialsResolver(settings.secrets)
        self._settings = settings
        self._metrics = metrics
        self._listen = listen
        self._access = None if listen is None else read_access(settings, listen[0])
        self._channels = [(channel, open_channel(channel, self.resolver)) for channel in settings.notify.channels]

    def recorder(self, log: "Logger") -> ReadRecorder:
        """Return a recorder of the daemon's passes, for the status page."""
        database = ledger.ledger_database(self._settings)
        return ReadRecorder(database, log, host=node(), pid=os.getpid(), program=__version__, now=now)

    @asynccontextmanager
    async def run(
        self,
        names: Callable[[], Collection[str]],
        quotas: "Callable[[], Collection[QuotaUsage]]",
        log: "Logger",
        recorder: "ReadRecorder | None" = None,
    ) -> "AsyncIterator[tuple[MetricsListener, list[PassListener]]]":
        """Run the services inside the `async with` block. Yield the metrics listener, and the list of all listeners.

        `names` and `quotas` are as for `MetricsListener`. `recorder` is another listener; None without one. At the end,
        queued notifications are delivered.

        Raises:
            OSError: the address of the HTTP server cannot be used.
        """
        monitor = MetricsListener(self._metrics, names, quotas)
        listeners: list[PassListener] = [monitor]
        async with AsyncExitStack() as stack:
            if recorder is not None:
                monitor.recorder = recorder
                listeners.append(recorder)
                stack.push_async_callback(recorder.close)
            if self._listen is not None and self._access is not None:
                live_status = LiveStatus(quotas)
                monitor.live_status = live_status
                listeners.append(live_status)
                site = web.StatusPages(
                    ledger.ledger_database(self._settings),
                    self._access,
                    live=live_status.state,
                    desired=live_status.accounts,
                )
                live_status.on_change = site.events.notify
                stack.callback(site.close)
                url = await stack.enter_async_context(web.serve(monitor, *self._listen, site.respond))
                log.info("watch.listening", url=url)
            if self._channels:
                listeners.append(await stack.enter_async_context(self._notifications(names, log)))
            yield monitor, listeners

    @asynccontextmanager
    async def _notifications(self, names: Callable[[], Collection[str]], log: "Logger") -> AsyncIterator[Tracker]:
        state = state_path(self._settings)
        seconds = self._settings.notify.timeout_seconds
        async with Notifier(self._channels, log, host=node(), timeout_seconds=seconds) as notifier:
            has_failed = False

            def keep(data: bytes) -> None:
                nonlocal has_failed
                try:
                    state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    replace(state, data, mode=0o600)
                except OSError as error:
                    if not has_failed:
                        has_failed = True
                        message = Message(
                            "cannot save the sent notifications in {state}; a restart sends them again: {strerror}",
                            state=str(state),
                            strerror=system_text(error.strerror),
                        )
                        log.warning("notify.failed", error_message=message)

            yield Tracker(read_state(state), send=notifier.notify, keep=keep, names=names, version=__version__)


def read_access(settings: "Settings", host: str) -> "Access":
    """Return the access control of the status page on the address `host`.

    Raises:
        UsageError: the token cannot be read, or is too short.
    """
    from worker import web

    name = settings.web.token_file
    token = None
    if name is not None:
        try:
            token = Path(name).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            reason = (
                system_text(error.strerror)
                if isinstance(error, OSError)
                else Message("it is not text, or has no home folder")
            )
            raise UsageError(
                Message("web.token_file {name}: cannot be read: {reason}", name=name, reason=reason)
            ) from None
        if len(token) < web.MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable():
            raise UsageError(
                Message(
                    "web.token_file {name}: the token needs {minimum} or more printable ASCII characters, such as "
                    "the output of `openssl rand -hex 32`",
                    name=name,
                    minimum=web.MIN_TOKEN_LENGTH,
                )
            )
    return web.Access(token, host=host)
