"""The data of the `stream` metric: what a process did between two samples of its counters."""

from __future__ import annotations

from typing import Any

from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.telemetry import Histogram, Sample

# More is in the log and in `/readyz`. The metric must fit into LEAST_METRIC_BYTES, also if each character is escaped.
FAULTS_CHARACTERS = 400


def health(now: Sample, before: Sample) -> dict[str, Any]:
    """Return the fields of a `stream` metric; rates and percentiles cover the time between the samples."""
    seconds = max(0.001, now.at - before.at)
    telemetry, earlier = now.telemetry, before.telemetry

    def rate(name: str) -> float:
        change: float = getattr(telemetry, name) - getattr(earlier, name)
        return round(change / seconds, 2)

    def milliseconds(name: str, share: float) -> float | None:
        histogram: Histogram = getattr(telemetry, name)
        quantile = histogram.since(getattr(earlier, name)).quantile(share)
        return None if quantile is None else round(quantile * 1000, 2)

    return {
        "clients": telemetry.connected_clients,
        "views": now.views,
        "metrics_received_per_second": rate("metrics_received"),
        "metrics_sent_per_second": rate("metrics_sent"),
        "frames_sent_per_second": rate("messages_sent"),
        "frames_encoded_per_second": rate("frames_encoded"),
        "sent_mbps": round(rate("bytes_sent") * 8 / 1e6, 3),
        "age_p50_ms": milliseconds("age_seconds", 0.5),
        "age_p99_ms": milliseconds("age_seconds", 0.99),
        "flush_p99_ms": milliseconds("flush_seconds", 0.99),
        "loop_lag_p99_ms": milliseconds("loop_lag_seconds", 0.99),
        "metrics_dropped_per_second": rate("metrics_dropped"),
        "gaps_per_second": round(
            (sum(telemetry.gaps_by_reason.values()) - sum(earlier.gaps_by_reason.values())) / seconds, 2
        ),
        "rows_folded_per_second": rate("rows_folded"),
        "dropped_by_reason": {reason.value: telemetry.dropped_by_reason.get(reason, 0) for reason in GapReason},
        "gaps_by_reason": {reason.value: telemetry.gaps_by_reason.get(reason, 0) for reason in GapReason},
        "slow_clients_closed": telemetry.slow_clients_closed,
        "refused_clients": telemetry.refused_clients,
        "protocol_errors": telemetry.protocol_errors,
        "bus_failures": telemetry.bus_failures,
        **health_of_faults(now),
        "clock_skew_database_ms": _in_milliseconds(now.clock_skew_seconds.get("database")),
        "clock_skew_redis_ms": _in_milliseconds(now.clock_skew_seconds.get("redis")),
        "sources_with_wrong_clock": now.sources_with_wrong_clock,
        "sources_with_several_producers": now.sources_with_several_producers,
        "cpu_utilization": round(max(0.0, now.cpu_seconds - before.cpu_seconds) / seconds, 4),
        "memory_mb": round(now.memory_bytes / 1e6, 1),
        "uptime_seconds": round(now.at - telemetry.started_at),
    }


def health_of_faults(now: Sample) -> dict[str, Any]:
    """Return the fields of a `stream` metric that say what is wrong with the process."""
    return {
        "status": "healthy" if now.bus_live and not now.faults else "degraded",
        "faults": "; ".join(f"{kind}: {message}" for kind, message in now.faults.items())[:FAULTS_CHARACTERS] or None,
    }


def _in_milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
