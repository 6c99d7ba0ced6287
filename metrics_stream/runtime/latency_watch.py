"""Compare what a process can measure itself with the latency that the service promises."""

from __future__ import annotations

from metrics_stream.observation.faults import FaultKind, of_process

# The fault has ended when nothing was late for this long.
IN_TIME_SECONDS = 5.0


class LatencyWatch:
    """Begins the fault `latency` when something took too long, and ends it when nothing has for IN_TIME_SECONDS."""

    def __init__(self, promised_seconds: float) -> None:
        self._promised_seconds = promised_seconds

    def observe(self, seconds: float, what: str) -> None:
        """Judge one measurement; `what` completes the message: "a message over the channel layer took"."""
        if seconds <= self._promised_seconds:
            of_process.end(FaultKind.LATENCY, quiet_seconds=IN_TIME_SECONDS)
            return
        of_process.begin(FaultKind.LATENCY, f"{what} {seconds:.1f} s; promised: {self._promised_seconds:g} s")
        of_process.count(FaultKind.LATENCY, "measurements late")
