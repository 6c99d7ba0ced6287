"""Why a client gets a metric: each step that lets it through or stops it, as the delivery itself decides."""

from dataclasses import replace

import msgspec
import pytest

from metrics_stream.core.delivery.explanation import Question, Situation, explain
from metrics_stream.core.delivery.pending import Delivery
from metrics_stream.core.delivery.selection import DecodedMetric, Selection, compile_projection
from metrics_stream.core.metrics.catalogue import AGENT, SYSTEM, Catalogue
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.permission import EVERYTHING, NOTHING, Grant, Permit
from metrics_stream.core.protocol.messages import Filters

AT = 1_000_000.0


def metric(kind=SYSTEM, data=None, *, source="a", age=1.0):
    return encode_metric(kind, data or {"error_rate": 0.1}, timestamp=AT - age, source=source, max_bytes=10_000)


def agents(*ids):
    return metric(AGENT, [{"agent_id": one, "status": "healthy"} for one in ids])


def permit(*metric_types, **narrowing):
    return Permit(frozenset({Grant(frozenset(metric_types), **{k: frozenset(v) for k, v in narrowing.items()})}))


def situation(metric_types=("system", "agent"), filters=None, allowed=EVERYTHING, **values):
    selection = Selection(tuple(metric_types), filters or Filters(), allowed)
    known = {"selection": selection, "permit": allowed, "delivery": Delivery(), "catalogue": Catalogue()}
    return Situation(wall_time=AT, now=100.0, **{**known, **values})


def question(metric_type="system", newest="some", **values):
    if newest == "some":
        newest = metric() if metric_type == "system" else None
    known = {"newest": newest, "newest_of_type": newest, "history_seconds": 900.0}
    return Question(client_id="c", metric_type=metric_type, **{**known, **values})


def step(explanation, title):
    return next(one for one in explanation.steps if one.title == title)


def test_a_delivered_metric_is_explained_up_to_the_next_frame():
    explanation = explain(question(), situation())
    assert explanation.gets
    assert [(one.title, one.verdict) for one in explanation.steps] == [
        ("Metric type", "yes"),
        ("Published lately", "yes"),
        ("Channel layer", "yes"),
        ("Access", "yes"),
        ("Subscription", "yes"),
        ("Filters", "yes"),
        ("Delivery", "yes"),
        ("Client", "yes"),
        ("Next frame", "yes"),
    ]
    assert step(explanation, "Published lately").text == "The newest of system is 1.00 s old, of source a."
    assert step(explanation, "Next frame").text == "Nothing waits; a metric that arrived now would be sent in 0.02 s."


@pytest.mark.parametrize(
    ("asked", "given", "title", "text"),
    [
        (question("sytem"), situation(), "Metric type", "'sytem' is unknown; there are: system, agent, "),
        (
            question(),
            situation(bus_problem="the channel layer has been silent"),
            "Channel layer",
            "The channel layer has been silent.",
        ),
        (question(), situation(allowed=NOTHING), "Access", "It may see no live metrics."),
        (
            question(),
            situation(allowed=permit("hero")),
            "Access",
            "It may see only: metrics of hero.",
        ),
        (
            question(),
            situation(allowed=permit("system", sources=["b"])),
            "Access",
            "It may see only: metrics of system, only the sources b.",
        ),
        (
            question(field="error_rate"),
            situation(allowed=permit("system", fields=["queue_depth"])),
            "Access",
            "It may see only: metrics of system, only the fields queue_depth.",
        ),
        (
            question("agent", agents("x", "y"), agent_id="x"),
            situation(allowed=permit("agent", agent_ids=["y"])),
            "Access",
            "It may see only: metrics of agent, only the agents y.",
        ),
        (question(), situation(["hero"]), "Subscription", "It has subscribed to hero only; the client has to send"),
        (question(), situation([]), "Subscription", "It has subscribed to nothing; the client has to send"),
        (
            question(),
            situation(filters=Filters(sources=("b", "c"))),
            "Filter of sources",
            "It wants only: b, c. The metric is of a.",
        ),
        (
            question("agent", agents("x", "y")),
            situation(filters=Filters(agent_ids=("z",))),
            "Filter of agents",
            "It wants only: z. The metric is of x, y.",
        ),
        (
            question("agent", agents("x", "y"), agent_id="x"),
            situation(filters=Filters(agent_ids=("y",))),
            "Filter of agents",
            "It wants only: y. The metric is of x.",
        ),
        (
            question(field="error_rate"),
            situation(filters=Filters(fields=("queue_depth",))),
            "Filter of fields",
            "It wants only: queue_depth. That leaves nothing of 'error_rate'.",
        ),
        (question(), situation(is_replaying=True), "Client", "It watches a replay"),
        (
            question("agent", None),
            situation(),
            "Published lately",
            "Nothing of agent was published in the last 15\u00a0min.",
        ),
        (
            question("system", None, source="b", newest_of_type=metric()),
            situation(),
            "Published lately",
            "Nothing of system, source b was published in the last 15\u00a0min; the newest system metric is 1.00 s "
            "old, of source a.",
        ),
        (
            question(field="queue_depth"),
            situation(),
            "Published lately",
            "The newest of system is 1.00 s old, of source a, and has no field 'queue_depth'.",
        ),
    ],
)
def test_each_step_that_stops_a_metric_names_its_values(asked, given, title, text):
    explanation = explain(asked, given)
    assert not explanation.gets
    assert [one.title for one in explanation.steps if one.verdict == "no"] == [title]
    assert step(explanation, title).text.startswith(text)
    assert explanation.summary == f"It does not get this metric, because of: {title}."


