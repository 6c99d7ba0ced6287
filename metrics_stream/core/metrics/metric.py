"""Metric types, their fields, and what one metric is on its way through the system.

Room: core. The catalogue describes units, labels and bounds for panels and checks; it never decides what is
delivered: a producer may send fields that are not listed here, and they go through untouched.
"""

from __future__ import annotations

import msgspec

MAX_METRIC_BYTES = 262_144
"""The largest metric as JSON, unless settings say otherwise."""


class Metric(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One published metric, encoded once by its producer and never re-encoded for a client that takes it whole.

    `timestamp` is in seconds since the epoch, UTC. `agent_ids` are the agents found in the metric, so that a filter
    can often decide without decoding. `body` is the JSON object that goes to clients:
    `{"metric_type", "timestamp", "source", "data"}`.
    """

    metric_type: str
    source: str
    timestamp: float
    agent_ids: tuple[str, ...]
    body: bytes

    @property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """What `latest` and the reduction for slow clients keep the newest of: type, source, agents."""
        return (self.metric_type, self.source, self.agent_ids)


# Longer than any id or field name met in practice; the limit keeps an error message readable.
MAX_TERM_LENGTH = 200
