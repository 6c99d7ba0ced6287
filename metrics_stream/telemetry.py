"""Counters of the service itself, and one snapshot of them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Telemetry:
    """What one process has done since it started; plain attributes, so that counting costs one addition."""

    started_at: float = field(default_factory=time.time)
    connected_clients: int = 0
    total_connected: int = 0
    refused_clients: int = 0
    messages_received: int = 0
    messages_sent: int = 0
    """Frames of every kind, to all clients together."""
    frames_encoded: int = 0
    """Data frames built; the fewer per frame sent, the more clients shared a view."""
    metrics_received: int = 0
    """Metrics that came over the bus."""
    metrics_sent: int = 0
    """Metrics in data frames, to all clients together."""
    bytes_sent: int = 0
    """Bytes of data frames, before the transport compresses and frames them."""
    metrics_dropped: int = 0
    """Metrics that one client or another was told about in a `gap`."""
    protocol_errors: int = 0
    slow_clients_closed: int = 0
    bus_failures: int = 0

    def snapshot(self) -> dict[str, Any]:
        """Return all counters and the uptime in seconds."""
        return {**asdict(self), "uptime_seconds": round(time.time() - self.started_at, 3)}
