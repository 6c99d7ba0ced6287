"""The functions and the class that producers call; import the public names from here.

Publishing over HTTP imports neither Django nor Channels: what needs them is imported where it is used.
"""

from metrics_stream.broadcast.broadcaster import Broadcaster
from metrics_stream.broadcast.functions import (
    broadcast,
    broadcast_agent_metrics,
    broadcast_business_metrics,
    broadcast_error_metrics,
    broadcast_hero_metrics,
    broadcast_many,
    broadcast_presentation_data,
    broadcast_request_metrics,
    broadcast_system_metrics,
    make_metric,
)
from metrics_stream.broadcast.stress_test import stress_test_run
from metrics_stream.broadcast.transport import MetricInput
from metrics_stream.core.errors import BroadcastError, RunError
from metrics_stream.core.metrics.sketch import Sketch

__all__ = [
    "BroadcastError",
    "Broadcaster",
    "MetricInput",
    "RunError",
    "Sketch",
    "broadcast",
    "broadcast_agent_metrics",
    "broadcast_business_metrics",
    "broadcast_error_metrics",
    "broadcast_hero_metrics",
    "broadcast_many",
    "broadcast_presentation_data",
    "broadcast_request_metrics",
    "broadcast_system_metrics",
    "make_metric",
    "stress_test_run",
]
