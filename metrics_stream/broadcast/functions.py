"""Asynchronous functions that publish over the channel layer of this program.

await broadcast_system_metrics({"throughput_tps": 950.0})

What needs Django is imported where it is used: programs that publish over HTTP need not have it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any, Unpack

from metrics_stream.broadcast.arguments import names_data, read_item, takes_item
from metrics_stream.broadcast.row_overflows import log_overflows
from metrics_stream.broadcast.transport import MetricInput, Timestamp
from metrics_stream.core.metrics.annotations import Beside
from metrics_stream.core.metrics.budget import RowBudget
from metrics_stream.core.metrics.metric import Metric


def make_metric(metric_type: str, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> Metric:
    """Return `data` as an encoded metric; raise MetricError naming what is wrong and what is allowed."""
    from metrics_stream.broadcast import layer

    return layer.make_metric(metric_type, data, timestamp, **beside)


@names_data()
@takes_item
async def broadcast(metric_type: str, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
    """Publish one metric and return once the channel layer has it.

    `metric_type` may also be the whole metric as a dict, as an item of `broadcast_many`. `beside` can be `source`, and
    what is stated about fields: `units` and `windows` (seconds), by field.

    Raises MetricError for a value that cannot be a metric, BroadcastError when the channel layer does not accept it.
    """
    await _publish(_make_metrics(metric_type, data, timestamp, **beside))


async def broadcast_many(items: Iterable[MetricInput]) -> None:
    """Publish several metrics together, in order; nothing is published when one of them cannot be a metric."""
    await _publish([metric for item in items for metric in _make_metrics(**read_item(item))])


def _make_metrics(metric_type: str, data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> list[Metric]:
    from metrics_stream.broadcast import layer

    return layer.make_metrics(metric_type, data, timestamp, **beside)


_rows = RowBudget(time.monotonic)
"""The rows that this program has published lately with these functions."""
_turn = threading.Lock()


async def _publish(made: list[Metric]) -> None:
    from metrics_stream.broadcast import layer

    with _turn:
        metrics, overflows = _rows.apply(made)
    log_overflows(overflows)
    await layer.publish(metrics)


@names_data("system_metrics")
async def broadcast_system_metrics(data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
    """Publish system metrics: throughput, latency, errors, resources."""
    await broadcast("system", data, timestamp, **beside)


@names_data("agent_metrics", "agent_metrics_list")
async def broadcast_agent_metrics(data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
    """Publish the metrics of agents: a list of objects with `agent_id`, or one of them."""
    await broadcast("agent", data, timestamp, **beside)


@names_data("request_metrics")
async def broadcast_request_metrics(data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
    """Publish the metrics of requests: a list of rows with `name` and `method`, or one of them."""
    await broadcast("request", data, timestamp, **beside)


@names_data("error_metrics")
async def broadcast_error_metrics(data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
    """Publish the errors of requests: a list of rows with `name`, `method` and `message`, or one of them."""
    await broadcast("error", data, timestamp, **beside)


@names_data("business_metrics")
async def broadcast_business_metrics(data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
    """Publish business metrics: fraud, cost, return on investment."""
    await broadcast("business", data, timestamp, **beside)


@names_data("hero_metrics")
async def broadcast_hero_metrics(data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
    """Publish the headline numbers of a presentation."""
    await broadcast("hero", data, timestamp, **beside)


@names_data("presentation_data")
async def broadcast_presentation_data(data: Any, timestamp: Timestamp = None, **beside: Unpack[Beside]) -> None:
    """Publish everything that a presentation shows."""
    await broadcast("presentation", data, timestamp, **beside)
