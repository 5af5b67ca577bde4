"""Pushing metrics over real sockets, within a time limit."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from worker.telemetry.metrics import Metrics
from worker.telemetry.pushgateway import push


class Gateway(ThreadingHTTPServer):
    """Push gateway that keeps what it receives, and responds with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.received: list[tuple[str, str, bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        """Keep the request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.command, self.path, body))
        self.send_response(self.server.status)
        self.send_header("Location", f"{self.server.url}/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: object) -> None:
        """Do nothing."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Serve a gateway on a thread of its own."""
    with Gateway() as served:
        served.thread.start()
        yield served
        served.shutdown()
        served.thread.join()


def test_all_metrics_are_pushed_under_the_job(gateway: Gateway) -> None:
    """A gateway gets the text of a metrics file. The method keeps series that the run does not publish."""
    metrics = Metrics()
    assert push(metrics.registry, gateway.url, "night run") is None
    ((method, path, body),) = gateway.received
    assert (method, path) == ("POST", "/metrics/job@base64/bmlnaHQgcnVu")
    assert body == metrics.render()[0]


@pytest.mark.parametrize("status", [302, 400, 500])
def test_refusal_of_a_gateway_is_an_error(gateway: Gateway, status: int) -> None:
    """Any response other than success is an error. A redirect is not followed."""
    gateway.status = status
    assert push(Metrics().registry, gateway.url, "senderid") == f"the gateway returned status {status}"
    assert len(gateway.received) == 1


def test_missing_gateway_is_an_error() -> None:
    """The message contains the error text of the operating system."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert push(Metrics().registry, f"http://127.0.0.1:{port}", "senderid") == "Connection refused"


def test_response_that_is_not_http_is_an_error() -> None:
    """The message contains neither a traceback nor the text of the response."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=hang_up)
        thread.start()
        failure = push(Metrics().registry, f"http://127.0.0.1:{server.getsockname()[1]}", "senderid")
        thread.join()
    assert failure is not None


def test_hanging_gateway_is_abandoned_at_the_timeout() -> None:
    """A gateway that accepts the push and responds byte by byte is abandoned too."""
    given_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not given_up.wait(0.01):
                    connection.sendall(b"H")

        thread = threading.Thread(target=drip)
        thread.start()
        failure = push(Metrics().registry, f"http://127.0.0.1:{server.getsockname()[1]}", "senderid", timeout=0.2)
        given_up.set()
        thread.join()
    assert failure == "no response within 0.2 seconds"


def test_environment_proxies_are_not_used(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway is configured by name, so the proxies of the machine do not apply."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert push(Metrics().registry, gateway.url, "senderid") is None
