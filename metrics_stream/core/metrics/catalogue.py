"""The metric types of an installation and their known fields: labels, units and bounds.

The catalogue describes fields for panels and checks. It never decides what is delivered: fields that are not listed
here are delivered unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec

from metrics_stream.core.metrics.keys import AGENT_KEY
from metrics_stream.core.metrics.paths import splits

FieldKind = Literal["gauge", "rate", "counter", "maximum", "minimum", "percentile", "text", "object"]

ALL = "all"
"""The word by which a client asks for every metric type that it may see, except those about the service itself."""

# A slug becomes part of a channel-layer group name, which must stay under 100 ASCII characters.
SLUG_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a metric type.

    `unit` is shown behind the number: `ms`, `tps`, `Mbps`, `$`, `months`, `ratio` (0-1, shown as per
    cent), `percent` (0-100), `multiple` (of something else), `count`, `score`, or empty for text and objects.
    `minimum` and `maximum` are the bounds of plausible values, or None. An object that has the fields of a metric type
    `holds` this type.
    """

    name: str
    label: str
    unit: str
    kind: FieldKind
    minimum: float | None = 0.0
    maximum: float | None = None
    holds: str = ""


@dataclass(frozen=True, slots=True)
class MetricType:
    """A metric type: its slug on the wire, a label for people, and the fields it is known to carry.

    `data` of a type with a `key` is a list of rows instead of one object. `key` has the names of the parts that tell
    rows apart, in order; `optional_parts` are those that a row may lack.
    """

    slug: str
    label: str
    fields: tuple[Field, ...] = ()
    key: tuple[str, ...] = ()
    optional_parts: frozenset[str] = frozenset()
    about_service: bool = False
    """True for metrics about the service itself: `all` does not include them, a client must name the type."""

    def field(self, name: str) -> Field | None:
        """Return the field called `name`, or None if the catalogue does not list it."""
        return next((field for field in self.fields if field.name == name), None)


def _ratio(name: str, label: str) -> Field:
    return Field(name, label, "ratio", "gauge", 0.0, 1.0)


def _milliseconds(name: str, label: str, kind: FieldKind = "gauge") -> Field:
    return Field(name, label, "ms", kind)


SYSTEM = MetricType(
    "system",
    "System",
    (
        Field("throughput_tps", "Throughput", "tps", "rate"),
        Field("requests_total", "Requests", "count", "counter"),
        Field("requests_successful", "Successful requests", "count", "counter"),
        Field("requests_failed", "Failed requests", "count", "counter"),
        _milliseconds("avg_response_time_ms", "Average response time"),
        _milliseconds("p50_response_time_ms", "Response time p50", "percentile"),
        _milliseconds("p95_response_time_ms", "Response time p95", "percentile"),
        _milliseconds("p99_response_time_ms", "Response time p99", "percentile"),
        _milliseconds("max_response_time_ms", "Slowest response", "maximum"),
        _ratio("error_rate", "Error rate"),
        _ratio("timeout_rate", "Timeout rate"),
        _ratio("cpu_utilization", "CPU"),
        _ratio("memory_utilization", "Memory"),
        Field("network_throughput_mbps", "Network", "Mbps", "rate"),
        Field("queue_depth", "Queue depth", "count", "gauge"),
        _milliseconds("queue_latency_ms", "Queue latency"),
        Field("users", "Users", "count", "gauge"),
        _milliseconds("response_time_total_ms", "Sum of response times", "counter"),
        Field("elapsed_seconds", "Time of the counts", "s", "counter"),
        # What says whether the test itself is valid; core/validity.py judges it.
        Field("target_tps", "Target load", "tps", "rate"),
        Field("dropped_iterations", "Dropped iterations", "count", "counter"),
        _milliseconds("schedule_lag_ms", "Schedule lag"),
        _ratio("generator_cpu_utilization", "Load generator CPU"),
        _milliseconds("generator_lag_ms", "Load generator lag"),
        Field("generator_queue_depth", "Load generator queue", "count", "gauge"),
        Field("generator_dropped_metrics", "Load generator dropped", "count", "counter"),
    ),
)


AGENT = MetricType(
    "agent",
    "Agents",
    (
        Field("agent_id", "Agent id", "", "text", None),
        Field("agent_name", "Agent", "", "text", None),
        Field("requests_processed", "Requests", "count", "counter"),
        _milliseconds("avg_response_time_ms", "Average response time"),
        _milliseconds("p95_response_time_ms", "Response time p95", "percentile"),
        _milliseconds("p99_response_time_ms", "Response time p99", "percentile"),
        _ratio("success_rate", "Success rate"),
        Field("error_count", "Errors", "count", "counter"),
        Field("timeout_count", "Timeouts", "count", "counter"),
        _ratio("current_load", "Load"),
        Field("concurrent_requests", "Concurrent requests", "count", "gauge"),
        _ratio("health_score", "Health"),
        Field("status", "Status", "", "text", None),
        _ratio("decision_accuracy", "Decision accuracy"),
        _ratio("false_positive_rate", "False positives"),
        _ratio("false_negative_rate", "False negatives"),
    ),
    key=AGENT_KEY,
)


