"""The HTTP protocol class for uvicorn: `uvicorn --http metrics_stream.http_protocol:PatientHttpProtocol`.

It is uvicorn's own but for the stop of a server: that closes a connection without a request at once, and a client whose
first request is on its way sees it reset. When workers are replaced one after the other, nobody should notice.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Far longer than from the start of a connection to its request, far shorter than a stop may take.
FIRST_REQUEST_SECONDS = 0.5


class PatientHttpProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol, which waits a moment for the first request of a connection at a stop."""

    def shutdown(self) -> None:
        """Close when what is going on has ended."""
        if self.cycle is None:
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()
