"""The HTTP protocol class for uvicorn: `uvicorn --http metrics_stream.http_protocol:PatientHttpProtocol`.

It is uvicorn's own but for the stop of a server: that closes a connection without a request at once, and a client whose
first request is on its way sees it reset. When workers are replaced one after the other, nobody should notice. And a
process that has all the connections it takes still answers those that watch over it.
"""

from __future__ import annotations

from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

# Far longer than from the start of a connection to its request, far shorter than a stop may take.
FIRST_REQUEST_SECONDS = 0.5

# Whatever the application's addresses begin with. Refused, they would have a process restarted that is only busy.
WATCHED_PAGES = frozenset({"healthz", "readyz", "metrics"})


class PatientHttpProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol, which waits a moment for the first request of a connection at a stop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stop_timer: TimerHandle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer a request; past the cap on connections `app` is what answers 503."""
        if app is service_unavailable and cycle.scope["path"].rpartition("/")[2] in WATCHED_PAGES:
            app = self.app
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
