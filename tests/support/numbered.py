"""Metrics that are easy to tell apart."""

from metrics_stream.broadcast import make_metric
from metrics_stream.core.metrics.metric import Metric


def numbered_metrics(count: int, metric_type: str = "system") -> list[Metric]:
    """Return metrics whose number counts up from 0, and their timestamp with it."""
    return [make_metric(metric_type, {"n": number}, timestamp=1_700_000_000.0 + number) for number in range(count)]
