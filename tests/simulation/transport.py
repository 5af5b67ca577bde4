"""Replace `worker.solapi.transport.Transport` by requests to the model, which the scenario's faults affect.

It raises the errors that `transport_error` creates from real exceptions.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import aiohttp
import msgspec
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from tests.simulation.faults import Fault
from tests.simulation.history import Request, ResponseKind
from tests.simulation.model import Api, WireResponse
from tests.simulation.process import Process
from worker.config.settings import Timeout
from worker.solapi.transport import Response, Transport, transport_error

__all__ = ["SimulatedTransport"]

_KEY: Final = ConnectionKey("api.example", 443, True, True, None, None, None, None)  # noqa: FBT003 - aiohttp's own tuple
_BROKEN: Final[Mapping[str, BaseException]] = {
    "refused": aiohttp.ClientConnectorError(_KEY, OSError(111, "refused")),
    "unreachable": aiohttp.ConnectionTimeoutError("connecting"),
    "broken": aiohttp.ServerDisconnectedError(),
    "half": aiohttp.ClientPayloadError("half"),
    "silence": TimeoutError(),
}


class SimulatedTransport(Transport):
    """The connection from one process to the model."""

    def __init__(self, timeout: Timeout, process: Process, api: Api) -> None:
        super().__init__(timeout)
        self._process = process
        self._api = api

    async def exchange(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        sink: Callable[[bytes], None] | None = None,
    ) -> Response:
        """Send a request. Its fault decides how the request arrives, and how its response returns, in virtual time."""
        process = self._process
        await process.moment()
        fault = process.draw()
        request = process.sent(method, url.name if body else "", _requested(body), headers["Authorization"], fault)
        response: asyncio.Future[WireResponse] = asyncio.get_running_loop().create_future()
        self._depart(request, fault, response)
        await process.moment()
        if fault.ends != "response" or fault.arrives != "in time":
            await self._fail(request, fault, response, sink)
        wire_response = await response
        await asyncio.sleep(process.latency())
        await process.moment()
        process.ended(request, wire_response.kind, wire_response.status)
        if sink is not None and wire_response.status == 200:
            sink(wire_response.body)
            return Response(wire_response.status, wire_response.headers)
        return Response(wire_response.status, wire_response.headers, wire_response.body)

    def _depart(self, request: Request, fault: Fault, response: asyncio.Future[WireResponse]) -> None:
        """Let the request arrive, independent of its sender."""

        def arrive() -> None:
            wire_response = self._api.arrive(request, fault)
            if not response.done():
                response.set_result(wire_response)

        if fault.arrives == "never":
            return
        # an abandoned request may arrive later by the time that its sender waited
        late = self.timeout.total_seconds * (1 + self._process.share()) if fault.arrives == "late" else 0.0
        asyncio.get_running_loop().call_later(late or self._process.latency(), arrive)

    async def _fail(
        self,
        request: Request,
        fault: Fault,
        response: asyncio.Future[WireResponse],
        sink: Callable[[bytes], None] | None,
    ) -> NoReturn:
        limits = {"unreachable": self.timeout.connect_seconds, "silence": self.timeout.total_seconds}
        if fault.ends in limits:
            await asyncio.sleep(limits[fault.ends])
        elif fault.arrives != "never":
            wire_response = await response
            await asyncio.sleep(self._process.latency())
            if fault.ends == "half" and sink is not None and wire_response.status == 200:
                sink(wire_response.body[: len(wire_response.body) // 2])
        else:
            await asyncio.sleep(self._process.latency())
        await self._process.moment()
        unsent = fault.ends in {"refused", "unreachable"}
        self._process.ended(request, ResponseKind.RETRYABLE if unsent else ResponseKind.AMBIGUOUS, None)
        raise transport_error(_BROKEN[fault.ends], is_write=request.writes)


def _requested(body: bytes | None) -> str:
    return msgspec.json.decode(body, type=dict[str, str])["status"] if body else ""
