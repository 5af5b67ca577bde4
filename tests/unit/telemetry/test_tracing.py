"""Traces: a span for the run, one for each account and each request, without secrets."""

import asyncio
import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.support import loopback
from tests.support.loopback import LogRecorder, Loopback
from worker.cli.tracing import Observers, trace_run
from worker.config.settings import Retry, Settings
from worker.model.accounts import Desired, DesiredAccount, Status
from worker.model.credentials import Credentials, CredentialsRef, SecretRef
from worker.model.errors import ServerError
from worker.plan.build import Terms
from worker.reconcile.fleet import Fleet
from worker.sandbox import SandboxAccount
from worker.sandbox.faults import Fault
from worker.telemetry.tracing import Traces

PHONE = "01012345678"


class Ignored:
    """Observer that ignores everything."""

    def advance(self) -> None:
        """Do nothing."""


def run_spans(*names: str, faults: list[Fault | None] | None = None) -> tuple[tuple[ReadableSpan, ...], SandboxAccount]:
    """Return the spans of a run that activates one number of each named account, and the span of the first account."""
    exporter = InMemorySpanExporter()
    accounts = {
        CredentialsRef(SecretRef(env=name), SecretRef(env=name)): SandboxAccount.of(
            {PHONE: "INACTIVE"}, account_id=name, api_key=f"NCS{index:013}"
        )
        for index, name in enumerate(names)
    }

    async def work() -> None:
        traces = Traces(exporter)
        async with Loopback(*accounts.values()) as served:
            served.sandbox.script(None, "GET", faults or [])
            served.transport.watcher = traces
            settings = Settings(endpoint=served.sandbox.url, retry=Retry(base_seconds=0.1))
            with traces.run("r1"):
                log = traces.log(LogRecorder())

                def credentials_of(reference: CredentialsRef | None) -> Credentials:
                    assert reference is not None
                    return loopback.credentials(accounts[reference])

                fleet = Fleet(settings, served.transport, credentials_of, log, runtime=loopback.runtime())
                numbers = {PHONE: Desired(Status.ACTIVE)}
                desired = [
                    DesiredAccount(name, f"{name}.yaml", numbers, [1], credentials=reference)
                    for name, reference in zip(names, accounts, strict=True)
                ]
                drafts = await fleet.plan(desired, Terms())
                await fleet.apply(desired, drafts, Terms(), Ignored())
        assert await asyncio.to_thread(traces.close) is None

    loopback.run(work())
    return exporter.get_finished_spans(), next(iter(accounts.values()))


def test_requests_belong_to_accounts_and_accounts_to_the_run() -> None:
    """The read and the writes of an account are spans under the run. Every request is a span under one of them."""
    spans, _ = run_spans("main", "other")
    (run,) = [span for span in spans if span.name == "run"]
    accounts = [span for span in spans if span.name == "account"]
    requests = [span for span in spans if span.kind is SpanKind.CLIENT]
    assert run.attributes == {"senderid.run_id": "r1"}
    assert sorted(str((span.attributes or {})["senderid.account"]) for span in accounts) == [
        "main",
        "main",
        "other",
        "other",
    ]
    assert all(span.parent == run.context for span in accounts)
    ids = {span.context.span_id for span in accounts if span.context}
    assert requests
    assert all(span.parent and span.parent.span_id in ids for span in requests)
    assert {span.name for span in requests} == {"GET numbers", "PUT numbers"}
    assert {len({span.context.trace_id for span in spans if span.context})} == {1}


def test_failures_are_marked_as_errors() -> None:
    """A refused request and one without a response are errors. The span of the account counts the retries."""
    spans, _ = run_spans("main", faults=[Fault.UNAVAILABLE, Fault.RESET_BEFORE])
    failed = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    assert [(span.name, (span.attributes or {}).get("http.response.status_code")) for span in failed] == [
        ("GET numbers", 503),
        ("GET numbers", None),
    ]
    events = [event for span in spans if span.name == "account" for event in span.events]
    retried = [event.attributes or {} for event in events if event.name == "request.retried"]
    assert [event["error_code"] for event in retried] == ["ServerError", "ConnectionFailed"]


