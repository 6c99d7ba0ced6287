"""Metrics come out of a chunk as they went in."""

from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.metrics.metric import Metric
from metrics_stream.runs.chunks import Recorded, hash_key, pack_keys, pack_metrics, unpack_keys, unpack_metrics

TEXTS = st.text(max_size=20)
METRICS = st.builds(
    Metric,
    TEXTS,
    TEXTS,
    st.floats(allow_nan=False),
    st.lists(TEXTS, max_size=3).map(tuple),
    st.binary(max_size=300),
    # Rows without a key are those of an earlier version.
    st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
)


@given(st.lists(st.tuples(METRICS, st.integers(0, 60_000)), min_size=1, max_size=20))
def test_chunk_gives_back_every_byte_and_times_to_the_millisecond(items):
    start = 1_800_000_000.125
    recorded = [Recorded(metric, start + milliseconds / 1000) for metric, milliseconds in items]
    found = unpack_metrics(pack_metrics(recorded))
    assert [item.metric for item in found] == [metric for metric, _ in items]
    assert all(abs(one.published_at - other.published_at) < 0.001 for one, other in zip(found, recorded, strict=True))
    assert unpack_metrics(pack_metrics(found)) == found


def test_hashes_of_keys_are_the_same_on_every_machine():
    keys = [("system", "web-1", ()), ("agent", "web-1", ("a", "b"))]
    assert hash_key(keys[0]) == 3_300_218_392
    assert unpack_keys(pack_keys([*keys, keys[0]])) == {hash_key(key) for key in keys}
    assert unpack_keys(b"") == set()
