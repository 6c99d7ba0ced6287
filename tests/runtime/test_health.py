from metrics_stream.core.metrics.catalogue import STREAM
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import LEAST_METRIC_BYTES
from metrics_stream.core.protocol.codes import GapReason
from metrics_stream.observation.faults import FaultKind
from metrics_stream.runtime.health import health
from metrics_stream.telemetry import Telemetry
from tests.support.samples import sample


def test_health_tells_rates_and_percentiles_of_the_time_between_two_samples():
    telemetry = Telemetry(started_at=900.0, connected_clients=3)
    telemetry.age_seconds.observe(50.0, times=1000)  # before the first sample, so not counted
    before = sample(1000.0, telemetry.copy())
    telemetry.metrics_received += 20
    telemetry.metrics_sent += 60
    telemetry.bytes_sent += 250_000
    telemetry.gaps_by_reason["bus"] += 4
    telemetry.dropped_by_reason["bus"] += 9
    telemetry.age_seconds.observe(0.09, times=100)
    now = sample(1002.0, telemetry, cpu_seconds=1.5, bus_live=False)
    data = health(now, before)
    assert data["metrics_received_per_second"] == 10
    assert data["metrics_sent_per_second"] == 30
    assert data["sent_mbps"] == 1.0
    assert data["gaps_per_second"] == 2
    unheard = dict.fromkeys(("pending_overflow", "slow_consumer", "history", "internal"), 0)
    assert data["gaps_by_reason"] == {**unheard, "bus": 4}
    assert data["dropped_by_reason"] == {**unheard, "bus": 9}
    assert 50 < data["age_p50_ms"] < data["age_p99_ms"] <= 100
    assert data["flush_p99_ms"] is None
    assert (data["clients"], data["views"], data["status"]) == (3, 2, "degraded")
    assert (data["cpu_utilization"], data["memory_mb"], data["uptime_seconds"]) == (0.25, 50.0, 102)
    assert data["faults"] is None
    assert set(data) == {field.name for field in STREAM.fields}


def test_the_largest_health_metric_fits_into_the_lowest_limit():
    telemetry = Telemetry(started_at=0.0, connected_clients=10**12)
    for name in ("slow_clients_closed", "refused_clients", "protocol_errors", "bus_failures"):
        setattr(telemetry, name, 10**18)
    for reason in GapReason:
        telemetry.gaps_by_reason[reason] = telemetry.dropped_by_reason[reason] = 10**18
    telemetry.bytes_sent = telemetry.metrics_sent = telemetry.metrics_received = 10**18
    faults = dict.fromkeys(FaultKind, "\x01" * 1_000)
    data = health(sample(1e10, telemetry, faults=faults), sample(0.0, Telemetry()))
    encode_metric(STREAM, data, timestamp=1e9, source="x" * 200, max_bytes=LEAST_METRIC_BYTES)
