from metrics_stream.broadcast import make_metric
from metrics_stream.bus.publication import batches
from tests.support.numbered import numbered_metrics


def test_batches_keep_the_order_within_a_type():
    mixed = [metric for pair in zip(numbered_metrics(3), numbered_metrics(3, "hero"), strict=True) for metric in pair]
    split = list(batches(mixed))
    assert [{metric.metric_type for metric in batch} for batch in split] == [{"system"}, {"hero"}]
    assert split[0] == numbered_metrics(3)


def test_batches_are_bounded_in_bytes():
    big = [make_metric("system", {"x": "y" * 200_000}) for _ in range(5)]
    assert [len(batch) for batch in batches(big)] == [2, 2, 1]
