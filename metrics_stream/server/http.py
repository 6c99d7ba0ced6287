"""The HTTP protocol class for uvicorn: `uvicorn --http metrics_stream.server.http:PatientHttpProtocol`.

It differs from uvicorn's own class in three points. A server that stops waits a moment for the first request of a
connection; uvicorn would close it at once, and a client whose request is on its way would see a reset, also when
workers are replaced one after the other. A process at its limit of connections still answers health checks and
`/metrics`. A connection must send a complete request head in time.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from metrics_stream.telemetry import of_process

# Much longer than a client needs to send its first request, much shorter than a stop may take.
FIRST_REQUEST_SECONDS = 0.5

# From the start of a connection, or of a request on it, to the end of the request head. Without a limit, a client that
# sends nothing, or a byte now and then, would occupy one of the connections of the process for ever.
HEAD_SECONDS = 10.0

# The last part of the path of health checks and of /metrics. If they were refused, a supervisor would restart a process
# that is only busy.
WATCHED_PAGES = frozenset({"healthz", "readyz", "metrics"})


class PatientHttpProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with patience at a stop and limits for slow clients."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stop_timer: TimerHandle | None = None
        self._head_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start the connection, and the time limit for its first request head."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Read data; parts of a request head do not extend its time limit."""
        super().data_received(data)
        # uvicorn's own timer for idle connections ends with the first byte of the next request.
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Process a request or the handshake of a WebSocket."""
        self._forget_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection and its timers."""
        self._forget_head()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        upgraded = self.transport.get_protocol() is not self
        if self._head_timer is None and not upgraded and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer a request; over the limit on connections, uvicorn passes the `app` that answers 503."""
        if app is service_unavailable:
            if cycle.scope["path"].rpartition("/")[2] in WATCHED_PAGES:
                app = self.app
            else:
                of_process.refused_clients += 1
        super()._start_asgi_task(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol, which has its own way to stop."""
        super().handle_websocket_upgrade()
        if self._stop_timer is not None:
            self._stop_timer.cancel()
            self.transport.get_protocol().shutdown()  # type: ignore[attr-defined]

    def shutdown(self) -> None:
        """Close the connection after its current or first request."""
        if self.cycle is None:
            self._stop_timer = self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()