def test_spans_contain_no_number_and_no_secret() -> None:
    """A collector gets the names of accounts, but neither numbers nor keys."""
    spans, account = run_spans("main", faults=[Fault.ESCAPES])
    text = " ".join(span.to_json() for span in spans)
    assert "main" in text
    for secret in (PHONE, account.api_key, account.api_secret):
        assert secret not in text


def test_span_of_a_request_has_its_duration() -> None:
    """A span ends when the response was read, and starts that duration earlier."""
    exporter = InMemorySpanExporter()
    traces = Traces(exporter)
    traces.record_request("PUT", 1.5, 200)
    assert traces.close() is None
    (span,) = exporter.get_finished_spans()
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 1_500_000_000


class Broken(SpanExporter):
    """A collector that is not reachable."""

    def export(self, spans: object) -> SpanExportResult:
        """Do nothing."""
        raise ConnectionError(spans)


def test_failing_collector_is_logged_once(capfd: pytest.CaptureFixture[str]) -> None:
    """The worker logs the failure without a traceback. The library logs nothing."""
    traces = Traces(Broken())
    traces.record_request("PUT", 1.5, 200)
    assert traces.close() == "the collector has not taken all of them"
    assert capfd.readouterr() == ("", "")


def test_failure_of_one_of_several_exports_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector accepts the last spans only. The first ones are lost."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    results = [SpanExportResult.FAILURE, SpanExportResult.SUCCESS]
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(exporter, "export", lambda _spans: results.pop(0))
    traces = Traces(exporter)
    for _ in range(2):
        traces.record_request("PUT", 1.5, 200)
    assert (traces.close(), results) == ("the collector has not taken all of them", [])


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_traces_are_off_by_default(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the address of a collector, or with OpenTelemetry disabled, there are no spans, imports or warnings."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "worker.telemetry.tracing", None)
    log = LogRecorder()
    with trace_run(log, "r1") as (same, traces):  # type: ignore[arg-type] # all that is used of a log
        assert (same, traces) == (log, None)
    assert log.lines == []


@pytest.mark.parametrize(
    ("environment", "modules", "advice"),
    [
        (
            {},
            {"worker.telemetry.tracing": None},
            "pip install '.[otel]', or set OTEL_SDK_DISABLED=true to disable tracing",
        ),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, {}, "correct it, or set OTEL_SDK_DISABLED=true to disable tracing"),
    ],
)
def test_unavailable_traces_are_one_warning(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], modules: dict[str, None], advice: str
) -> None:
    """The variables may belong to another program, so the run continues and the warning says what to do."""
    for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **environment}.items():
        monkeypatch.setenv(name, value)
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)
    log = LogRecorder()
    with trace_run(log, "r1") as (same, traces):  # type: ignore[arg-type] # all that is used of a log
        assert (same, traces) == (log, None)
    ((event, fields),) = log.lines
    assert event == "traces.failed"
    spans = str(fields["error_message"])
    assert spans.startswith("tracing is off: OTEL_EXPORTER_OTLP_ENDPOINT is set, but ")
    assert spans.endswith(advice)


class Watch:
    """Observer that records its calls."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def record_request(self, *what: object) -> None:
        """Record a request."""
        self.calls.append(what)

    def record_retry(self, error: object) -> None:
        """Record a retry."""
        self.calls.append(error)


def test_every_observer_is_called() -> None:
    """One observer is returned unchanged, several are combined into one, and without observers the result is None."""
    one, other = Watch(), Watch()
    assert Observers.of(None, None) is None
    assert Observers.of(None, one) is one
    both = Observers.of(one, other)
    assert both is not None
    error = ServerError("down")
    both.record_request("GET", 0.5, 200)
    both.record_retry(error)
    assert one.calls == other.calls == [("GET", 0.5, 200), error]
