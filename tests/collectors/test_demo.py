"""The simulated stress test: whatever the seed, the size and the steps, its numbers agree with each other."""

import json
import math
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metrics_stream.collectors.demo.business import roi_percentage
from metrics_stream.collectors.demo.latency import Latency, Mixture
from metrics_stream.collectors.demo.scenario import CAUSES, COST_SHARES, CYCLE_SECONDS, ENDPOINTS
from metrics_stream.collectors.demo.simulation import DemoStep, DemoTest
from metrics_stream.core.errors import CollectorError
from metrics_stream.core.metrics.catalogue import AGENT, BUSINESS, HERO, PRESENTATION, SYSTEM, MetricType
from metrics_stream.core.metrics.sketch import Sketch, decode_sketch

MESSAGES = [cause.message for cause in CAUSES]

seeds = st.integers(min_value=-(2**63), max_value=2**63 - 1)
agent_counts = st.integers(min_value=1, max_value=50)
durations = st.sampled_from([0.0, 1.0, 10.0, 240.0, 3600.0])
step_lengths = st.lists(st.floats(min_value=0.01, max_value=30.0), min_size=1, max_size=12)


def run(seed: int = 1, agents: int = 5, duration: float = 0.0, *, until: float = 240.0, every: float = 1.0) -> list:
    test = DemoTest(seed, agents, duration)
    return [test.step(number * every) for number in range(int(until / every) + 1)]


def steps_of(test: DemoTest, lengths: list[float]) -> list[DemoStep]:
    steps, elapsed = [test.step(0.0)], 0.0
    for length in lengths:
        elapsed += length
        steps.append(test.step(elapsed))
    return steps


def assert_within_bounds(metric_type: MetricType, data: dict[str, Any]) -> None:
    for field in metric_type.fields:
        assert field.name in data, field.name
        value = data[field.name]
        if field.unit in {"", "object"}:
            continue
        assert isinstance(value, int | float), field.name
        assert math.isfinite(value), field.name
        assert field.minimum is None or value >= field.minimum, field.name
        assert field.maximum is None or value <= field.maximum, field.name
        if field.kind == "counter" and field.unit == "count":
            assert isinstance(value, int), field.name


def assert_consistent(step: DemoStep) -> None:
    system, business, hero, package = step.system, step.business, step.hero, step.presentation
    assert_within_bounds(SYSTEM, system)
    assert_within_bounds(BUSINESS, business)
    assert_within_bounds(HERO, hero)
    assert_within_bounds(PRESENTATION, package)

    assert system["requests_total"] == system["requests_successful"] + system["requests_failed"]
    assert system["timeout_rate"] <= system["error_rate"]
    times = [system[f"{name}_response_time_ms"] for name in ("p50", "avg", "p95", "p99", "max")]
    assert times == sorted(times)
    assert step.phase == system["phase"]

    for agent in step.agents:
        assert_within_bounds(AGENT, agent)
        assert agent["timeout_count"] <= agent["error_count"] <= agent["requests_processed"]
        times = [agent[f"{name}_response_time_ms"] for name in ("avg", "p95", "p99")]
        assert times == sorted(times)
        health = agent["health_score"]
        assert agent["status"] == ("healthy" if health >= 0.85 else "degraded" if health >= 0.5 else "unhealthy")
    assert len({agent["agent_id"] for agent in step.agents}) == len(step.agents)
    assert len({agent["agent_name"] for agent in step.agents}) == len(step.agents)
    assert system["requests_total"] == sum(agent["requests_processed"] for agent in step.agents)
    assert system["requests_failed"] == sum(agent["error_count"] for agent in step.agents)
    assert system["throughput_tps"] == pytest.approx(sum(agent["throughput_tps"] for agent in step.agents), abs=0.006)
    failing = sum(agent["throughput_tps"] * (1 - agent["success_rate"]) for agent in step.agents)
    assert system["error_rate"] == pytest.approx(failing / system["throughput_tps"], abs=2e-5)

    assert business["transactions_processed"] == system["requests_successful"]
    assert business["transactions_per_second"] <= system["throughput_tps"]
    assert business["fraud_detected"] <= business["transactions_processed"]
    assert sum(business["aws_cost_breakdown"].values()) == pytest.approx(business["total_cost"], abs=1e-6)
    assert set(business["aws_cost_breakdown"]) == set(COST_SHARES)
    assert business["roi_percentage"] == roi_percentage(business["money_saved"], business["total_cost"])
    assert business["money_saved"] >= business["fraud_prevented_amount"]

    shared = {
        "total_transactions": business["transactions_processed"],
        "fraud_blocked": business["fraud_detected"],
        "money_saved": business["money_saved"],
        "transactions_per_second": business["transactions_per_second"],
        "avg_response_time_ms": system["avg_response_time_ms"],
        "ai_accuracy": business["fraud_detection_accuracy"],
        "cost_per_transaction": business["cost_per_transaction"],
        "roi_percentage": business["roi_percentage"],
    }
    assert hero | shared == hero
    assert_package_consistent(step)
    assert_requests_consistent(step)
    json.dumps([system, step.agents, business, hero, package], allow_nan=False)


