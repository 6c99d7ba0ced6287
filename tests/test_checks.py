"""Each misconfiguration has a stable id and a hint."""

import pytest
from django.core import checks

from metrics_stream.checks import (
    check_channel_layer,
    check_deployment,
    check_hosts,
    check_overlay,
    check_secret_key,
    check_server,
)

REDIS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": []}}}


def ids(found):
    assert all(message.hint for message in found)
    return [message.id for message in found]


@pytest.mark.parametrize("overlay", [{"SORUCE": "x"}, {"MAX_CLIENTS": -1}, ["x"], None])
def test_bad_overlay_is_an_error_that_names_it(settings, overlay):
    settings.METRICS_STREAM = overlay
    found = check_overlay()
    assert ids(found) == ["metrics_stream.E001"]
    assert "METRICS_STREAM" in found[0].msg


def test_overlay_may_be_absent(settings):
    del settings.METRICS_STREAM
    assert check_overlay() == []


@pytest.mark.parametrize("layers", [None, {}, {"other": {}}])
def test_missing_channel_layer_is_an_error(settings, layers):
    settings.CHANNEL_LAYERS = layers
    assert ids(check_channel_layer()) == ["metrics_stream.E002"]


def test_core_layer_of_channels_redis_is_a_warning(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}
    assert ids(check_channel_layer()) == ["metrics_stream.W002"]


def test_pubsub_layer_is_fine(settings):
    settings.CHANNEL_LAYERS = REDIS
    assert check_channel_layer() == check_deployment() == []


@pytest.mark.parametrize("value", [None, ""])
def test_missing_asgi_application_is_an_error(settings, value):
    settings.ASGI_APPLICATION = value
    assert ids(check_server()) == ["metrics_stream.E003"]


def test_daphne_not_first_is_a_warning(settings):
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS[1:], "daphne"]
    assert ids(check_server()) == ["metrics_stream.W001"]


def test_memory_layer_is_a_warning_for_deployments_only(settings):
    settings.DEBUG = False
    assert ids(check_deployment()) == ["metrics_stream.W003"]
    settings.DEBUG = True
    assert check_deployment() == []


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("only-for-tests", "14 characters"),
        ("x" * 60, "1 different"),
        ("django-insecure-k3+e9y!p0q8w7z5v2n4m6b1c8x0a7s9d", "placeholder"),
        ("put-fifty-random-characters-here-and-some-more-of-them", "placeholder"),
        ("Change-Me-to-fifty-random-characters", "placeholder"),
    ],
)
def test_a_key_that_can_be_guessed_is_an_error_that_does_not_tell_it(settings, key, word):
    settings.SECRET_KEY = key
    found = check_secret_key()
    assert ids(found) == ["metrics_stream.E004"]
    assert word in found[0].msg
    assert key not in found[0].msg + found[0].hint
    settings.DEBUG = True
    assert check_secret_key() == []


def test_every_host_is_an_error_and_named_ones_are_fine(settings):
    settings.ALLOWED_HOSTS = ["metrics.example.com", "*"]
    assert ids(check_hosts()) == ["metrics_stream.E005"]
    settings.DEBUG = True
    assert check_hosts() == []
    settings.DEBUG, settings.ALLOWED_HOSTS = False, ["metrics.example.com", ".example.com"]
    assert check_hosts() == []


def test_all_are_registered_and_the_project_passes():
    deploy_only = {item for item in checks.registry.registry.deployment_checks if "metrics_stream" in item.__module__}
    always = {item for item in checks.registry.registry.registered_checks if "metrics_stream" in item.__module__}
    assert always == {check_overlay, check_channel_layer, check_server, check_secret_key, check_hosts}
    assert deploy_only == {check_deployment}
    assert [item for item in checks.run_checks() if (item.id or "").startswith("metrics_stream")] == []
