import pytest
from django.core.exceptions import ImproperlyConfigured

from metrics_stream.conf import get_settings, parse_settings
from metrics_stream.core.delivery.frames import MAX_FRAME_BYTES


def test_the_defaults_are_sane():
    settings = parse_settings({})
    assert settings.source
    assert settings.catalogue().slugs == ("system", "agent", "business", "hero", "presentation", "stream")
    # A frame must fit the default limit of common client libraries, 1 MiB; the largest metric must fit into a frame.
    assert MAX_FRAME_BYTES < 2**20
    assert settings.max_metric_bytes < MAX_FRAME_BYTES


def test_types_can_be_added():
    settings = parse_settings({"EXTRA_METRIC_TYPES": {"cloudwatch": "CloudWatch", "k6_load": "k6"}})
    assert settings.catalogue().slugs[-2:] == ("cloudwatch", "k6_load")
    assert settings.catalogue().types["cloudwatch"].label == "CloudWatch"


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ({"MAX_CLIENT": 1}, "unknown key 'MAX_CLIENT'; allowed: "),
        ({"MAX_CLIENTS": 0}, "METRICS_STREAM['MAX_CLIENTS'] is 0; it must be a whole number above 0"),
        ({"MAX_CLIENTS": "10"}, "is '10'; it must be a whole number above 0"),
        ({"MAX_CLIENTS": True}, "is True; it must be a whole number"),
        ({"MESSAGE_BURST": 2.5}, "is 2.5; it must be a whole number above 0"),
        ({"REJOIN_SECONDS": -1}, "is -1; it must be a number above 0"),
        ({"REJOIN_SECONDS": float("nan")}, "is nan; it must be a number above 0"),
        ({"MAX_METRIC_BYTES": 200}, "MAX_METRIC_BYTES'] is 200; it must be a whole number from 4096 to "),
        ({"MAX_METRIC_BYTES": 10_000_000}, "it must be a whole number from 4096 to "),
        ({"HISTORY_SECONDS": 1e9}, "it must be a number 0, or from 1 to 2592000"),
        ({"HISTORY_METRICS": 10**30}, "it must be a whole number from 1 to 1000000000000"),
        ({"BUS_TIMEOUT_SECONDS": 1e-9}, "it must be a number from 0.1 to 60"),
        ({"RECORD_RAW_DAYS": 1e9}, "it must be a number 0, or from 0.001 to 36500"),
        ({"GROUP_PREFIX": "two words"}, "is 'two words'; it must be 1 to 40 letters"),
        ({"GROUP_PREFIX": "x" * 41}, "it must be 1 to 40 letters"),
        ({"SOURCE": ""}, "METRICS_STREAM['SOURCE'] is ''"),
        ({"EXTRA_METRIC_TYPES": ["x"]}, "must be a dict of slug to label"),
        ({"EXTRA_METRIC_TYPES": {"Cloud Watch": "x"}}, "has the slug 'Cloud Watch'; a slug is lower-case"),
        ({"EXTRA_METRIC_TYPES": {"x" * 41: "x"}}, "at most 40 characters"),
        ({"EXTRA_METRIC_TYPES": {"system": "x"}}, "redefines 'system'"),
        ({"EXTRA_METRIC_TYPES": {"all": "x"}}, "redefines 'all'"),
        ({"EXTRA_METRIC_TYPES": {"x": ""}}, "must be a label, got ''"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(overlay, words):
    with pytest.raises(ImproperlyConfigured) as caught:
        parse_settings(overlay)
    assert words in str(caught.value)


def test_a_changed_setting_is_read_again(settings):
    settings.METRICS_STREAM = {"MAX_CLIENTS": 7}
    assert get_settings().max_clients == 7
    settings.METRICS_STREAM = {}
    assert get_settings().max_clients == 10_000
