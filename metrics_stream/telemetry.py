"""The counters of one process, and snapshots of them; counting costs additions to plain attributes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any

from metrics_stream.core.protocol.codes import GapReason

# Upper bounds of buckets. The work of the hub is short; ages range from a frame's linger to the longest interval.
WORK_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
AGE_SECONDS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(slots=True)
class Histogram:
    """How many values fell into each bucket. `counts` has one entry more than `bounds`, for values above all bounds."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value`, `times` times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def add(self, other: Histogram) -> None:
        """Add the counts of another histogram with the same bounds."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def since(self, earlier: Histogram) -> Histogram:
        """Return what was counted since `earlier`, a copy of this histogram, was made."""
        counts = [now - then for now, then in zip(self.counts, earlier.counts, strict=True)]
        return Histogram(self.bounds, counts, self.total - earlier.total)

    def copy(self) -> Histogram:
        """Return a histogram that later counting does not change."""
        return Histogram(self.bounds, list(self.counts), self.total)

    def quantile(self, share: float) -> float | None:
        """Return the value below which `share` (0-1) of all values lie, interpolated in its bucket; None if empty.

        Values above the last bound count as that bound, as in Prometheus' `histogram_quantile`.
        """
        rank = share * sum(self.counts)
        if not rank:
            return None
        below, lower = 0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= rank:
                # Rounding must not lift it above the bound.
                return min(bound, lower + (bound - lower) * (rank - below) / count)
            below, lower = below + count, bound
        return self.bounds[-1]


@dataclass(slots=True)
class Telemetry:
    """What one process has done since it started."""

    started_at: float = field(default_factory=time.time)
    connected_clients: int = 0
    total_connected: int = 0
    refused_clients: int = 0
    """Clients over MAX_CLIENTS, and WebSockets and pages over the limit on connections."""
    messages_received: int = 0
    messages_sent: int = 0
    """Frames of every kind, to all clients together."""
    frames_encoded: int = 0
    """Data frames built; the fewer per frame sent, the more clients share a view."""
    metrics_received: int = 0
    """Metrics that arrived over the bus."""
    metrics_refilled: int = 0
    """Those of them that the bus lost and the history had."""
    metrics_sent: int = 0
    """Metrics in data frames, to all clients together."""
    bytes_sent: int = 0
    """Bytes of data frames, before compression and WebSocket framing."""
    metrics_dropped: int = 0
    """Metrics that a `gap` reported to some client."""
    dropped_by_reason: dict[str, int] = field(default_factory=Counter)
    gaps_by_reason: dict[str, int] = field(default_factory=Counter)
    """`gap` messages, to all clients together."""
    closes_by_code: dict[int, int] = field(default_factory=Counter)
    """WebSockets that the server closed."""
    protocol_errors: int = 0
    slow_clients_closed: int = 0
    bus_failures: int = 0
    hub_failures: int = 0
    """Exceptions in the hub; affected clients got a `gap`."""
    metrics_ingested: int = 0
    """Metrics that programs published over HTTP."""
    rows_folded: int = 0
    """Rows published over HTTP past the budget of their source or token, which went into `(other)`."""
    ingest_metrics_refused: dict[str, int] = field(default_factory=Counter)
    """Metrics published over HTTP that were refused, by reason."""
    ingest_requests_refused: dict[str, int] = field(default_factory=Counter)
    """HTTP requests of programs that were refused as a whole, by reason."""
    refused_by_reason: dict[str, int] = field(default_factory=Counter)
    """Requests and handshakes that the edge of the server refused."""
    run_metrics_recorded: int = 0
    """Metrics that this process recorded, once for each run."""
    run_metrics_lost: dict[str, int] = field(default_factory=Counter)
    """Metrics that it counted as lost in runs, by the reason, as far as their number is known."""
    flush_seconds: Histogram = field(default_factory=lambda: Histogram(WORK_SECONDS))
    """The time to encode the frame of one view and to write it to its clients."""
    age_seconds: Histogram = field(default_factory=lambda: Histogram(AGE_SECONDS))
    """The age of the oldest metric of a frame when it was written, once for each client."""
    loop_lag_seconds: Histogram = field(default_factory=lambda: Histogram(LAG_SECONDS))
    """How late the event loop ran what was due."""

    def count_connect(self) -> None:
        """Count a client that the hub takes in."""
        self.connected_clients += 1
        self.total_connected += 1

    def count_disconnect(self) -> None:
        """Count a client that the hub forgets."""
        self.connected_clients -= 1

    def count_sent(self, *, messages: int, metrics: int = 0, size: int = 0) -> None:
        """Count frames that are written, the metrics in them and their `size` in bytes, over all clients."""
        self.messages_sent += messages
        self.metrics_sent += metrics
        self.bytes_sent += size

    def count_loss(self, dropped: Mapping[GapReason, int | None], clients: int) -> None:
        """Count the gaps that `clients` are told of, with the dropped metrics of each reason; None is unknown."""
        for reason, count in dropped.items():
            self.gaps_by_reason[reason] += clients
            self.dropped_by_reason[reason] += (count or 0) * clients
            self.metrics_dropped += (count or 0) * clients

    def snapshot(self) -> dict[str, Any]:
        """Return all counters, the uptime in seconds, and the median and 99th percentile of each histogram."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        counters = {
            name: dict(value) if isinstance(value, dict) else value
            for name, value in values.items()
            if not isinstance(value, Histogram)
        }
        quantiles = {
            f"{name}_{label}": histogram.quantile(share)
            for name, histogram in self.histograms().items()
            for label, share in (("p50", 0.5), ("p99", 0.99))
        }
        return {**counters, **quantiles, "uptime_seconds": round(time.time() - self.started_at, 3)}

    def copy(self) -> Telemetry:
        """Return counters that later counting does not change."""
        return deepcopy(self)

    def histograms(self) -> dict[str, Histogram]:
        """Return the histograms by name."""
        return {
            "flush_seconds": self.flush_seconds,
            "age_seconds": self.age_seconds,
            "loop_lag_seconds": self.loop_lag_seconds,
        }


of_process = Telemetry()
"""The counters of this process."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters and the state of one process at one instant; `at` is in seconds since 1970."""

    process: str
    """Host and process id, `host:123`."""
    pid: int
    at: float
    telemetry: Telemetry
    views: int
    bus_live: bool
    cpu_seconds: float
    memory_bytes: int
    clock_skew_seconds: dict[str, float] = field(default_factory=dict)
    """By how much this server is ahead of `database` and `redis`."""
    sources_with_wrong_clock: int = 0
    sources_with_several_producers: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    """The current faults: the message of each FaultKind."""
