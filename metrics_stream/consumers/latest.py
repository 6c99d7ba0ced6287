"""The reply to `get_latest`: the newest metric of each kind, in parts that leave time for the frames of others."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from metrics_stream.core.delivery.selection import Projection
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol import messages
from metrics_stream.hub.views import project_metric
from metrics_stream.pacing import Pace

# A part of the reply: each is made for one client alone, so others wait for it.
LATEST_METRICS = 250
LATEST_BYTES = 125_000


async def send_latest(
    newest: Iterable[Metric],
    *,
    visible: Callable[[], tuple[str, ...]],
    projection: Callable[[], Projection],
    send: Callable[[messages.Latest], Awaitable[None]],
    ref: messages.Ref,
) -> None:
    """Send what a client may see of the newest metrics, at least one part.

    `visible` and `projection` are asked for each part: the access may have changed since the read, or the last part.
    """
    rest, pace = deque(newest), Pace()
    while True:
        metric_types = visible()
        data = _take_bodies(rest, projection())
        if data or not rest:
            await send(messages.Latest(metric_types=metric_types, count=len(data), data=data, done=not rest, ref=ref))
        if not rest:
            return
        # Other clients' frames before the next part.
        await pace.pause_if_due()


def _take_bodies(metrics: deque[Metric], project: Projection) -> list[msgspec.Raw]:
    """Take as many metrics as one frame may have from the front, and return what `project` leaves of them."""
    bodies: list[msgspec.Raw] = []
    size = count = 0
    while metrics and count < LATEST_METRICS and size < LATEST_BYTES:
        count += 1
        if (body := project_metric(metrics.popleft(), project)) is not None:
            bodies.append(msgspec.Raw(body))
            size += len(body)
    return bodies
