"""One metric on its way from its producer to the clients."""

from __future__ import annotations

import msgspec

MAX_METRIC_BYTES = 262_144
# The limit may not be lower: the `stream` metric that a process publishes of itself needs this much.
LEAST_METRIC_BYTES = 4_096
"""The default bound for the size of a metric as JSON."""


class Metric(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One published metric. Its producer encodes it once; clients that get it whole get these bytes.

    `timestamp` is in seconds since the epoch, UTC. `rows` are the rows in the data, as `keys.py` writes them, so that
    a filter can often decide without decoding; `key` names the parts of their keys. `body` is the JSON object that
    clients get: `{"metric_type", "timestamp", "source", "data"}`, behind them `key` for rows that are no agents, and
    `units` and `windows` where the producer states them (`annotations.py`).
    """

    metric_type: str
    source: str
    timestamp: float
    rows: tuple[str, ...]
    body: bytes
    key: tuple[str, ...] = ()

    @property
    def kind(self) -> tuple[str, str, tuple[str, ...]]:
        """Type, source and rows: mode `latest` and the share of a slow client keep the newest metric of each kind."""
        return (self.metric_type, self.source, self.rows)


class RunMetric(Metric, frozen=True, array_like=True, gc=False):
    """A metric of active test runs within a server process: its `body` names the run that was started last.

    `runs` are the ids of all of them and their sources, None where these are unknown; `plain` is the body without a
    run. Who may not see the last run gets the body with another one, or with none.
    """

    runs: tuple[tuple[str, frozenset[str] | None], ...] = ()
    plain: bytes = b""


def name_run(body: bytes, run: str) -> bytes:
    """Return the body of a metric with `run` as its last key."""
    return b'%b,"run":%b}' % (body[:-1], msgspec.json.encode(run))


# Longer than any id or field name seen in practice; the limit keeps error messages readable.
MAX_TERM_LENGTH = 200
