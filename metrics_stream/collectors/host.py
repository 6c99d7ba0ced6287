"""This machine as a `system` metric: processor, memory, network and disks, read with psutil.

In a container, the numbers are those of the host, except the network, which is the container's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class _Reading:
    """The counters of one instant: bytes for each interface, and None where the system gives no disk counters."""

    read_at: float
    network: dict[str, tuple[int, int]]
    disk: tuple[int, int] | None


UNITS = {
    "memory_available_mb": "MB",
    "swap_utilization": "ratio",
    "network_received_mbps": "Mbps",
    "network_sent_mbps": "Mbps",
    "disk_read_mb_per_second": "MB/s",
    "disk_write_mb_per_second": "MB/s",
}
"""The units of the fields that are not known by their name."""


class HostMetrics:
    """The machine's metrics since the previous call.

    The constructor takes the first reading; call `sample` one interval later. Rates are omitted when no time has
    passed, and so are values that the system does not offer.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # psutil measures from the previous call, and the first call returns a meaningless 0.
        psutil.cpu_percent(interval=None)
        self._previous = self._read()

    def sample(self) -> dict[str, Any]:
        """Return the `system` metric of the time since the previous call (or since the constructor)."""
        current = self._read()
        seconds = current.read_at - self._previous.read_at
        memory = psutil.virtual_memory()
        metric: dict[str, Any] = {
            "cpu_utilization": _ratio(psutil.cpu_percent(interval=None)),
            "memory_utilization": _ratio(memory.percent),
            "memory_available_mb": round(memory.available / 1e6, 1),
            "swap_utilization": _ratio(psutil.swap_memory().percent),
            "load_average_1m": round(psutil.getloadavg()[0], 2),
        }
        if seconds > 0:
            metric |= _network_rates(self._previous.network, current.network, seconds)
            metric |= _disk_rates(self._previous.disk, current.disk, seconds)
        self._previous = current
        return metric

    def _read(self) -> _Reading:
        disk = psutil.disk_io_counters()
        interfaces = psutil.net_if_stats()
        return _Reading(
            read_at=self._clock(),
            network={
                name: (counters.bytes_recv, counters.bytes_sent)
                for name, counters in psutil.net_io_counters(pernic=True).items()
                if not _is_loopback(name, interfaces.get(name))
            },
            disk=None if disk is None else (disk.read_bytes, disk.write_bytes),
        )


def _is_loopback(name: str, stats: Any) -> bool:
    # Windows has no flags, so there the name decides.
    flags: str = getattr(stats, "flags", "")
    return "loopback" in flags.split(",") or name in {"lo", "lo0"} or name.lower().startswith("loopback")


def _network_rates(
    before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], seconds: float
) -> dict[str, float]:
    # An interface that appeared in between is left out: its counters since boot do not belong to this interval.
    shared = before.keys() & after.keys()
    received = sum(max(0, after[name][0] - before[name][0]) for name in shared) * 8 / 1e6 / seconds
    sent = sum(max(0, after[name][1] - before[name][1]) for name in shared) * 8 / 1e6 / seconds
    return {
        "network_throughput_mbps": round(received + sent, 4),
        "network_received_mbps": round(received, 4),
        "network_sent_mbps": round(sent, 4),
    }


def _disk_rates(before: tuple[int, int] | None, after: tuple[int, int] | None, seconds: float) -> dict[str, float]:
    if before is None or after is None:
        return {}
    return {
        "disk_read_mb_per_second": round(max(0, after[0] - before[0]) / 1e6 / seconds, 4),
        "disk_write_mb_per_second": round(max(0, after[1] - before[1]) / 1e6 / seconds, 4),
    }


def _ratio(percent: float) -> float:
    return round(min(1.0, max(0.0, percent / 100)), 4)
