"""Which history an installation has."""

import pytest
from channels.layers import BaseChannelLayer, channel_layers, get_channel_layer

from metrics_stream.conf import get_settings
from metrics_stream.history import open_history
from metrics_stream.history.memory import MemoryHistory
from metrics_stream.history.redis import RedisHistory
from tests.support.history import Producer, start, timestamps


class SharedLayer(BaseChannelLayer):
    """A channel layer that connects processes in another way."""


def test_a_process_has_one_history_for_its_channel_layer():
    history = open_history(get_settings())
    assert isinstance(history, MemoryHistory)
    assert open_history(get_settings()) is history
    channel_layers.backends.clear()
    assert open_history(get_settings()) is not history


def test_other_bounds_are_another_history(settings):
    history = open_history(get_settings())
    settings.METRICS_STREAM = {"STALE_AFTER_SECONDS": 5}
    assert open_history(get_settings()) is history
    settings.METRICS_STREAM = {"HISTORY_METRICS": 5}
    assert open_history(get_settings()) is not history


def test_no_seconds_are_no_history(settings):
    settings.METRICS_STREAM = {"HISTORY_SECONDS": 0}
    assert open_history(get_settings()) is None


@pytest.mark.parametrize("layers", [{}, {"default": {"BACKEND": f"{__name__}.SharedLayer"}}])
def test_a_channel_layer_that_is_not_redis_has_no_history(settings, layers):
    settings.CHANNEL_LAYERS = layers
    assert (get_channel_layer() is None) == (not layers)
    assert open_history(get_settings()) is None


@pytest.mark.parametrize(
    "backend", ["channels_redis.pubsub.RedisPubSubChannelLayer", "channels_redis.core.RedisChannelLayer"]
)
@pytest.mark.parametrize(
    "config", [{}, {"hosts": [("127.0.0.1", 1)]}, {"hosts": ["redis://127.0.0.1:1/2", "unix:///x"]}]
)
def test_the_history_is_in_the_redis_of_the_channel_layer(settings, backend, config):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    history = open_history(get_settings())
    assert isinstance(history, RedisHistory)
    assert open_history(get_settings()) is history


@pytest.mark.valkey
async def test_it_is_where_the_channel_layer_is(valkey_layer, settings):
    settings.METRICS_STREAM = {"GROUP_PREFIX": "test_opening"}
    history = open_history(get_settings())
    await Producer(history).publish(2)
    assert timestamps((await open_history(get_settings()).since(await start(history))).batches) == [0, 1]
    await history.close()
