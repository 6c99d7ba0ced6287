"""The counters in the Prometheus text format: the sum over all server processes of this `manage.py serve`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from metrics_stream.core.protocol.codes import NO_PONG, CloseCode, GapReason, ItemErrorCode, RequestErrorCode
from metrics_stream.observation.faults import FaultKind
from metrics_stream.server.refusals import Refusal
from metrics_stream.telemetry import Histogram, Sample, Telemetry

PREFIX = "metrics_stream_"

# Of living processes only: name, help text, value of one process.
GAUGES: tuple[tuple[str, str, Callable[[Sample], float]], ...] = (
    ("workers", "Server processes that are alive.", lambda sample: 1),
    ("clients", "Connected clients.", lambda sample: sample.telemetry.connected_clients),
    ("views", "Different views; frames are encoded once for each.", lambda sample: sample.views),
    ("bus_live", "Server processes whose channel layer carries.", lambda sample: sample.bus_live),
    (
        "sources_with_wrong_clock",
        "Sources whose timestamps are far from their arrival.",
        lambda sample: sample.sources_with_wrong_clock,
    ),
    (
        "sources_with_several_producers",
        "Sources that several producers publish at a time.",
        lambda sample: sample.sources_with_several_producers,
    ),
    ("resident_memory_bytes", "Memory of the server processes.", lambda sample: sample.memory_bytes),
)

# Of all processes since the start: the same columns. The format appends `_total` to the name.
COUNTERS: tuple[tuple[str, str, Callable[[Sample], float]], ...] = (
    ("connections", "Clients that were taken in.", lambda sample: sample.telemetry.total_connected),
    (
        "refused_connections",
        "Clients refused over MAX_CLIENTS or the cap.",
        lambda sample: sample.telemetry.refused_clients,
    ),
    ("messages_received", "Messages of clients.", lambda sample: sample.telemetry.messages_received),
    ("frames_sent", "Frames of every kind, to all clients.", lambda sample: sample.telemetry.messages_sent),
    ("frames_encoded", "Data frames built; each went to one client or many.", lambda s: s.telemetry.frames_encoded),
    ("metrics_received", "Metrics that came over the bus.", lambda sample: sample.telemetry.metrics_received),
    ("metrics_refilled", "Metrics the bus lost and the history had.", lambda sample: sample.telemetry.metrics_refilled),
    ("metrics_sent", "Metrics in data frames, to all clients.", lambda sample: sample.telemetry.metrics_sent),
    ("sent_bytes", "Bytes of data frames before compression.", lambda sample: sample.telemetry.bytes_sent),
    ("metrics_ingested", "Metrics published over HTTP.", lambda sample: sample.telemetry.metrics_ingested),
    (
        "rows_folded",
        "Rows published over HTTP past their budget, which went into the row (other).",
        lambda sample: sample.telemetry.rows_folded,
    ),
    (
        "run_metrics_recorded",
        "Metrics recorded, once for each run.",
        lambda sample: sample.telemetry.run_metrics_recorded,
    ),
    ("slow_closes", "Clients closed because they did not read.", lambda s: s.telemetry.slow_clients_closed),
    ("protocol_errors", "Messages of clients answered with an error.", lambda s: s.telemetry.protocol_errors),
    ("bus_failures", "Calls to the channel layer that failed.", lambda sample: sample.telemetry.bus_failures),
    ("hub_failures", "Exceptions within the hub.", lambda sample: sample.telemetry.hub_failures),
    ("cpu_seconds", "Processor time, user and system.", lambda sample: sample.cpu_seconds),
)

REASONS = tuple(reason.value for reason in GapReason)
LOSSES = ("history", "epoch")
ITEM_ERRORS = tuple(error.value for error in ItemErrorCode)
REQUEST_ERRORS = tuple(error.value for error in RequestErrorCode)
REFUSALS = tuple(reason.value for reason in Refusal)
CODES = tuple(str(int(code)) for code in (*CloseCode, NO_PONG))

# Counters with one label: name, help text, label and its values, counts of one process.
LABELLED: tuple[tuple[str, str, str, tuple[str, ...], Callable[[Telemetry], Mapping[Any, int]]], ...] = (
    (
        "metrics_dropped",
        "Metrics that a gap has told clients of.",
        *("reason", REASONS),
        lambda counts: counts.dropped_by_reason,
    ),
    ("gaps", "Gaps announced, to all clients.", "reason", REASONS, lambda counts: counts.gaps_by_reason),
    ("closes", "Clients that the server closed.", "code", CODES, lambda counts: counts.closes_by_code),
    (
        "run_metrics_lost",
        "Metrics of test runs that were accepted and are lost, as far as known.",
        *("reason", LOSSES),
        lambda counts: counts.run_metrics_lost,
    ),
    (
        "ingest_metrics_refused",
        "Metrics sent over HTTP that were not taken.",
        *("reason", ITEM_ERRORS),
        lambda counts: counts.ingest_metrics_refused,
    ),
    (
        "ingest_requests_refused",
        "Requests of programs over HTTP of which nothing was taken.",
        *("reason", REQUEST_ERRORS),
        lambda counts: counts.ingest_requests_refused,
    ),
    (
        "requests_refused",
        "Requests and handshakes that the edge of the server refused.",
        *("reason", REFUSALS),
        lambda counts: counts.refused_by_reason,
    ),
)

HISTOGRAMS: tuple[tuple[str, str, Callable[[Telemetry], Histogram]], ...] = (
    ("flush_seconds", "Time to encode one frame and write it to its clients.", lambda counts: counts.flush_seconds),
    ("age_at_send_seconds", "Age of the oldest metric of each frame sent.", lambda counts: counts.age_seconds),
    ("loop_lag_seconds", "How late the event loop was.", lambda counts: counts.loop_lag_seconds),
)


CLOCK_SKEW = ("clock_skew_seconds", "By how much the clock of this server is ahead of another.")
CLOCKS = ("database", "redis")
FAULTS = ("faults", "Server processes that have the fault now.")


class SampleCollector(Collector):
    """Yields the families of `alive` and `gone` processes to a registry."""

    def __init__(self, alive: Sequence[Sample], gone: Sequence[Sample] = ()) -> None:
        self._alive = alive
        self._all = [*alive, *gone]

    def collect(self) -> Iterator[Metric]:
        """Yield every family once."""
        for name, text, value in GAUGES:
            yield GaugeMetricFamily(PREFIX + name, text, sum(map(value, self._alive)))
        faults = GaugeMetricFamily(PREFIX + FAULTS[0], FAULTS[1], labels=["fault"])
        for kind in FaultKind:
            faults.add_metric([kind], sum(kind in sample.faults for sample in self._alive))
        yield faults
        yield self._skew_family()
        for name, text, value in COUNTERS:
            yield CounterMetricFamily(PREFIX + name, text, sum(map(value, self._all)))
        for name, text, label, label_values, counts in LABELLED:
            family = CounterMetricFamily(PREFIX + name, text, labels=[label])
            # Counters start at 0, so that the first event is visible as a change.
            sums = Counter(dict.fromkeys(label_values, 0))
            for sample in self._all:
                sums.update({str(key): count for key, count in counts(sample.telemetry).items()})
            for key, count in sums.items():
                family.add_metric([key], count)
            yield family
        for name, text, pick in HISTOGRAMS:
            yield _histogram_family(PREFIX + name, text, [pick(sample.telemetry) for sample in self._all])

    def _skew_family(self) -> GaugeMetricFamily:
        family = GaugeMetricFamily(PREFIX + CLOCK_SKEW[0], CLOCK_SKEW[1], labels=["clock"])
        for clock in CLOCKS:
            skews = [skew for sample in self._alive if (skew := sample.clock_skew_seconds.get(clock)) is not None]
            if skews:
                family.add_metric([clock], max(skews, key=abs))
        return family


def _histogram_family(name: str, text: str, histograms: Sequence[Histogram]) -> HistogramMetricFamily:
    first, *others = histograms
    total = first.copy()
    for other in others:
        total.add(other)
    buckets, count = [], 0
    for bound, inside in zip([*map(repr, total.bounds), "+Inf"], total.counts, strict=True):
        count += inside
        buckets.append((bound, count))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=total.total)


def exposition(alive: Sequence[Sample], gone: Sequence[Sample] = (), *, accept: str = "") -> tuple[bytes, str]:
    """Return the text in the format that the header `accept` requests, and its content type.

    Counters and histograms include processes that are `gone`, so that a sum never falls; gauges do not.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SampleCollector(alive, gone))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