BUSINESS = MetricType(
    "business",
    "Business",
    (
        Field("transactions_processed", "Transactions", "count", "counter"),
        Field("transactions_per_second", "Transactions per second", "tps", "rate"),
        Field("fraud_detected", "Fraud detected", "count", "counter"),
        Field("fraud_prevented_amount", "Fraud prevented", "$", "counter"),
        _ratio("fraud_detection_rate", "Fraud detection rate"),
        _ratio("fraud_detection_accuracy", "Fraud detection accuracy"),
        Field("cost_per_transaction", "Cost per transaction", "$", "gauge"),
        Field("total_cost", "Total cost", "$", "counter"),
        Field("roi_percentage", "Return on investment", "percent", "gauge", None),
        Field("money_saved", "Money saved", "$", "counter", None),
        Field("payback_period_months", "Payback period", "months", "gauge"),
        _ratio("customer_impact_score", "Customer impact"),
        _ratio("false_positive_impact", "False positive impact"),
        Field("performance_vs_baseline", "Performance against baseline", "multiple", "gauge"),
        Field("cost_vs_baseline", "Cost against baseline", "multiple", "gauge"),
        Field("aws_cost_breakdown", "AWS cost breakdown", "", "object", None),
    ),
)


HERO = MetricType(
    "hero",
    "Hero",
    (
        Field("total_transactions", "Transactions", "count", "counter"),
        Field("fraud_blocked", "Fraud blocked", "count", "counter"),
        Field("money_saved", "Money saved", "$", "counter", None),
        Field("uptime_percentage", "Uptime", "percent", "gauge", 0.0, 100.0),
        Field("transactions_per_second", "Transactions per second", "tps", "rate"),
        _milliseconds("avg_response_time_ms", "Average response time"),
        _ratio("ai_accuracy", "AI accuracy"),
        _ratio("ai_confidence", "AI confidence"),
        Field("cost_per_transaction", "Cost per transaction", "$", "gauge"),
        Field("roi_percentage", "Return on investment", "percent", "gauge", None),
        _ratio("customer_satisfaction", "Customer satisfaction"),
    ),
)


PRESENTATION = MetricType(
    "presentation",
    "Presentation",
    (
        Field("hero_metrics", "Hero metrics", "", "object", None, holds="hero"),
        Field("system_metrics", "System metrics", "", "object", None, holds="system"),
        Field("business_metrics", "Business metrics", "", "object", None, holds="business"),
        Field("transaction_flow_data", "Transaction flow", "", "object", None),
        Field("competitive_benchmarks", "Competitive benchmarks", "", "object", None),
        Field("cost_efficiency", "Cost efficiency", "", "object", None),
        Field("resilience_demonstration", "Resilience", "", "object", None),
        Field("business_narrative", "Business narrative", "", "text", None),
        Field("key_highlights", "Key highlights", "", "object", None),
        Field("investor_profile", "Investor profile", "", "text", None),
    ),
)


REQUEST = MetricType(
    "request",
    "Requests",
    (
        Field("name", "Name", "", "text", None),
        Field("method", "Method", "", "text", None),
        Field("scenario", "Scenario", "", "text", None),
        Field("group", "Group", "", "text", None),
        Field("requests_total", "Requests", "count", "counter"),
        Field("requests_failed", "Failed requests", "count", "counter"),
        Field("throughput_tps", "Throughput", "tps", "rate"),
        _ratio("error_rate", "Error rate"),
        _milliseconds("avg_response_time_ms", "Average response time"),
        _milliseconds("min_response_time_ms", "Fastest response", "minimum"),
        _milliseconds("max_response_time_ms", "Slowest response", "maximum"),
        _milliseconds("p50_response_time_ms", "Response time p50", "percentile"),
        _milliseconds("p95_response_time_ms", "Response time p95", "percentile"),
        _milliseconds("p99_response_time_ms", "Response time p99", "percentile"),
        _milliseconds("response_time_total_ms", "Sum of response times", "counter"),
        Field("received_bytes_total", "Received", "B", "counter"),
        Field("users", "Users", "count", "gauge"),
        Field("status", "Status", "", "text", None),
        Field("folded_rows", "Rows in (other)", "count", "gauge"),
    ),
    key=("name", "method", "scenario", "group"),
    optional_parts=frozenset({"scenario", "group"}),
)


ERROR = MetricType(
    "error",
    "Errors",
    (
        Field("name", "Name", "", "text", None),
        Field("method", "Method", "", "text", None),
        Field("message", "Message", "", "text", None),
        Field("occurrences_total", "Occurrences", "count", "counter"),
        Field("last_at", "Last seen", "", "text", None),
        Field("folded_rows", "Rows in (other)", "count", "gauge"),
    ),
    key=("name", "method", "message"),
)


