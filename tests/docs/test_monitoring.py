"""docs/monitoring.md lists the counters and checks that the code has."""

import re

from metrics_stream.observation.faults import PARTS, FaultKind
from metrics_stream.runtime.runtime import stop_runtime
from metrics_stream.server.refusals import Refusal
from metrics_stream.views import prometheus, status
from tests.support.documents import FENCE, MONITORING, named, table


def test_everything_that_prometheus_gets():
    assert named(table(MONITORING, "Gauges", "name")) == [
        prometheus.PREFIX + name for name, *_ in (*prometheus.GAUGES, prometheus.FAULTS, prometheus.CLOCK_SKEW)
    ]
    counters = [*prometheus.COUNTERS, *prometheus.LABELLED]
    assert named(table(MONITORING, "Counters", "name")) == [f"{prometheus.PREFIX}{name}_total" for name, *_ in counters]
    histograms = [prometheus.PREFIX + name for name, *_ in prometheus.HISTOGRAMS]
    assert named(table(MONITORING, "Histograms", "name")) == histograms
    [rules] = [text for language, text in FENCE.findall(MONITORING.read_text()) if language == "yaml"]
    used = set(re.findall(r"metrics_stream_\w+", rules))
    assert used <= {*(name for name in re.findall(r"`(metrics_stream_\w+)`", MONITORING.read_text()))} | {
        f"{name}_bucket" for name in histograms
    }


def test_every_reason_of_a_refusal():
    assert named(table(MONITORING, "What the edge refuses", "reason")) == [*Refusal]


async def test_every_check_of_readyz(monkeypatch):
    monkeypatch.setattr(status, "_missing_migrations", lambda: 0)
    found = await status.problems()
    await stop_runtime()
    assert named(table(MONITORING, "/readyz", "check")) == list(found)


def test_every_fault():
    rows = table(MONITORING, "Faults", "fault")
    assert named(rows) == list(FaultKind)
    assert [row["check of `/readyz`"] for row in rows] == [f"`{part}`" for part in PARTS.values()]