def assert_requests_consistent(step: DemoStep) -> None:
    rows, errors = step.requests.rows, step.requests.errors
    assert len({(row["name"], row["method"]) for row in rows}) == len(rows) == len(ENDPOINTS)
    for total in ("requests_total", "requests_failed"):
        assert step.system[total] == sum(row[total] for row in rows)
    assert step.system["response_time_total_ms"] == pytest.approx(
        sum(row["response_time_total_ms"] for row in rows), abs=0.05
    )
    measured = Sketch()
    for row in rows:
        assert 0 <= row["requests_failed"] <= row["requests_total"]
        assert row["status"] in {"healthy", "degraded", "unhealthy"}
        times = [row[f"{name}_response_time_ms"] for name in ("p50", "p95", "p99")]
        assert times == [None] * 3 or times == sorted(times)
        assert row["received_bytes_total"] >= row["requests_total"]
        measured.merge(decode_sketch(msgspec.to_builtins(row["sketches"]["response_time_ms"])))
        failed = sum(e["occurrences_total"] for e in errors if (e["name"], e["method"]) == (row["name"], row["method"]))
        assert failed == row["requests_failed"]
    assert measured.encode() == step.requests.response_times
    assert len({(error["name"], error["method"], error["message"]) for error in errors}) == len(errors)


def assert_package_consistent(step: DemoStep) -> None:
    package = step.presentation
    assert package["hero_metrics"] == step.hero
    assert package["system_metrics"] == step.system
    assert package["business_metrics"] == step.business
    flow = package["transaction_flow_data"]
    nodes = {node["node_id"]: node for node in flow["nodes"]}
    assert len(nodes) == len(flow["nodes"])
    assert {edge[end] for edge in flow["edges"] for end in ("source", "target")} == set(nodes)
    for node in nodes.values():
        assert set(node) == {
            "node_id", "node_type", "node_name", "status", "throughput", "latency_ms", "error_rate", "position",
        }  # fmt: skip
        assert 0 <= node["position"]["x"] <= 1
        assert 0 <= node["position"]["y"] <= 1
        assert 0 <= node["error_rate"] <= 1
        assert node["status"] in {"healthy", "degraded", "unhealthy"}
    workers = [node for node in nodes.values() if node["node_type"].startswith("agent")]
    assert len(workers) == min(8, len(step.agents))
    assert sum(node["throughput"] for node in workers) == pytest.approx(step.system["throughput_tps"], abs=0.1)
    benchmarks = package["competitive_benchmarks"]
    ours = benchmarks["our_performance"]
    assert set(ours) == set(benchmarks["competitor_avg"]) == set(benchmarks["improvement_percentage"])
    assert step.system | step.business | ours == step.system | step.business
    resilience = package["resilience_demonstration"]
    for status in ("healthy", "degraded", "unhealthy"):
        assert resilience[f"{status}_agents"] == sum(agent["status"] == status for agent in step.agents)
    assert resilience["recoveries"] <= resilience["incidents"]
    assert package["business_narrative"]
    assert package["investor_profile"]
    assert all(isinstance(line, str) for line in package["key_highlights"])


def assert_grown(before: dict[str, Any], after: dict[str, Any], metric_type: MetricType) -> None:
    for field in metric_type.fields:
        if field.kind == "counter":
            assert after[field.name] >= before[field.name], field.name


@hypothesis_settings(max_examples=40, deadline=None)
@given(seeds, agent_counts, durations, step_lengths)
def test_every_step_is_consistent_and_no_counter_falls(
    seed: int, agents: int, duration: float, lengths: list[float]
) -> None:
    steps = steps_of(DemoTest(seed, agents, duration), lengths)
    for step in steps:
        assert_consistent(step)
    for before, after in pairwise(steps):
        assert_grown(before.system, after.system, SYSTEM)
        assert_grown(before.business, after.business, BUSINESS)
        assert_grown(before.hero, after.hero, HERO)
        for agent_before, agent_after in zip(before.agents, after.agents, strict=True):
            assert_grown(agent_before, agent_after, AGENT)
        for part, cost in before.business["aws_cost_breakdown"].items():
            assert after.business["aws_cost_breakdown"][part] >= cost


