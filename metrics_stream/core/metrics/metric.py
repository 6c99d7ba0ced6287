"""Metric types, their fields, and what one metric is on its way through the system.

Room: core. The catalogue describes units, labels and bounds for panels and checks; it never decides what is
delivered: a producer may send fields that are not listed here, and they go through untouched.
"""

from __future__ import annotations

import msgspec

MAX_METRIC_BYTES = 262_144
"""The largest metric as JSON, unless settings say otherwise."""

# Fields by which an agent entry can be told from its neighbours; they survive every projection.
IDENTITY_FIELDS = frozenset({"agent_id", "agent_name"})


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


class _Agent(msgspec.Struct):
    agent_id: str | int | float


class _AgentHolder(msgspec.Struct):
    agents: list[_Agent] | dict[str, dict[str, msgspec.Raw]]


_decode_agents = msgspec.json.Decoder(list[_Agent]).decode
_decode_holder = msgspec.json.Decoder(_AgentHolder).decode


def agent_ids_in(data: bytes) -> tuple[str, ...]:
    """Return the ids of the agents in a metric's data, given as JSON; empty when it has none.

    Agents are objects with an `agent_id` in a list, or under an `agents` key: a list, or objects keyed by their id.
    """
    try:
        if data.startswith(b"["):
            return tuple(str(agent.agent_id) for agent in _decode_agents(data))
        if b'"agents"' not in data:
            return ()
        agents = _decode_holder(data).agents
    except msgspec.ValidationError:  # a list, or an `agents` key, that holds something else
        return ()
    return tuple(agents) if isinstance(agents, dict) else tuple(str(agent.agent_id) for agent in agents)


# Longer than any id or field name met in practice; the limit keeps an error message readable.
MAX_TERM_LENGTH = 200
