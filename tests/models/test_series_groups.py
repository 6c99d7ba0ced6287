"""What is stored of series beside their numbers."""

from metrics_stream.core.metrics.annotations import Annotation
from metrics_stream.models import SeriesGroup


def test_what_is_stated_of_an_object_holds_for_the_fields_in_it():
    group = SeriesGroup(fields=["latency.p50", "latency.p99", "cpu"])
    stated = {"latency": Annotation("ms", 5.0), "latency.p99": Annotation("s", None)}
    assert group.annotate(stated)
    assert group.units == {"latency.p50": "ms", "latency.p99": "s"}
    assert group.windows == {"latency.p50": 5.0}
    assert not group.annotate(stated), "nothing of it is new"