STREAM = MetricType(
    "stream",
    "Stream health",
    (
        Field("clients", "Clients", "count", "gauge"),
        Field("views", "Views", "count", "gauge"),
        Field("metrics_received_per_second", "Metrics in", "/s", "rate"),
        Field("metrics_sent_per_second", "Metrics out", "/s", "rate"),
        Field("frames_sent_per_second", "Frames out", "/s", "rate"),
        Field("frames_encoded_per_second", "Frames encoded", "/s", "rate"),
        Field("sent_mbps", "Data out", "Mbps", "rate"),
        _milliseconds("age_p50_ms", "Age at send p50", "percentile"),
        _milliseconds("age_p99_ms", "Age at send p99", "percentile"),
        _milliseconds("flush_p99_ms", "Flush p99", "percentile"),
        _milliseconds("loop_lag_p99_ms", "Loop lag p99", "percentile"),
        Field("metrics_dropped_per_second", "Dropped", "/s", "rate"),
        Field("gaps_per_second", "Gaps", "/s", "rate"),
        Field("rows_folded_per_second", "Rows folded into (other)", "/s", "rate"),
        Field("dropped_by_reason", "Dropped by reason", "", "object", None),
        Field("gaps_by_reason", "Gaps by reason", "", "object", None),
        Field("slow_clients_closed", "Closed as slow", "count", "counter"),
        Field("refused_clients", "Refused", "count", "counter"),
        Field("protocol_errors", "Errors of clients", "count", "counter"),
        Field("bus_failures", "Failures of the channel layer", "count", "counter"),
        Field("status", "Status", "", "text", None),
        Field("faults", "Faults", "", "text", None),
        Field("clock_skew_database_ms", "Clock ahead of the database", "ms", "gauge", None),
        Field("clock_skew_redis_ms", "Clock ahead of Redis", "ms", "gauge", None),
        Field("sources_with_wrong_clock", "Sources with a wrong clock", "count", "gauge"),
        Field("sources_with_several_producers", "Sources with several producers", "count", "gauge"),
        _ratio("cpu_utilization", "CPU"),
        Field("memory_mb", "Memory", "MB", "gauge"),
        Field("uptime_seconds", "Uptime", "s", "counter"),
    ),
    about_service=True,
)


BUILTIN_TYPES: tuple[MetricType, ...] = (SYSTEM, AGENT, BUSINESS, HERO, PRESENTATION, REQUEST, ERROR, STREAM)


class Catalogue:
    """The metric types of one installation: the built-in types, then those that settings add."""

    def __init__(self, extra_types: tuple[MetricType, ...] = ()) -> None:
        self.types: dict[str, MetricType] = {item.slug: item for item in (*BUILTIN_TYPES, *extra_types)}

    @cached_property
    def slugs(self) -> tuple[str, ...]:
        """All slugs, in the order in which they are shown."""
        return tuple(self.types)

    @cached_property
    def all_slugs(self) -> tuple[str, ...]:
        """The slugs that `all` stands for if a client may see everything."""
        return tuple(slug for slug, item in self.types.items() if not item.about_service)

    def find(self, metric_type: str, path: str) -> Field | None:
        """Return the field that a path names, also within an object that holds those of a type; None if unknown."""
        own = self.types.get(metric_type)
        if own is None:
            return None
        if (field := own.field(path)) is not None:
            return field
        for head, rest in splits(path):
            holder = own.field(head)
            if holder is not None and holder.holds:
                return self.find(holder.holds, rest)
        return None

    def units_in(self, field: Field) -> dict[str, str]:
        """Return the units of the fields within an object, by name."""
        held = self.types.get(field.holds)
        return {item.name: item.unit for item in held.fields if item.unit} if held else {}

    def unit_of_sketch(self, metric_type: str, name: str) -> str:
        """Return the unit of a sketch, which is that of its percentiles; empty if the catalogue has none of them."""
        own = self.types.get(metric_type)
        percentiles = [item for item in own.fields if item.kind == "percentile"] if own else []
        return next((item.unit for item in percentiles if item.name.partition("_")[2] == name), "")

    def choices(self) -> list[tuple[str, str]]:
        """Return (slug, label) pairs for forms."""
        return [(item.slug, item.label) for item in self.types.values()]

    def describe(self) -> list[dict[str, Any]]:
        """Return the catalogue as data that JSON can hold, for pages."""
        return [
            {
                "slug": item.slug,
                "label": item.label,
                "has_entries": bool(item.key),
                "key": list(item.key),
                "fields": [
                    {key: value for key, value in msgspec.to_builtins(field).items() if key != "holds"}
                    for field in item.fields
                ],
            }
            for item in self.types.values()
        ]
