"""The mark of a clock that is off reaches every client: with a filter of fields, of sources, and in summaries."""

import msgspec
import pytest

from metrics_stream.core.clock_marks import mark
from metrics_stream.core.delivery.aggregation import Aggregate
from metrics_stream.core.delivery.selection import DecodedMetric, compile_projection
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.protocol.positions import tag_run
from tests.support.aggregates import metric

MARKED = tag_run(mark(metric({"a": 1, "b": 2}, source="gen-a"), 1800.0), "soak")


@pytest.mark.parametrize("filters", [Filters(fields=("a",)), Filters(fields=("a",), sources=("gen-a",))])
def test_projections_keep_the_mark(filters):
    body = compile_projection(filters)(DecodedMetric(MARKED))
    found = msgspec.json.decode(body)
    assert (found["data"], found["clock_ahead_seconds"], found["run"]) == ({"a": 1}, 1800.0, "soak")


def test_summaries_keep_the_mark():
    aggregate = Aggregate()
    aggregate.add(1, MARKED, MARKED.body)
    [(_, found)] = aggregate.metrics(keeps_sketches=False)
    assert msgspec.json.decode(found.body)["clock_ahead_seconds"] == 1800.0
