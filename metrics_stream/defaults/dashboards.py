"""The dashboards that a new installation starts with: their panels in order, with thresholds.

Each names the slug of a preset in `presets.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from metrics_stream.models import Dashboard

# The thresholds of a stress test. High values are bad, unless critical is below warning.
LATENCY: dict[str, Any] = {"warning_at": 500, "critical_at": 1000}
ERRORS: dict[str, Any] = {"warning_at": 0.01, "critical_at": 0.05}
UTILIZATION: dict[str, Any] = {"warning_at": 0.8, "critical_at": 0.95}
SUCCESS: dict[str, Any] = {"warning_at": 0.98, "critical_at": 0.95}
# One second is the usual interval; two seconds is what this service promises at most.
AGE: dict[str, Any] = {"warning_at": 1_500, "critical_at": 2_000}
LAG: dict[str, Any] = {"warning_at": 50, "critical_at": 250}
QUEUE: dict[str, Any] = {"warning_at": 100, "critical_at": 500}

PERCENTILES = ["p50_response_time_ms", "p95_response_time_ms", "p99_response_time_ms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSeed:
    """A dashboard, the slug of its preset, and the columns of its panels in order."""

    slug: str
    title: str
    description: str
    preset: str
    panels: list[dict[str, Any]] = field(default_factory=list)
    kind: str = Dashboard.Kind.STANDARD


def _panel(kind: str, title: str, metric_type: str, fields: list[str], size: str, **columns: Any) -> dict[str, Any]:
    return {"kind": kind, "title": title, "metric_type": metric_type, "fields": fields, "size": size, **columns}


def _system(kind: str, title: str, fields: list[str], size: str, **columns: Any) -> dict[str, Any]:
    return _panel(kind, title, "system", fields, size, **columns)


RESOURCE_GAUGES = (
    _system("gauge", "CPU", ["cpu_utilization"], "small", **UTILIZATION, options={"minimum": 0, "maximum": 1}),
    _system("gauge", "Memory", ["memory_utilization"], "small", **UTILIZATION, options={"minimum": 0, "maximum": 1}),
)
RESOURCE_LINES = (
    _system(
        "line",
        "CPU and memory",
        ["cpu_utilization", "memory_utilization"],
        "medium",
        **UTILIZATION,
        options={"minimum": 0, "maximum": 1},
    ),
    _system("line", "Network", ["network_throughput_mbps"], "medium", options={"minimum": 0}),
)


def _agent(kind: str, title: str, fields: list[str], size: str, **columns: Any) -> dict[str, Any]:
    return _panel(kind, title, "agent", fields, size, **columns)


def _business(kind: str, title: str, fields: list[str], size: str, **columns: Any) -> dict[str, Any]:
    return _panel(kind, title, "business", fields, size, **columns)


def _stream(kind: str, title: str, fields: list[str], size: str, **columns: Any) -> dict[str, Any]:
    return _panel(kind, title, "stream", fields, size, **columns)


def _hero(title: str, name: str, **columns: Any) -> dict[str, Any]:
    return _panel("number", title, "hero", [name], "small", **columns)


def _load(kind: str, title: str, fields: list[str], size: str, **columns: Any) -> dict[str, Any]:
    """Return a panel of the totals of all load generators, without the machines that publish beside them."""
    options = {**columns.pop("options", {}), "sources_with": "request"}
    if kind in ("number", "line"):
        options["add_sources"] = True
    return _system(kind, title, fields, size, **columns, options=options)


LOAD_TEST = DashboardSeed(
    slug="load-test",
    title="Load test",
    description="The running test at a glance: load, failures and response times, each request by name, and errors.",
    preset="load-test",
    panels=[
        _load("number", "Users", ["users"], "tiny", decimals=0),
        _load("number", "Requests per second", ["throughput_tps"], "tiny"),
        _load("number", "Failures", ["error_rate"], "tiny", **ERRORS),
        _load("number", "Response time p50", ["p50_response_time_ms"], "tiny", **LATENCY),
        _load("number", "Response time p95", ["p95_response_time_ms"], "tiny", **LATENCY),
        _load("number", "Response time p99", ["p99_response_time_ms"], "tiny", **LATENCY),
        _load("line", "Requests per second", ["throughput_tps"], "medium", options={"minimum": 0}),
        _load("line", "Response times", PERCENTILES, "medium", **LATENCY, options={"minimum": 0}),
        _load("heatmap", "Spread of response times", ["response_time_ms"], "medium"),
        _panel(
            "table",
            "Requests",
            "request",
            [
                "requests_total",
                "requests_failed",
                "throughput_tps",
                "error_rate",
                "avg_response_time_ms",
                "p50_response_time_ms",
                "p95_response_time_ms",
                "p99_response_time_ms",
                "max_response_time_ms",
            ],
            "full",
        ),
        _panel("table", "Errors", "error", ["occurrences_total"], "large"),
        _panel(
            "line",
            "Slowest requests, p95",
            "request",
            ["p95_response_time_ms"],
            "large",
            **LATENCY,
            options={"minimum": 0, "top": 5},
        ),
        _load("scatter", "Latency against load", ["throughput_tps", "p95_response_time_ms"], "large"),
        _load("line", "Users", ["users"], "large", options={"minimum": 0}),
    ],
)

OPERATIONS = DashboardSeed(
    slug="operations",
    title="Operations",
    description="Throughput, latency, errors and resources of the system under test, from every source.",
    preset="operations",
    panels=[
        _system("number", "Throughput", ["throughput_tps"], "small"),
        _system("number", "Response time p99", ["p99_response_time_ms"], "small", **LATENCY),
        _system("number", "Error rate", ["error_rate"], "small", decimals=2, **ERRORS),
        _system("number", "Queue depth", ["queue_depth"], "small", decimals=0, **QUEUE),
        _system("line", "Throughput", ["throughput_tps"], "medium", options={"minimum": 0}),
        _system("line", "Response times", PERCENTILES, "medium", **LATENCY, options={"minimum": 0}),
        _system(
            "line", "Errors and timeouts", ["error_rate", "timeout_rate"], "medium", **ERRORS, options={"minimum": 0}
        ),
        _system("line", "Queue depth", ["queue_depth"], "medium", **QUEUE, options={"minimum": 0}),
        *RESOURCE_GAUGES,
        *RESOURCE_LINES,
        _system("line", "Queue latency", ["queue_latency_ms"], "medium", options={"minimum": 0}),
        _system(
            "bar",
            "Spread of response times",
            ["avg_response_time_ms", *PERCENTILES, "max_response_time_ms"],
            "medium",
            options={"minimum": 0},
        ),
        _system(
            "table",
            "Requests",
            ["requests_total", "requests_successful", "requests_failed", "timeout_rate"],
            "medium",
        ),
    ],
)

THIS_MACHINE = DashboardSeed(
    slug="this-machine",
    title="This machine",
    description="The machine that this server was set up on: its load, and how fast it answers real requests.",
    preset="this-machine",
    panels=[
        *RESOURCE_GAUGES,
        _system("number", "Network", ["network_throughput_mbps"], "small", decimals=2),
        _system("number", "Response time p99", ["p99_response_time_ms"], "small", **LATENCY),
        *RESOURCE_LINES,
        _system("line", "Measured response times", PERCENTILES, "medium", **LATENCY, options={"minimum": 0}),
        _system("line", "Measured throughput", ["throughput_tps"], "medium", options={"minimum": 0}),
        _system("line", "Measured errors", ["error_rate", "timeout_rate"], "medium", **ERRORS, options={"minimum": 0}),
        _system("table", "Measured requests", ["requests_total", "requests_successful", "requests_failed"], "medium"),
        {
            "kind": "text",
            "title": "Where this comes from",
            "size": "full",
            "options": {
                "text": "The program emit_host_metrics reads CPU, memory and network of this machine. Given an address "
                "to probe, it also sends real requests there and measures how they are answered; without one, the "
                "panels of measured values stay empty."
            },
        },
    ],
)

AGENTS = DashboardSeed(
    slug="agents",
    title="Agents",
    description="Which agents are healthy, which are overloaded, and which make mistakes.",
    preset="agents",
    panels=[
        _agent("status", "Health of the agents", ["agent_name", "status", "health_score"], "medium"),
        _agent("bar", "Success rate", ["success_rate"], "medium", decimals=1, **SUCCESS, options={"maximum": 1}),
        _agent("line", "Load", ["current_load"], "medium", **UTILIZATION, options={"minimum": 0, "maximum": 1}),
        _agent("line", "Response time p95", ["p95_response_time_ms"], "medium", **LATENCY, options={"minimum": 0}),
        _agent(
            "table",
            "All agents",
            [
                "agent_name",
                "status",
                "requests_processed",
                "concurrent_requests",
                "current_load",
                "avg_response_time_ms",
                "p99_response_time_ms",
                "success_rate",
                "error_count",
                "timeout_count",
            ],
            "full",
            options={"max_rows": 50},
        ),
        _agent("line", "Health", ["health_score"], "medium", warning_at=0.8, critical_at=0.5, options={"maximum": 1}),
        _agent("line", "Concurrent requests", ["concurrent_requests"], "medium", options={"minimum": 0}),
        _agent(
            "table",
            "Quality of decisions",
            ["agent_name", "decision_accuracy", "false_positive_rate", "false_negative_rate"],
            "medium",
            decimals=2,
            options={"max_rows": 50},
        ),
        _agent("line", "Errors so far", ["error_count"], "medium", options={"minimum": 0}),
    ],
)

BUSINESS = DashboardSeed(
    slug="business",
    title="Business",
    description="What the system earns, prevents and costs while it is under load.",
    preset="business",
    panels=[
        _business("number", "Money saved", ["money_saved"], "small", decimals=0),
        _business("number", "Fraud prevented", ["fraud_prevented_amount"], "small", decimals=0),
        _business("number", "Cost per transaction", ["cost_per_transaction"], "small", decimals=4),
        _business("number", "Return on investment", ["roi_percentage"], "small", decimals=0),
        _business("line", "Money", ["money_saved", "fraud_prevented_amount", "total_cost"], "large"),
        _business(
            "gauge",
            "Fraud detection accuracy",
            ["fraud_detection_accuracy"],
            "small",
            warning_at=0.95,
            critical_at=0.9,
            options={"minimum": 0, "maximum": 1},
        ),
        _business("line", "Transactions per second", ["transactions_per_second"], "medium", options={"minimum": 0}),
        _business("line", "Fraud detected", ["fraud_detected"], "medium", options={"minimum": 0}),
        _business("line", "Fraud detection rate", ["fraud_detection_rate"], "medium", options={"minimum": 0}),
        _business(
            "line", "Cost per transaction", ["cost_per_transaction"], "medium", decimals=4, options={"minimum": 0}
        ),
        _business("table", "Cost of AWS services", ["aws_cost_breakdown"], "medium", unit="$", decimals=2),
        _business(
            "table",
            "Summary",
            [
                "transactions_processed",
                "total_cost",
                "payback_period_months",
                "performance_vs_baseline",
                "cost_vs_baseline",
                "customer_impact_score",
                "false_positive_impact",
            ],
            "medium",
        ),
    ],
)

PRESENTATION = DashboardSeed(
    slug="presentation",
    title="Presentation",
    description="The numbers that matter, large enough for a room, with the flow of transactions behind them.",
    preset="presentation",
    kind=Dashboard.Kind.PRESENTATION,
    panels=[
        _hero("Transactions", "total_transactions", decimals=0),
        _hero("Fraud blocked", "fraud_blocked", decimals=0),
        _hero("Money saved", "money_saved", decimals=0),
        _hero("Uptime", "uptime_percentage", decimals=2, warning_at=99, critical_at=95),
        _hero("Per second", "transactions_per_second", decimals=0),
        _hero("Response time", "avg_response_time_ms", decimals=0, **LATENCY),
        _hero("AI accuracy", "ai_accuracy", decimals=1, warning_at=0.95, critical_at=0.9),
        _hero("Return on investment", "roi_percentage", decimals=0),
        _panel("flow", "Flow of transactions", "presentation", ["transaction_flow_data"], "full"),
        _panel(
            "table",
            "Against the competition",
            "presentation",
            ["competitive_benchmarks"],
            "medium",
            options={"max_rows": 5},
        ),
        _panel("table", "Highlights", "presentation", ["key_highlights"], "medium", options={"max_rows": 5}),
    ],
)

STREAM_HEALTH = DashboardSeed(
    slug="stream-health",
    title="Stream health",
    description="How this service itself fares: its clients, what it delivers, how old that is, and what it costs.",
    preset="stream-health",
    panels=[
        _stream("number", "Clients", ["clients"], "small", decimals=0),
        _stream("number", "Metrics out", ["metrics_sent_per_second"], "small"),
        _stream("number", "Age at send p99", ["age_p99_ms"], "small", **AGE),
        _stream("number", "Event loop lag p99", ["loop_lag_p99_ms"], "small", **LAG),
        _stream(
            "line",
            "Metrics in and out",
            ["metrics_received_per_second", "metrics_sent_per_second"],
            "medium",
            options={"minimum": 0},
        ),
        _stream("line", "Age at send", ["age_p50_ms", "age_p99_ms"], "medium", **AGE, options={"minimum": 0}),
        _stream(
            "line",
            "Frames out and encoded",
            ["frames_sent_per_second", "frames_encoded_per_second"],
            "medium",
            options={"minimum": 0},
        ),
        _stream("line", "Flush and event loop", ["flush_p99_ms", "loop_lag_p99_ms"], "medium", options={"minimum": 0}),
        _stream(
            "line",
            "Dropped and announced",
            ["metrics_dropped_per_second", "gaps_per_second"],
            "medium",
            options={"minimum": 0},
        ),
        _stream("line", "Data out", ["sent_mbps"], "medium", options={"minimum": 0}),
        _stream("line", "CPU", ["cpu_utilization"], "medium", **UTILIZATION, options={"minimum": 0}),
        _stream("line", "Memory", ["memory_mb"], "medium", options={"minimum": 0}),
        _stream("table", "Dropped metrics by reason", ["dropped_by_reason"], "large", decimals=0),
        _stream("table", "Gaps by reason", ["gaps_by_reason"], "large", decimals=0),
        _stream(
            "table",
            "Server processes",
            [
                "status",
                "faults",
                "clock_skew_database_ms",
                "clock_skew_redis_ms",
                "sources_with_wrong_clock",
                "sources_with_several_producers",
                "clients",
                "views",
                "refused_clients",
                "slow_clients_closed",
                "protocol_errors",
                "bus_failures",
                "uptime_seconds",
            ],
            "full",
        ),
    ],
)

DASHBOARD_SEEDS = (LOAD_TEST, OPERATIONS, THIS_MACHINE, AGENTS, BUSINESS, PRESENTATION, STREAM_HEALTH)
