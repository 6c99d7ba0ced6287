"""What is kept in the database: what admins edit (`dashboards.py`), test runs and what they recorded (`runs.py`)."""

from metrics_stream.models.dashboards import ClientPreset, Dashboard, Panel
from metrics_stream.models.runs import MetricChunk, RecorderState, SeriesGroup, TestRun, TierChunk

__all__ = [
    "ClientPreset",
    "Dashboard",
    "MetricChunk",
    "Panel",
    "RecorderState",
    "SeriesGroup",
    "TestRun",
    "TierChunk",
]
