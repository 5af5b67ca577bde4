"""Traces of complete runs, with and without an OTLP collector over HTTP."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.conftest import Command, Serve
from worker.sandbox import SandboxAccount

PHONE = "01000000001"


class Collector(ThreadingHTTPServer):
    """OTLP collector that keeps the exported spans."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Span] = []
        self.services: set[str] = set()


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        """Keep the spans."""
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in request.resource_spans:
            self.server.services |= {
                attribute.value.string_value
                for attribute in resource.resource.attributes
                if attribute.key == "service.name"
            }
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Do nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Serve a collector on a thread."""
    with Collector() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def pending_change(serve: Serve, command: Command) -> None:
    """Serve an account with one pending change."""
    account = SandboxAccount.of({PHONE: "INACTIVE"})
    command.at(serve(account).sandbox, account)
    command.write("main.yaml", f"version: 1\nnumbers: {{{PHONE}: ACTIVE}}\n")


@pytest.mark.usefixtures("pending_change")
def test_run_is_one_trace(command: Command, collector: Collector) -> None:
    command.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector.server_address[1]}"
    result = command("apply", "-y", "-f", "main.yaml", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert collector.services == {"senderid"}
    assert len({span.trace_id for span in collector.spans}) == 1
    names = [span.name for span in collector.spans]
    requests = json.loads(result.stdout)["accounts"][0]["requests"]
    assert (names.count("GET numbers"), names.count("PUT numbers")) == (requests["reads"], requests["writes"])
    (run,) = [span for span in collector.spans if span.name == "run"]
    (run_id,) = [attribute.value.string_value for attribute in run.attributes if attribute.key == "senderid.run_id"]
    assert run_id == json.loads(result.stdout)["run_id"]
    assert PHONE not in str(collector.spans)


@pytest.mark.usefixtures("pending_change")
def test_missing_collector_is_one_warning(command: Command) -> None:
    command.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
    result = command("apply", "-y", "-f", "main.yaml")
    assert result.returncode == 0
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    (line,) = [line for line in lines if line["event"] == "traces.failed"]
    assert "collector" in line["error_message"]


@pytest.mark.usefixtures("pending_change")
def test_import_errors_of_the_library_are_hidden(command: Command) -> None:
    """The library logs a traceback for a variable with an unknown value."""
    command.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_PYTHON_CONTEXT": "none_such"}
    result = command("plan", "-f", "main.yaml")
    assert result.returncode == 0
    assert all(line.startswith("{") for line in result.stderr.splitlines())


@pytest.mark.usefixtures("pending_change")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_invalid_otel_variables_are_one_warning(command: Command, log_format: str) -> None:
    command.environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}
    result = command("plan", "-f", "main.yaml", "--detailed-exitcode", "--log-format", log_format)
    assert result.returncode == 2
    (warning,) = [line for line in result.stderr.splitlines() if "tracing is off: OTEL_EXPORTER_OTLP_ENDPOINT" in line]
    assert log_format == "console" or json.loads(warning)["event"] == "traces.failed"
