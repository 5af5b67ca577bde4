"""OpenTelemetry traces, with a span for the run, for each account, and for each request.

OpenTelemetry is installed with the extra `otel`, so this module is imported only if traces are enabled. No span
contains a phone number, a key or a message of the API.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from worker import __version__
from worker.model.errors import ApiError
from worker.model.ports import RunLog
from worker.telemetry.threads import run_with_timeout

__all__ = ["Traced", "Traces"]

_EXPORT_SECONDS: Final = 2.0
"""Time limit in seconds for the export at the end of a run."""
_FIRST_ERROR: Final = 400
"""Minimum HTTP status that makes the span of a request an error."""
_SPAN_FIELDS: Final = frozenset({"attempts", "duration_ms", "error_code", "http_status", "numbers", "active"})
"""Fields of a log line to copy into the event of a span. None of them contains a phone number or a text of the API."""


class Traces:
    """The tracer of a process, which exports spans in batches. It implements `worker.model.ports.RequestObserver`."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = _Exporter(exporter)
        resource = Resource.create({"service.name": "senderid", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("senderid", __version__)
        self._tasks: set[asyncio.Task[Any] | None] = set()

    @classmethod
    def to_collector(cls) -> Self:
        """Return traces that are exported to the collector that the environment variables `OTEL_EXPORTER_OTLP_…` name.

        Raises:
            ValueError: a variable has an invalid value.
        """
        return cls(OTLPSpanExporter())

    @contextmanager
    def run(self, run_id: str) -> Iterator[None]:
        """Open the span of a run for the duration of the context. Its accounts run in other tasks."""
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            with self._tracer.start_as_current_span("run", attributes={"senderid.run_id": run_id}):
                yield
        finally:
            self._tasks.discard(task)

    def account(self, name: str) -> None:
        """Start the span of an account, which ends with the current task. Later calls in the task have no effect."""
        task = asyncio.current_task()
        if task is None or task in self._tasks:
            return
        span = self._tracer.start_span("account", attributes={"senderid.account": name})
        # each task has its own context, which ends with the task
        context.attach(trace.set_span_in_context(span))
        self._tasks.add(task)

        def end(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            span.end()

        task.add_done_callback(end)

    def record_request(self, method: str, seconds: float, status: int | None) -> None:
        """Record a finished request and its duration in seconds. `status` is None without a response."""
        now = time.time_ns()
        start = now - int(seconds * 1e9)
        span = self._tracer.start_span(
            f"{method} numbers",
            kind=trace.SpanKind.CLIENT,
            attributes={"http.request.method": method},
            start_time=start,
        )
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if status is None or status >= _FIRST_ERROR:
            span.set_status(trace.StatusCode.ERROR, "no response" if status is None else None)
        span.end(now)

    def record_retry(self, error: ApiError) -> None:
        """Do nothing: the log line of a retry is already an event of the account's span."""

    def log(self, log: RunLog) -> "Traced":
        """Return a log adapter that also adds the lines about an account to its span, as events."""
        return Traced(self, log)

    def close(self) -> str | None:
        """Export the remaining spans. Return the reason if this export or an earlier one failed, else None."""
        if not run_with_timeout(_EXPORT_SECONDS, self._provider.shutdown):
            return f"the collector has not taken them within {_EXPORT_SECONDS:g} seconds"
        return "the collector has not taken all of them" if self._exporter.has_failed else None


class Traced:
    """A log adapter that adds events to spans. Binding an account starts the account's span in the current task."""

    def __init__(self, traces: Traces, log: RunLog) -> None:
        self._traces = traces
        self._log = log

    def bind(self, **fields: Any) -> "Traced":
        """Return a log that adds `fields` to every line."""
        if "account" in fields:
            self._traces.account(fields["account"])
        return Traced(self._traces, self._log.bind(**fields))

    def info(self, event: str, **fields: Any) -> None:
        """Log an event at level INFO."""
        self._log.info(event, **fields)
        _note(event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log an event at level WARNING."""
        self._log.warning(event, **fields)
        _note(event, fields)


def _note(event: str, fields: dict[str, Any]) -> None:
    if "phone" not in fields:
        attributes = {name: value for name, value in fields.items() if name in _SPAN_FIELDS and value is not None}
        trace.get_current_span().add_event(event, attributes)


class _Exporter(SpanExporter):
    """An exporter that records whether any export failed."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.has_failed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001 - whatever it is, the run goes on
            result = SpanExportResult.FAILURE
        self.has_failed = self.has_failed or result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