@pytest.mark.parametrize(
    ("asked", "given", "title", "verdict", "text"),
    [
        (
            question(),
            situation(allowed=Permit(permit("hero").grants | permit("system", sources=["a"]).grants)),
            "Access",
            "yes",
            "Let through by: metrics of system, only the sources a.",
        ),
        (question(history_seconds=0.0), situation(), "Published lately", "note", "There is no history here"),
        (
            question("agent", None, asker=permit("agent")),
            situation(),
            "Published lately",
            "note",
            "Nothing of agent was published in the last 15\u00a0min that you may see yourself.",
        ),
        (
            question("system", metric(age=300)),
            situation(),
            "Published lately",
            "note",
            "The newest of system is 5\u00a0min",
        ),
        (question(), situation(is_recovering=True), "Client", "note", "It is being sent what was published before."),
        (
            question(),
            situation(busy_seconds=4.0, backlog_bytes=5_000, waiting_metrics=12, dropped_metrics=3),
            "Client",
            "note",
            "It has not accepted all of its last frame for 4.00 s, 5,000 bytes of it are left. After 10 s without any "
            "progress it is closed. 12 metrics wait for it. It was told of 3 that were dropped before.",
        ),
        (
            question(),
            situation(delivery=Delivery(mode="latest")),
            "Delivery",
            "note",
            "Mode latest: the newest of each",
        ),
        (
            question(),
            situation(delivery=Delivery(mode="aggregate")),
            "Delivery",
            "note",
            "Mode aggregate: a summary of all metrics",
        ),
        (
            question("agent", agents("x"), field="status"),
            situation(filters=Filters(agent_ids=("x",), fields=("status",))),
            "Filter of fields",
            "yes",
            "It wants only: status.",
        ),
        (question(), situation(due_at=100.4), "Next frame", "yes", "Due in 0.40 s, with the metrics that wait."),
        (
            question(),
            situation(due_at=100.4, last_frame_at=99.8),
            "Next frame",
            "yes",
            "Due in 0.80 s, with the metrics that wait.",
        ),
        (
            question(),
            situation(view_frame_at=99.9, last_frame_at=99.9),
            "Next frame",
            "yes",
            "Nothing waits; a metric that arrived now would be sent in 0.90 s.",
        ),
    ],
)
def test_each_step_that_lets_a_metric_through_names_its_values(asked, given, title, verdict, text):
    explanation = explain(asked, given)
    assert explanation.gets, explanation.summary
    assert step(explanation, title).verdict == verdict
    assert step(explanation, title).text.startswith(text)


def test_access_and_filters_that_leave_nothing_together_are_named():
    data = {"error_rate": 0.1, "queue_depth": 3}
    given = situation(filters=Filters(fields=("queue_depth",)), allowed=permit("system", fields=["error_rate"]))
    explanation = explain(question("system", metric(SYSTEM, data)), given)
    assert explanation.summary == "It does not get this metric, because of: Access and filters together."


@pytest.mark.parametrize("metric_type", list(Catalogue().slugs))
@pytest.mark.parametrize(
    "filters", [Filters(), Filters(sources=("q",)), Filters(agent_ids=("1", "2")), Filters(fields=("f", "agents"))]
)
@pytest.mark.parametrize("allowed", [EVERYTHING, NOTHING, permit("agent", "hero", sources=["s"], fields=["f"])])
@pytest.mark.parametrize("asked", [{}, {"agent_id": "1"}, {"field": "f"}, {"source": "s", "field": "agents.x"}])
def test_every_question_has_an_answer_without_anything_published(metric_type, filters, allowed, asked):
    explanation = explain(question(metric_type, None, **asked), situation([metric_type], filters, allowed))
    assert not explanation.gets
    assert all(one.text for one in explanation.steps)


@pytest.mark.parametrize("narrowing", [{"agent_ids": ("a9",)}, {"agent_ids": ("a9",), "fields": ("x",)}])
@pytest.mark.parametrize(("agent_id", "gets"), [("", True), ("a1", False)])
def test_the_fields_beside_agents_belong_to_no_agent(narrowing, agent_id, gets):
    newest = metric(SYSTEM, {"agents": {"a1": {"load": 1}}, "x": 1})
    asked = question("system", newest, agent_id=agent_id, field="x")
    assert explain(asked, situation(filters=Filters(**narrowing))).gets == gets
    assert explain(asked, situation(allowed=permit("system", **narrowing))).gets == gets


def test_a_malformed_metric_does_not_break_the_explanation():
    newest = msgspec.structs.replace(metric(), body=b"{")
    assert not explain(question("system", newest, field="error_rate"), situation()).gets


def test_long_lists_are_cut():
    given = replace(situation(), selection=Selection(("system",), Filters(sources=tuple(map(str, range(10, 40))))))
    text = step(explain(question(), given), "Filter of sources").text
    assert text == "It wants only: 10, 11, 12, 13, 14, 15 and 24 more. The metric is of a."


NARROWINGS = [{}, {"sources": ("a",)}, {"agent_ids": ("x", "z")}, {"fields": ("status",)}, {"fields": ("error_rate",)}]


BESIDE = metric(SYSTEM, {"agents": {"y": {"load": 1}}, "error_rate": 0.1})


@pytest.mark.parametrize("published", [metric(), metric(source="b"), agents("x", "y"), agents("y"), BESIDE])
@pytest.mark.parametrize("filters", NARROWINGS)
@pytest.mark.parametrize("allowed", [{"sources": ("b",)}, *NARROWINGS])
def test_the_explanation_says_what_the_delivery_does(published, filters, allowed):
    given = situation(filters=Filters(**filters), allowed=permit("system", "agent", **allowed))
    delivered = compile_projection(given.selection.filters, given.permit)(DecodedMetric(published))
    assert explain(question(published.metric_type, published), given).gets == (delivered is not None)
