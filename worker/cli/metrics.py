"""The metrics of a run, and their delivery to a file and a push gateway."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from worker.cli.output import emit
from worker.config.files import STDOUT, check_writable
from worker.model.errors import DesiredStateError
from worker.model.messages import Message, system_text
from worker.render.i18n import gettext as _
from worker.render.i18n import translate

if TYPE_CHECKING:
    from worker.config.settings import Settings
    from worker.model.ports import Log
    from worker.model.results import Result
    from worker.plan.build import Draft
    from worker.reconcile.fleet import Fleet
    from worker.telemetry.metrics import Metrics

__all__ = ["RunMetrics", "run_metrics"]

_LONGEST: Final = 64 << 20
"""Maximum size in bytes of an earlier run's metrics file. The metrics of 10,000 accounts have about 30 MB."""


class RunMetrics:
    """The metrics of a run, and their delivery. If `metrics` is None, all methods do nothing."""

    def __init__(
        self, metrics: "Metrics | None" = None, deliver: Callable[[Callable[[str], None]], None] | None = None
    ) -> None:
        self.metrics = metrics
        self._deliver = deliver
        self._is_delivered = False

    def record_plans(self, drafts: "list[Draft]") -> None:
        """Record the plans of the run."""
        if self.metrics is not None:
            for draft in drafts:
                self.metrics.count_plan(draft.plan, draft.statuses)

    def record_result(self, result: "Result") -> None:
        """Record the result of the run."""
        if self.metrics is not None:
            for account in result.accounts:
                self.metrics.count_result(account)
            self.metrics.record_run(result.outcome)

    @asynccontextmanager
    async def during(self, fleet: "Fleet", log: "Log") -> AsyncIterator[None]:
        """Record whether the `async with` block completes, then deliver the metrics.

        Failures of the delivery are logged.
        """
        metrics = self.metrics
        if metrics is None:
            yield
            return
        is_complete = False
        try:
            yield
            is_complete = fleet.interrupted is None
        finally:
            if is_complete:
                metrics.record_pass()
            else:
                metrics.record_aborted_pass()
            metrics.set_quotas(fleet.quotas.values())
            await asyncio.to_thread(self.deliver, lambda message: log.warning("metrics.failed", error_message=message))

    def record_failure(self, error: Exception) -> None:
        """Record an error that prevented the start of the run, then deliver the metrics."""
        if self.metrics is not None and not self._is_delivered:
            self.metrics.record_desired_state(is_valid=not isinstance(error, DesiredStateError))
            self.metrics.record_aborted_pass()
            self.deliver(
                lambda message: click.echo(_("warning: {warning}").format(warning=translate(message)), err=True)
            )

    def deliver(self, report: Callable[[str], None]) -> None:
        """Deliver the metrics. `report` is called with the message of each failure."""
        self._is_delivered = True
        if self._deliver is not None:
            self._deliver(report)


@contextmanager
def run_metrics(settings: "Settings", path: str | None) -> Iterator[RunMetrics]:
    """Yield the metrics of a run. They are written to `path` and pushed to the gateway of the settings, if any.

    Raises:
        OSError: the file cannot be written.
    """
    gateway = settings.metrics.push_url
    if path is None and gateway is None:
        yield RunMetrics()
        return

    from worker.telemetry.metrics import Metrics
    from worker.telemetry.pushgateway import push

    file = None if path == STDOUT else path
    check_writable(file)
    metrics = Metrics(accounts=settings.metrics.accounts)
    if file is not None:
        metrics.restore_last_pass(_earlier(Path(file)))

    def deliver(report: Callable[[str], None]) -> None:
        if path is not None:
            try:
                emit(metrics.render()[0], file)
            except OSError as error:
                report(
                    Message(
                        "the metrics could not be written to {path}: {strerror}",
                        path=path,
                        strerror=system_text(error.strerror),
                    )
                )
        if gateway is not None:
            failure = push(metrics.registry, gateway, settings.metrics.job)
            if failure is not None:
                report(
                    Message("the metrics could not be pushed to {gateway}: {failure}", gateway=gateway, failure=failure)
                )

    metering = RunMetrics(metrics, deliver)
    try:
        yield metering
    except Exception as error:
        metering.record_failure(error)
        raise


def _earlier(path: Path) -> str:
    """Return the text of an earlier run's metrics file; empty if it cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_LONGEST).decode(errors="replace")
    except OSError:
        return ""
