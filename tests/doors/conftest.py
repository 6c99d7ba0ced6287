"""What comes in at the doors."""

import pytest

from metrics_stream.broadcast import Broadcaster, layer
from metrics_stream.bus import bus


@pytest.fixture
def kept(monkeypatch):
    """What the functions and the Broadcasters publish, instead of publishing it."""
    bus.declare_server()
    metrics = []

    async def publish(published):
        metrics.extend(published)

    monkeypatch.setattr(layer, "publish", publish)
    monkeypatch.setattr(Broadcaster, "_enqueue", lambda self, published: metrics.extend(published))
    return metrics
