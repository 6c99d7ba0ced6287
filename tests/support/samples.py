"""Samples of the counters of a process."""

from metrics_stream.telemetry import Sample, Telemetry


def sample(at: float, telemetry: Telemetry, **changes) -> Sample:
    """Return a sample of a healthy process, apart from `changes`."""
    values = {
        "process": "host:1",
        "pid": 1,
        "views": 2,
        "bus_live": True,
        "cpu_seconds": 1.0,
        "memory_bytes": 50_000_000,
    }
    return Sample(at=at, telemetry=telemetry, **{**values, **changes})
