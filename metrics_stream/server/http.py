"""The HTTP protocol class for uvicorn: `uvicorn --http metrics_stream.server.http:PatientHttpProtocol`.

It is uvicorn's own but for the stop of a server: that closes a connection without a request at once, and a client whose
first request is on its way sees it reset. When workers are replaced one after the other, nobody should notice. A
process that has all the connections it takes still answers those that watch over it. And a connection must ask for
something in time.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from metrics_stream.telemetry import of_process

# Far longer than from the start of a connection to its request, far shorter than a stop may take.
FIRST_REQUEST_SECONDS = 0.5

# From the start of a connection, or of a request on it, to the end of the request's head. Whoever sends nothing, or a
# byte now and then, would have one of the connections that a process takes for good.
HEAD_SECONDS = 10.0

# Whatever the application's addresses begin with. Refused, they would have a process restarted that is only busy.
WATCHED_PAGES = frozenset({"healthz", "readyz", "metrics"})


class PatientHttpProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol, which waits a moment for the first request of a connection at a stop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stop_timer: TimerHandle | None = None
        self._head_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Read; the time for a request goes on however many bytes come of its head."""
        super().data_received(data)
        # With its timer for an idle connection uvicorn is done at the first byte of the next request.
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Go on with a request, or with the handshake of a socket."""
        self._forget_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
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
        """Answer a request; past the cap on connections `app` is what answers 503."""
        if app is service_unavailable:
            if cycle.scope["path"].rpartition("/")[2] in WATCHED_PAGES:
                app = self.app
            else:
                of_process.refused_clients += 1
        super()._start_asgi_task(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        """Go on as a socket, which ends in its own way when the server stops."""
        super().handle_websocket_upgrade()
        if self._stop_timer is not None:
            self._stop_timer.cancel()
            self.transport.get_protocol().shutdown()  # type: ignore[attr-defined]

    def shutdown(self) -> None:
        """Close when what is going on has ended."""
        if self.cycle is None:
            self._stop_timer = self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()
