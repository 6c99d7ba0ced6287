from dataclasses import fields

import pytest
from django.core.exceptions import ImproperlyConfigured

from metrics_stream.conf import StreamSettings, get_settings, parse_settings, read_environment
from metrics_stream.core.delivery.frames import MAX_FRAME_BYTES


def test_the_defaults_are_sane():
    settings = parse_settings({})
    assert settings.source
    assert settings.catalogue().slugs == (
        "system",
        "agent",
        "business",
        "hero",
        "presentation",
        "request",
        "error",
        "stream",
    )
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
        ({"ANONYMOUS_READ": 1}, "METRICS_STREAM['ANONYMOUS_READ'] is 1; it must be True or False"),
        ({"ALLOWED_ORIGINS": "https://a.example"}, "must be a list of origins"),
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


# --- variables of the environment ---

TEXTS = {
    "str": ("load-generator-1", "load-generator-1"),
    "int": ("4999", 4999),
    "float": ("7.5", 7.5),
    "bool": ("yes", True),
    "tuple[str, ...]": ("https://a.example, http://10.0.0.7:8080", ["https://a.example", "http://10.0.0.7:8080"]),
    "tuple[MetricType, ...]": ('{"cloudwatch": "CloudWatch"}', {"cloudwatch": "CloudWatch"}),
}


@pytest.mark.parametrize("field", fields(StreamSettings), ids=lambda field: field.name)
def test_every_setting_can_be_set_by_its_variable(field):
    text, value = TEXTS[field.type]
    overlay = read_environment({f"METRICS_STREAM_{field.name.upper()}": text, "OTHER": "x"})
    assert overlay == {field.name.upper(): value}
    assert getattr(parse_settings(overlay), field.name) != getattr(parse_settings({}), field.name)


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("MAX_CLIENTS", "many", "METRICS_STREAM_MAX_CLIENTS=many: allowed: a whole number"),
        ("MAX_CLIENTS", "-1", "METRICS_STREAM_MAX_CLIENTS=-1: METRICS_STREAM['MAX_CLIENTS'] is -1; it must be a whole"),
        ("MAX_CLIENTS", "1.5", "allowed: a whole number"),
        ("REJOIN_SECONDS", "soon", "METRICS_STREAM_REJOIN_SECONDS=soon: allowed: a number"),
        ("REJOIN_SECONDS", "nan", "must be a number above 0"),
        ("ANONYMOUS_READ", "maybe", "METRICS_STREAM_ANONYMOUS_READ=maybe: allowed: 1 or 0, true or false"),
        (
            "ALLOWED_ORIGINS",
            "portal.example.org",
            "METRICS_STREAM_ALLOWED_ORIGINS=portal.example.org: allowed: origins between commas",
        ),
        (
            "ALLOWED_ORIGINS",
            "https://user@host",
            "METRICS_STREAM_ALLOWED_ORIGINS=https://user@host: allowed: origins between commas",
        ),
        (
            "ALLOWED_ORIGINS",
            "https://host/x",
            "METRICS_STREAM_ALLOWED_ORIGINS=https://host/x: allowed: origins between commas",
        ),
        ("EXTRA_METRIC_TYPES", "cloudwatch", "METRICS_STREAM_EXTRA_METRIC_TYPES=cloudwatch: allowed: a JSON object"),
        ("EXTRA_METRIC_TYPES", "[1]", "must be a dict of slug to label"),
        ("MAX_CLIENT", "1", "METRICS_STREAM_MAX_CLIENT is no variable of a setting; allowed: "),
    ],
)
def test_a_wrong_variable_is_named_with_its_value_and_what_is_allowed(variable, text, words):
    with pytest.raises(ImproperlyConfigured) as caught:
        read_environment({f"METRICS_STREAM_{variable}": text})
    assert words in str(caught.value)


def test_an_empty_variable_is_as_good_as_none():
    assert read_environment({"METRICS_STREAM_MAX_CLIENTS": " "}) == {}


def test_settings_beside_the_dict_still_work_and_go_first(settings):
    settings.METRICS_STREAM = {"ANONYMOUS_READ": True, "ALLOWED_ORIGINS": []}
    settings.ANONYMOUS_READ, settings.ALLOWED_ORIGINS = False, ["https://portal.example.org"]
    assert (get_settings().anonymous_read, get_settings().allowed_origins) == (False, ("https://portal.example.org",))
    del settings.ANONYMOUS_READ, settings.ALLOWED_ORIGINS
    settings.METRICS_STREAM = {**settings.METRICS_STREAM}
    assert (get_settings().anonymous_read, get_settings().allowed_origins) == (True, ())
