"""Which kinds of metrics have the newest of some row."""

from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.metrics.newest_rows import NewestRows

kinds = st.builds(
    lambda source, rows: ("request", source, tuple(rows)),
    st.sampled_from("st"),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4),
)


@given(st.lists(st.tuples(kinds, st.booleans()), max_size=20))
def test_the_kinds_that_stay_are_those_of_the_newest_rows(published):
    rows, kept, newest = NewestRows(), {}, {}
    for number, (kind, is_dropped) in enumerate(published):
        for gone in rows.put(kind):
            del kept[gone]
        kept[kind] = number
        newest.update({(kind[1], row): kind for row in kind[2]})
        assert kept.keys() == set(newest.values())
        if is_dropped:
            rows.drop(kind)
            del kept[kind]
            newest = {row: holder for row, holder in newest.items() if holder != kind}


def test_metrics_without_rows_replace_nothing():
    rows = NewestRows()
    rows.put(("agent", "s", ("agent_id=a",)))
    assert rows.put(("agent", "s", ())) == []
    rows.drop(("agent", "s", ()))
