"""Traces of a run, which are sent if the environment names an OpenTelemetry collector."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from worker.model.errors import ApiError
from worker.model.messages import Message

if TYPE_CHECKING:
    from worker.model.ports import RequestObserver, RunLog
    from worker.telemetry.logs import Logger
    from worker.telemetry.tracing import Traces

__all__ = ["Observers", "trace_run"]

_COLLECTORS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Environment variables of OpenTelemetry that name a collector."""
_OFF: Final = "OTEL_SDK_DISABLED"
_EXPORTER: Final = "OTEL_TRACES_EXPORTER"


class Observers:
    """Request observer that forwards events to several observers."""

    def __init__(self, *observers: "RequestObserver") -> None:
        self._observers = observers

    @classmethod
    def of(cls, *observers: "RequestObserver | None") -> "RequestObserver | None":
        """Return one observer for all observers that are not None; None if all are None."""
        active_observers = [observer for observer in observers if observer is not None]
        return cls(*active_observers) if len(active_observers) > 1 else next(iter(active_observers), None)

    def record_request(self, method: str, seconds: float, status: int | None) -> None:
        """Forward a finished request. `seconds` is its duration, and `status` its HTTP status, if any."""
        for observer in self._observers:
            observer.record_request(method, seconds, status)

    def record_retry(self, error: ApiError) -> None:
        """Forward the error of a request that will be retried."""
        for observer in self._observers:
            observer.record_retry(error)


@contextmanager
def trace_run(log: "Logger", run_id: str) -> Iterator[tuple["RunLog", "Traces | None"]]:
    """Yield the log for the fleet, and the traces of the run; None if the environment names no collector.

    If the variables are invalid, the run continues with a warning, as they may be meant for other programs.
    """
    collector = next((name for name in _COLLECTORS if os.environ.get(name)), None)
    is_disabled = os.environ.get(_OFF, "").lower() == "true" or os.environ.get(_EXPORTER) == "none"
    if collector is None or is_disabled:
        yield log, None
        return
    # failures are logged once, below: the library would log each of them, with headers
    library = logging.getLogger("opentelemetry")
    library.addHandler(logging.NullHandler())
    library.propagate = False
    try:
        from worker.telemetry.tracing import Traces

        traces = Traces.to_collector()
    except Exception as error:  # noqa: BLE001 - any variable can be invalid; the text of the error may contain a header
        log.warning("traces.failed", error_message=_unavailable(collector, error))
        yield log, None
        return
    try:
        with traces.run(run_id):
            yield traces.log(log), traces
    finally:
        failure = traces.close()
        if failure is not None:
            log.warning("traces.failed", error_message=failure)


def _unavailable(variable: str, error: Exception) -> str:
    if isinstance(error, ImportError):
        return Message(
            "tracing is off: {variable} is set, but the extra otel is not installed: install it from a "
            "checkout with pip install '.[otel]', or set {setting}=true to disable tracing",
            variable=variable,
            setting=_OFF,
        )
    return Message(
        "tracing is off: {variable} is set, but an OTEL_* variable is invalid; correct it, or set {setting}=true to "
        "disable tracing",
        variable=variable,
        setting=_OFF,
    )
