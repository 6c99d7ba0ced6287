import json

from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES, SLUG_PATTERN, Catalogue, MetricType

UNITS = {"ratio", "percent", "ms", "s", "tps", "/s", "Mbps", "MB", "B", "$", "months", "count", "multiple", "score", ""}


def test_the_catalogue_lists_the_types_of_the_original_its_own_and_what_is_added():
    catalogue = Catalogue((MetricType("cloudwatch", "CloudWatch"),))
    assert catalogue.slugs == (
        "system",
        "agent",
        "business",
        "hero",
        "presentation",
        "request",
        "error",
        "stream",
        "cloudwatch",
    )
    assert catalogue.all_slugs == (
        "system",
        "agent",
        "business",
        "hero",
        "presentation",
        "request",
        "error",
        "cloudwatch",
    )
    assert catalogue.choices()[-1] == ("cloudwatch", "CloudWatch")


def test_the_catalogue_describes_itself_as_json():
    described = json.loads(json.dumps(Catalogue().describe()))
    assert described[0]["fields"][0] == {
        "name": "throughput_tps",
        "label": "Throughput",
        "unit": "tps",
        "kind": "rate",
        "minimum": 0.0,
        "maximum": None,
        "good": "higher",
    }


def test_every_field_has_a_label_and_sane_bounds():
    for metric_type in BUILTIN_TYPES:
        assert SLUG_PATTERN.fullmatch(metric_type.slug)
        names = [field.name for field in metric_type.fields]
        assert len(names) == len(set(names))
        for field in metric_type.fields:
            assert field.label
            assert field.unit in UNITS
            if field.unit == "ratio":
                assert (field.minimum, field.maximum) == (0.0, 1.0)


def test_a_field_is_found_by_name():
    assert BUILTIN_TYPES[0].field("error_rate").unit == "ratio"
    assert BUILTIN_TYPES[0].field("nothing") is None