@hypothesis_settings(max_examples=40, deadline=None)
@given(seeds, agent_counts, durations, step_lengths)
def test_totals_are_the_sums_of_their_rates(seed: int, agents: int, duration: float, lengths: list[float]) -> None:
    steps = steps_of(DemoTest(seed, agents, duration), lengths)
    requests = transactions = cost = 0.0
    previous = 0
    for step, length in zip(steps[1:], lengths, strict=True):
        requests += step.system["throughput_tps"] * length
        transactions += step.business["transactions_per_second"] * length
        cost += (step.business["transactions_processed"] - previous) * step.business["cost_per_transaction"]
        previous = step.business["transactions_processed"]
    last = steps[-1]
    # Two counters of each agent are cut to whole numbers, and published rates are rounded.
    assert last.system["requests_total"] == pytest.approx(requests, abs=2 * agents + 1, rel=1e-4)
    assert last.business["transactions_processed"] == pytest.approx(transactions, abs=agents + 1, rel=1e-4)
    assert last.business["total_cost"] == pytest.approx(cost, abs=0.01 * len(COST_SHARES) + 1e-6)


@hypothesis_settings(max_examples=20, deadline=None)
@given(seeds, agent_counts, durations, step_lengths)
def test_the_same_seed_gives_the_same_metrics(seed: int, agents: int, duration: float, lengths: list[float]) -> None:
    once = steps_of(DemoTest(seed, agents, duration), lengths)
    again = steps_of(DemoTest(seed, agents, duration), lengths)
    assert once == again


@hypothesis_settings(deadline=None)
@given(seeds, seeds.filter(lambda seed: seed != 0))
def test_another_seed_gives_other_metrics(seed: int, difference: int) -> None:
    other = seed ^ difference
    assert DemoTest(seed).step(0.0).system != DemoTest(other).step(0.0).system


@pytest.mark.parametrize("duration", [0.0, 20.0, 600.0])
def test_the_phases_follow_each_other(duration: float) -> None:
    length = duration or CYCLE_SECONDS
    steps = run(duration=duration, until=length * 0.999, every=length / 200)
    order = [step.phase for step in steps]
    assert [after for before, after in pairwise([None, *order]) if after != before] == [
        "ramp", "plateau", "spike", "recovery",
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_load_shows_in_every_metric(seed: int) -> None:
    by_phase: dict[str, list[DemoStep]] = {}
    for step in run(seed):
        by_phase.setdefault(step.phase, []).append(step)
    start, peak = by_phase["ramp"][0].system, max(by_phase["spike"], key=lambda step: step.system["throughput_tps"])
    assert peak.system["throughput_tps"] > 3 * start["throughput_tps"]
    for name in ("cpu_utilization", "memory_utilization", "network_throughput_mbps", "error_rate", "timeout_rate"):
        assert peak.system[name] > start[name], name
    worst = max(by_phase["spike"], key=lambda step: step.system["p99_response_time_ms"])
    # The hockey stick: a third more load than on the plateau, but many times its response time.
    calm = by_phase["plateau"][0].system
    assert worst.system["avg_response_time_ms"] > 5 * calm["avg_response_time_ms"]
    assert worst.system["throughput_tps"] < 2 * calm["throughput_tps"]
    assert worst.system["queue_depth"] > calm["queue_depth"]
    end = by_phase["recovery"][-1].system
    assert end["avg_response_time_ms"] < calm["avg_response_time_ms"] * 1.5
    assert worst.hero["customer_satisfaction"] < by_phase["recovery"][-1].hero["customer_satisfaction"]


def test_who_looks_at_it_for_ten_seconds_sees_it_move() -> None:
    for seed in range(10):
        values = [step.system["throughput_tps"] for step in run(seed, until=10.0)]
        assert values[0] > 0
        assert values[-1] > 1.2 * values[0]


@pytest.mark.parametrize(("seed", "agents"), [(1, 5), (2, 1), (3, 2), (4, 17), (5, 50)])
def test_one_agent_fails_and_recovers(seed: int, agents: int) -> None:
    steps = run(seed, agents, until=239.0)
    ill = {agent["agent_id"] for step in steps for agent in step.agents if agent["status"] == "unhealthy"}
    assert len(ill) == 1
    life = [agent for step in steps for agent in step.agents if agent["agent_id"] in ill]
    at_worst = min(range(len(life)), key=lambda i: life[i]["health_score"])
    before, worst, after = life[:at_worst], life[at_worst], life[at_worst:]
    assert [before[0]["status"], worst["status"], after[-1]["status"]] == ["healthy", "unhealthy", "healthy"]
    assert any(agent["status"] == "degraded" for agent in before)
    assert worst["success_rate"] < 0.95 < min(before[0]["success_rate"], after[-1]["success_rate"])
    assert worst["p95_response_time_ms"] > 2 * before[0]["p95_response_time_ms"]
    assert worst["decision_accuracy"] < before[0]["decision_accuracy"]
    resilience = steps[-1].presentation["resilience_demonstration"]
    assert resilience["incidents"] == resilience["recoveries"] == 1
    assert resilience["last_recovery_seconds"] > 0


def test_the_incident_shows_in_the_requests_that_depend_on_the_failing_agent() -> None:
    steps = run(1, until=90.0)
    calm, worst = steps[55], steps[-1]

    def rows(step: DemoStep) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in step.requests.rows}

    def slower(name: str) -> float:
        return rows(worst)[name]["p95_response_time_ms"] / rows(calm)[name]["p95_response_time_ms"]  # type: ignore[no-any-return]

    suffering = max(ENDPOINTS, key=lambda one: one.suffers).name
    assert slower(suffering) > 1.2 * max(slower(one.name) for one in ENDPOINTS if not one.suffers)
    assert rows(worst)[suffering]["error_rate"] > 3 * rows(calm)[suffering]["error_rate"]

    def share(step: DemoStep, message: str) -> float:
        by_message = dict.fromkeys(MESSAGES, 0)
        for error in step.requests.errors:
            by_message[error["message"]] += error["occurrences_total"]
        return by_message[message] / sum(by_message.values())

    assert share(worst, MESSAGES[0]) > 1.5 * share(calm, MESSAGES[0])


