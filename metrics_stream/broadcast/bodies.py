"""The bodies of requests that carry metrics."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from metrics_stream.core.metrics.metric import Metric

# Less than half of what a server accepts by default, in metrics and in bytes.
MAX_REQUEST_METRICS = 400
MAX_REQUEST_BYTES = 1_000_000

HEADERS = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}


def split(metrics: Sequence[Metric]) -> Iterator[list[bytes]]:
    """Yield the bodies of the metrics, as many together as one request may have."""
    bodies: list[bytes] = []
    size = 0
    for metric in metrics:
        if bodies and (len(bodies) >= MAX_REQUEST_METRICS or size + len(metric.body) > MAX_REQUEST_BYTES):
            yield bodies
            bodies, size = [], 0
        bodies.append(metric.body)
        size += len(metric.body)
    if bodies:
        yield bodies


def pack(bodies: Sequence[bytes]) -> bytes:
    """Return the body of a request with HEADERS; the server reads the body of each metric as one item."""
    return zlib.compress(b"\n".join(bodies), 6, wbits=31)
