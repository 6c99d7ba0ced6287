"""Describe the clients of one server process: the state of each, and why a client gets a metric or does not."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Literal

import msgspec

from metrics_stream.core.delivery.explanation import Question, Situation, explain
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import Selection
from metrics_stream.core.formatting import format_timestamp
from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.protocol.messages import Subscription
from metrics_stream.hub.clients import Client, ClientState
from metrics_stream.hub.hub import Hub

# A write that takes longer than this is not explained by a slow network.
NOT_READING_SECONDS = 1.0

# Formatting takes most of the time when thousands of clients are described, and the result is the same each time.
_format_timestamp = lru_cache(maxsize=20_000)(format_timestamp)

State = Literal["idle", "replaying", "catching up", "slow", "live"]


def describe(client: Client, now: float) -> dict[str, Any]:
    """Return a client's identity, state and counters as plain data for JSON; `now` is by the hub's clock."""
    waiting_metrics, waiting_bytes = _count_waiting(client)
    return {
        "client_id": client.id,
        "who": client.who,
        "address": client.address,
        "connected_since": _format_timestamp(client.connected_at),
        "state": _state(client, now),
        "messages_sent": client.counters.messages_sent,
        "metrics_sent": client.counters.metrics_sent,
        "bytes_sent": client.counters.bytes_sent,
        "metrics_dropped": client.counters.metrics_dropped,
        "seconds_since_frame": max(0.0, now - client.last_frame_at) if client.last_frame_at > float("-inf") else None,
        "metrics_waiting": waiting_metrics,
        "bytes_waiting": waiting_bytes,
    }


def describe_all(clients: Iterable[Client], now: float) -> list[dict[str, Any]]:
    """Return for each client what `describe` returns, and its subscription; `now` is by the hub's clock."""
    # Most of thousands of clients have the same subscription.
    subscriptions: dict[tuple[Selection, Delivery], Any] = {}
    described = []
    for client in clients:
        wanted = client.selection, client.delivery
        if wanted not in subscriptions:
            subscriptions[wanted] = msgspec.to_builtins(subscription_of(*wanted))
        described.append({**describe(client, now), "subscription": subscriptions[wanted]})
    return described


def subscription_of(selection: Selection, delivery: Delivery, preset: str | None = None) -> Subscription:
    """Return selection and delivery in the form of the protocol."""
    return Subscription(
        metric_types=selection.metric_types,
        filters=selection.filters,
        interval_seconds=delivery.interval_seconds,
        batch_size=delivery.batch_size,
        batch_timeout_seconds=delivery.batch_timeout_seconds,
        mode=delivery.mode,
        preset=preset,
    )


def _state(client: Client, now: float) -> State:
    if client.state is ClientState.REPLAYING:
        return "replaying"
    if client.busy_since is not None and now - client.busy_since > NOT_READING_SECONDS:
        return "slow"
    if client.state is ClientState.RECOVERING:
        return "catching up"
    return "live" if client.selection.metric_types else "idle"


def _count_waiting(client: Client) -> tuple[int, int]:
    """Return the number of metrics in the client's share, and the bytes of its last frame that it has not taken yet."""
    return len(client.share.items), (client.backlog or 0) if client.busy_since is not None else 0


def answer_question(
    question: Question,
    hub: Hub,
    *,
    now: float,
    catalogue: Catalogue,
    bus_problem: str | None,
    slow_after_seconds: float,
) -> dict[str, Any]:
    """Return as plain data for JSON why a client of the hub gets the metrics of the question, or why not."""
    client = hub.clients[question.client_id]
    pending = client.view.pending if client.view is not None else None
    share_waits = client.has_timer and not client.share.is_empty
    situation = Situation(
        catalogue=catalogue,
        wall_time=time.time(),
        now=now,
        bus_problem=bus_problem,
        permit=client.selection.permit,
        selection=client.selection,
        delivery=client.delivery,
        is_replaying=client.state is ClientState.REPLAYING,
        is_recovering=client.state is ClientState.RECOVERING,
        busy_seconds=None if client.busy_since is None else now - client.busy_since,
        slow_after_seconds=slow_after_seconds,
        backlog_bytes=client.backlog,
        waiting_metrics=len(client.share.items) + (len(pending) if pending is not None else 0),
        dropped_metrics=client.counters.metrics_dropped,
        last_frame_at=client.last_frame_at,
        view_frame_at=float("-inf") if pending is None else pending.last_frame_at,
        due_at=(pending.due_at if pending is not None else None) or (client.floor_at if share_waits else None),
    )
    answer: dict[str, Any] = msgspec.to_builtins(explain(question, situation))
    return answer
