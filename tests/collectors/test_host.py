"""The metrics of this machine: real ones within their bounds, and rates from counters of a table."""

from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from metrics_stream.collectors.host import UNITS, HostMetrics
from metrics_stream.core.metrics.catalogue import SYSTEM


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_real_sample_is_within_bounds() -> None:
    host = HostMetrics()
    sum(number * number for number in range(200_000))  # something to measure
    metric = host.sample()
    for name in ("cpu_utilization", "memory_utilization", "network_throughput_mbps"):
        field = SYSTEM.field(name)
        assert field is not None
        assert metric[name] >= 0
        assert field.maximum is None or metric[name] <= field.maximum
    assert metric["memory_utilization"] > 0
    assert 0 <= metric["swap_utilization"] <= 1
    assert metric["load_average_1m"] >= 0


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the network and disk counters of psutil by those of the test."""
    values: dict[str, Any] = {"network": {}, "disk": (0, 0)}

    def network(*, pernic: bool) -> dict[str, SimpleNamespace]:
        assert pernic
        return {
            name: SimpleNamespace(bytes_recv=received, bytes_sent=sent)
            for name, (received, sent) in values["network"].items()
        }

    def disk() -> SimpleNamespace | None:
        if values["disk"] is None:
            return None
        return SimpleNamespace(read_bytes=values["disk"][0], write_bytes=values["disk"][1])

    flags = {"eth0": "up,running", "eth1": "up", "local7": "up,loopback,running"}
    monkeypatch.setattr(psutil, "net_io_counters", network)
    monkeypatch.setattr(psutil, "disk_io_counters", disk)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {n: SimpleNamespace(flags=f) for n, f in flags.items()})
    return values


def test_rates_are_of_the_time_since_the_previous_sample(counters: dict[str, Any]) -> None:
    clock = Clock()
    counters["network"] = {"eth0": (1_000, 500), "eth1": (0, 0), "local7": (0, 0), "lo": (0, 0)}
    host = HostMetrics(clock=clock)
    clock.now += 2.0
    counters["network"] = {"eth0": (1_001_000, 500_500), "eth1": (500_000, 0), "local7": (9**9, 0), "lo": (9**9, 0)}
    counters["disk"] = (4_000_000, 1_000_000)
    metric = host.sample()
    assert metric["network_received_mbps"] == 6.0
    assert metric["network_sent_mbps"] == 2.0
    assert metric["network_throughput_mbps"] == 8.0
    assert metric["disk_read_mb_per_second"] == 2.0
    assert metric["disk_write_mb_per_second"] == 0.5
    clock.now += 1.0
    assert host.sample()["network_throughput_mbps"] == 0.0


def test_interfaces_that_come_or_restart_count_from_their_second_reading(counters: dict[str, Any]) -> None:
    clock = Clock()
    counters["network"] = {"eth0": (5_000_000, 0)}
    host = HostMetrics(clock=clock)
    clock.now += 1.0
    counters["network"] = {"eth0": (0, 0), "eth1": (7_000_000, 0)}
    assert host.sample()["network_throughput_mbps"] == 0.0


def test_what_cannot_be_told_is_left_out(counters: dict[str, Any]) -> None:
    counters["disk"] = None
    clock = Clock()
    host = HostMetrics(clock=clock)
    assert "network_throughput_mbps" not in host.sample(), "no time has passed, so there is no rate"
    clock.now += 1.0
    metric = host.sample()
    assert "network_throughput_mbps" in metric
    assert "disk_read_mb_per_second" not in metric


def test_every_figure_has_a_unit_that_is_known_or_stated() -> None:
    known = {field.name for field in SYSTEM.fields}
    # A load average is a plain number.
    stated = set(HostMetrics().sample()) - known - {"load_average_1m"}
    assert stated <= UNITS.keys(), stated - UNITS.keys()
