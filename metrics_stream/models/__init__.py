"""The tables: dashboards (`dashboards.py`), test runs (`runs.py`) and their phases (`run_phases.py`), access
(`access.py`), declared metric types (`metric_types.py`), connected clients (`connections.py`), the audit log
(`audit.py`), the id of the installation (`installation.py`).
"""

from metrics_stream.models.access import AccessPolicy, AccessToken, ShareLink, TokenName
from metrics_stream.models.audit import AuditEntry
from metrics_stream.models.connections import Connection
from metrics_stream.models.dashboards import ClientPreset, Dashboard, Panel
from metrics_stream.models.installation import Installation
from metrics_stream.models.metric_types import MetricTypeDeclaration, MetricTypeField
from metrics_stream.models.run_phases import RecordedRequest, RunPhase
from metrics_stream.models.runs import (
    MetricChunk,
    RecorderState,
    RowTotals,
    RunSource,
    SeriesGroup,
    TestRun,
    TierChunk,
)

__all__ = [
    "AccessPolicy",
    "AccessToken",
    "AuditEntry",
    "ClientPreset",
    "Connection",
    "Dashboard",
    "Installation",
    "MetricChunk",
    "MetricTypeDeclaration",
    "MetricTypeField",
    "Panel",
    "RecordedRequest",
    "RecorderState",
    "RowTotals",
    "RunPhase",
    "RunSource",
    "SeriesGroup",
    "ShareLink",
    "TestRun",
    "TierChunk",
    "TokenName",
]
