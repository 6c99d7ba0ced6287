"""Which rows filters and grants show, against a reference that looks at each decoded row."""

import json

from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.delivery.selection import DecodedMetric, compile_projection
from metrics_stream.core.metrics.catalogue import AGENT, ERROR, REQUEST, SYSTEM, MetricType
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.keys import Terms, parse_row
from metrics_stream.core.metrics.permission import Grant, Permit
from metrics_stream.core.protocol.messages import Filters
from metrics_stream.core.series.columns import SeriesKey
from metrics_stream.core.series.folding import matches, readings
from tests.core.metrics.test_patterns import matches as text_matches

QUEUE = MetricType("queue", "Queues", key=("agent_id", "queue"))
TYPES = (REQUEST, ERROR, AGENT, QUEUE)

names = st.sampled_from(["a", "ab", "b", "/a/b"])
numbers = st.fixed_dictionaries({"n": st.integers(0, 3)}, optional={"m": st.integers(0, 3), "group_of": names})


@st.composite
def metrics(draw):
    """Return a metric of one of the keyed types, or of an object with agents."""
    if draw(st.booleans()) and draw(st.booleans()):
        agents = draw(st.dictionaries(names, numbers, max_size=3))
        return encode(SYSTEM, {"n": 1, "agents": agents})
    kind = draw(st.sampled_from(TYPES))
    parts = st.fixed_dictionaries(
        {part: names for part in kind.key if part not in kind.optional_parts},
        optional={part: names for part in kind.key if part in kind.optional_parts},
    )
    rows = draw(st.lists(st.builds(lambda key, own: {**key, **own}, parts, numbers), min_size=1, max_size=4))
    return encode(kind, rows)


def encode(kind, data):
    return encode_metric(kind, data, timestamp=1.0, source="host", max_bytes=100_000)


patterns = st.frozensets(st.sampled_from(["a", "a*", "*b", "*", "", "/a/*"]), min_size=1, max_size=2)
parts = st.sampled_from(["name", "method", "scenario", "message", "queue", "nothing"])
fields = st.frozensets(st.sampled_from(["n", "m"]), max_size=1)
keys = st.dictionaries(parts, patterns, max_size=2)
agents = st.frozensets(st.sampled_from(["a", "a*", "b"]), max_size=2)
EVERY_TYPE = frozenset(kind.slug for kind in (*TYPES, SYSTEM))
grants = st.builds(
    lambda of_agents, own, named, more: Grant(
        EVERY_TYPE,
        agent_ids=of_agents,
        fields=named,
        keys=frozenset(Terms(part, found) for each in (own, more) for part, found in each.items()),
    ),
    agents,
    keys,
    fields,
    keys,
)
filters = st.builds(
    lambda of_agents, own, named: Filters(
        agent_ids=tuple(sorted(of_agents)),
        fields=tuple(sorted(named)),
        keys={part: tuple(sorted(found)) for part, found in own.items()},
    ),
    agents,
    keys,
    fields,
)


def passes(terms, key, values):
    """Return whether terms keep the row of these values, as docs/protocol.md says it."""
    if key == ("agent_id",):
        own = [term for term in terms if term.part == "agent_id"]
    else:
        own = [term for term in terms if term.part != "agent_id" or "agent_id" in key]
    return all(any(text_matches(one, values.get(term.part, "")) for one in term.patterns) for term in own)


def rows_of(metric):
    """Return the rows of a metric as (key, parts, fields)."""
    body = json.loads(metric.body)
    if isinstance(body["data"], dict):
        return [(("agent_id",), {"agent_id": name}, row) for name, row in body["data"].get("agents", {}).items()]
    key = tuple(body.get("key", ["agent_id"]))
    return [
        (key, {part: row[part] for part in key if row.get(part)}, {k: v for k, v in row.items() if k not in key})
        for row in body["data"]
    ]


def shown(metric, narrowings):
    """Return each field that one of the narrowings, pairs of terms and fields, shows of each row."""
    return sorted(
        (str(sorted(parts.items())), field, value)
        for key, parts, row in rows_of(metric)
        for field, value in row.items()
        if any(passes(terms, key, parts) and (not named or field in named) for terms, named in narrowings)
    )


def left(body, metric):
    """Return each field of each row in a projection."""
    if body is None:
        return []
    return shown(type(metric)(metric.metric_type, metric.source, 1.0, (), body), [((), ())])


@given(metrics(), st.lists(grants, min_size=1, max_size=3))
def test_grants_show_the_rows_of_which_one_keeps_the_key(metric, granted):
    permit = Permit(frozenset(granted))
    found = DecodedMetric(metric).under(permit)
    expected = shown(metric, [(grant.terms, grant.fields) for grant in granted])
    assert left(None if found is None else found.metric.body, metric) == expected
    if found is not None and isinstance(json.loads(found.metric.body)["data"], list):
        kept = {str(sorted(parse_row(row).items())) for row in found.metric.rows}
        assert {row for row, _, _ in expected} <= kept


@given(metrics(), filters)
def test_filters_show_the_same_as_a_grant_would(metric, asked):
    grant = Grant(EVERY_TYPE, frozenset(), frozenset(asked.agent_ids), frozenset(asked.fields), asked.terms)
    body = compile_projection(asked)(DecodedMetric(metric))
    assert left(body, metric) == shown(metric, [(grant.terms, grant.fields)])


@given(metrics(), filters, st.lists(grants, max_size=2))
def test_filters_never_show_more_than_grants_allow(metric, asked, granted):
    both = compile_projection(asked, Permit(frozenset(granted)))(DecodedMetric(metric))
    allowed = shown(metric, [(grant.terms, grant.fields) for grant in granted])
    assert set(left(both, metric)) <= set(allowed)


@given(metrics(), grants, grants)
def test_the_overlap_of_grants_shows_what_both_show(metric, mine, theirs):
    common = mine.overlap(theirs)
    expected = set(shown(metric, [(mine.terms, mine.fields)])) & set(shown(metric, [(theirs.terms, theirs.fields)]))
    found = [] if common is None else shown(metric, [(common.terms, common.fields)])
    assert set(found) == expected
    if mine.includes(theirs):
        assert set(shown(metric, [(theirs.terms, theirs.fields)])) <= set(shown(metric, [(mine.terms, mine.fields)]))


@given(metrics(), filters, st.lists(grants, max_size=2))
def test_series_are_narrowed_as_metrics_are(metric, asked, granted):
    permit = Permit(frozenset(granted))
    asked = Filters(agent_ids=asked.agent_ids, keys=asked.keys)
    whole = DecodedMetric(metric).under(permit)
    body = None if whole is None else compile_projection(asked)(whole)
    live = {(row, field) for row, named, _ in readings(body or b"") for field in named if row is not None}
    key = metric.metric_type, metric.source
    recorded = {
        (row, field)
        for row, named, _ in readings(metric.body)
        for field in named
        if row is not None and matches(SeriesKey(*key, row), (), asked) and permit.shows(*key, row, field)
    }
    assert live == recorded
