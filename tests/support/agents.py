"""Metrics of agents, in each shape in which an object can hold them."""

from __future__ import annotations

from typing import Any

from metrics_stream.core.metrics.catalogue import MetricType
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import Metric

AGENTS = [
    {"agent_id": "a1", "agent_name": "One", "current_load": 0.5, "status": "healthy"},
    {"agent_id": "a2", "agent_name": "Two", "current_load": 0.7, "status": "degraded"},
]
HELD = {"total": 2, "agents": AGENTS}
KEYED = {"total": 2, "agents": {"a1": {"load": 0.5, "status": "healthy"}, "a2": {"load": 0.7, "status": "degraded"}}}


def metric(metric_type: MetricType, data: Any, source: str = "host1") -> Metric:
    """Return the metric as the helper encodes it, published at the epoch."""
    return encode_metric(metric_type, data, timestamp=0.0, source=source, max_bytes=100_000)
