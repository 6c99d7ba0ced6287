"""The shared buckets at a Redis that sentinels name."""

import pytest
from channels.layers import channel_layers

from metrics_stream.conf import get_settings
from metrics_stream.limits import shared
from metrics_stream.limits.shared import Claim, SharedBuckets
from project.redis_url import channel_layer_host
from tests.support.sentinels import Sentinels
from tests.support.stack import wait_until

pytestmark = pytest.mark.valkey

CLAIM = Claim("bucket", 1.0, 0.001, 3.0)


def test_buckets_are_shared_at_the_primary_that_sentinels_name_and_at_its_successor(tmp_path, settings, monkeypatch):
    monkeypatch.setattr(shared, "PAUSE_SECONDS", 0.05)
    with Sentinels(tmp_path, count=1, password="pass/word") as sentinels:
        config = {"hosts": [channel_layer_host(sentinels.url)]}
        settings.CHANNEL_LAYERS = {
            "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": config}
        }
        channel_layers.backends.clear()
        one, two = SharedBuckets(get_settings()), SharedBuckets(get_settings())
        taken = [each.take([CLAIM]) for each in (one, two, one)]
        assert taken == [[0.0]] * 3
        assert two.take([CLAIM])[0] > 0
        sentinels.primary.kill()
        assert one.take([CLAIM]) is None
        # The successor has the bucket, too.
        wait_until(lambda: (waits := one.take([CLAIM])) and waits[0] > 0, 20)
        for each in (one, two):
            each.close()