def test_the_response_times_of_the_requests_are_those_of_the_system() -> None:
    measured, expected = Sketch(), 0.0
    steps = run(3, until=60.0)
    for step in steps:
        measured.merge(step.requests.response_times)
    expected = steps[-1].system["response_time_total_ms"] / steps[-1].system["requests_total"]
    assert len(measured) == steps[-1].system["requests_total"]
    middle = steps[len(steps) // 2].system
    assert measured.quantile(0.5) == pytest.approx(middle["p50_response_time_ms"], rel=0.3)
    assert expected == pytest.approx(middle["avg_response_time_ms"], rel=0.3)


def test_the_other_agents_take_over_the_load_of_the_failing_one() -> None:
    at_worst = run(1, until=90.0)[-1]
    ill, *others = sorted(at_worst.agents, key=lambda agent: agent["health_score"])
    assert ill["status"] == "unhealthy"
    assert ill["throughput_tps"] < 0.6 * min(agent["throughput_tps"] for agent in others)


def test_an_endless_test_tells_its_story_again_with_another_failing_agent_now_and_then() -> None:
    steps = run(1, until=6 * CYCLE_SECONDS, every=10.0)
    assert steps[-1].cycle == 6
    assert steps[0].phase == steps[-1].phase == "ramp"
    ill = {agent["agent_id"] for step in steps for agent in step.agents if agent["status"] == "unhealthy"}
    assert len(ill) > 1


def test_a_finite_test_ends_quietly_and_stays_there() -> None:
    steps = run(duration=30.0, until=60.0)
    assert {step.cycle for step in steps} == {0}
    assert {step.phase for step in steps[-30:]} == {"recovery"}


def test_a_long_pause_between_two_steps_harms_nothing() -> None:
    test = DemoTest(1)
    test.step(0.0)
    assert_consistent(test.step(86_400.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": "x"}, "the seed is 'x'; allowed: a whole number from -9223372036854775808 to 9223372036854775807"),
        ({"seed": 1.5}, "the seed is 1.5; allowed: a whole number from"),
        ({"agents": 0}, "the number of agents is 0; allowed: a whole number from 1 to 200"),
        ({"agents": "201"}, "the number of agents is '201'; allowed: a whole number from 1 to 200"),
        ({"agents": True}, "the number of agents is True; allowed"),
        ({"duration": -1}, "the duration is -1; allowed: a number from 0 to"),
        ({"duration": "nan"}, "the duration is 'nan'; allowed"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CollectorError) as raised:
        DemoTest(**arguments)
    assert str(raised.value).startswith(message)


def test_time_only_goes_forward() -> None:
    test = DemoTest(1)
    test.step(5.0)
    with pytest.raises(CollectorError, match=r"the step at 5\.0 s is not after the one at 5\.0 s"):
        test.step(5.0)
    with pytest.raises(CollectorError, match="the elapsed time is inf"):
        test.step(math.inf)


@hypothesis_settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.1, 1000.0), st.floats(1.0, 5000.0), st.floats(0.2, 0.8)),
        min_size=1,
        max_size=10,
    ),
    st.sampled_from([0.5, 0.95, 0.99]),
)
def test_a_percentile_of_the_mixture_has_that_share_below_it(
    parts: list[tuple[float, float, float]], share: float
) -> None:
    mixture = Mixture([(weight, Latency(mean, sigma)) for weight, mean, sigma in parts])
    value = mixture.percentile(share)
    assert mixture.share_within(value * 1.002) >= share >= mixture.share_within(value / 1.002)
