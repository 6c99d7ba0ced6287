import pytest

from metrics_stream.core.metrics.percentiles import Percentile, percentile_in, rank_of, share_of
from metrics_stream.core.metrics.summaries import kind_of
from tests.support.aggregates import one_of

NAMES = [
    # k6
    ("p(95)", 0.95, ""),
    ("p(99.9)", 0.999, ""),
    ("p(5)", 0.05, ""),
    ("http_req_duration.p(99.99)", 0.9999, "http_req_duration"),
    ("http_req_duration_p(95)", 0.95, "http_req_duration"),
    ("http_req_duration.med", 0.5, "http_req_duration"),
    ("med", 0.5, ""),
    # Artillery, autocannon
    ("p999", 0.999, ""),
    ("http.response_time.p95", 0.95, "http.response_time"),
    ("http.response_time.median", 0.5, "http.response_time"),
    ("latency.p97_5", 0.975, "latency"),
    ("latency.p99_999", 0.99999, "latency"),
    ("p0_1", 0.001, ""),
    # Locust
    ("95%", 0.95, ""),
    ("99.9%", 0.999, ""),
    ("response_time_percentile_0.95", 0.95, "response_time"),
    ("response_time_percentile_95", 0.95, "response_time"),
    ("current_response_time_percentile_95", 0.95, "current_response_time"),
    ("current.response_time_percentile_0.5", 0.5, "current.response_time"),
    ("0.95", 0.95, ""),
    ("response_time.0.999", 0.999, "response_time"),
    # JMeter
    ("pct1ResTime", None, "ResTime"),
    ("Total.pct3ResTime", None, "Total.ResTime"),
    ("pct95.0", 0.95, ""),
    ("90% Line", 0.9, ""),
    ("90th pct", 0.9, ""),
    ("aggregate_report_90%_line", 0.9, "aggregate_report"),
    # Gatling
    ("percentiles1", None, ""),
    ("percentiles4", None, ""),
    ("percentiles3.total", None, "total"),
    ("95th percentile", 0.95, ""),
    ("99th_percentile", 0.99, ""),
    # hey, wrk, ab, vegeta, oha
    ("99.000%", 0.99, ""),
    ("latencies.95th", 0.95, "latencies"),
    ("50%", 0.5, ""),
    # everybody else
    ("p95_ms", 0.95, "ms"),
    ("p95_response_time_ms", 0.95, "response_time_ms"),
    ("a.p95_ms", 0.95, "a.ms"),
    ("response_time_p95_ms", 0.95, "response_time_ms"),
    ("response_time.p95", 0.95, "response_time"),
    ("p95_2xx_ms", 0.95, "2xx_ms"),
    ("P95", 0.95, ""),
    ("latencyP99", 0.99, "latency"),
    ("p95ResponseTime", 0.95, "ResponseTime"),
    ("p99.9", 0.999, ""),
    ("p_95", 0.95, ""),
    ("p-95", 0.95, ""),
    ("p95th", 0.95, ""),
    ("tp99", 0.99, ""),
    ("TP999", 0.999, ""),
    ("perc95", 0.95, ""),
    ("perc_95", 0.95, ""),
    ("pct95", 0.95, ""),
    ("pct_95", 0.95, ""),
    ("95pct", 0.95, ""),
    ("95p", 0.95, ""),
    ("95perc", 0.95, ""),
    ("percentile95", 0.95, ""),
    ("percentile_95", 0.95, ""),
    ("PERCENTILE_95", 0.95, ""),
    ("percentile99.9", 0.999, ""),
    ("95th", 0.95, ""),
    ("95TH", 0.95, ""),
    ("95_percentile", 0.95, ""),
    ("95percentile", 0.95, ""),
    ("percentiles.95", 0.95, ""),
    ("percentiles.95.0", 0.95, ""),
    ("quantile_0.99", 0.99, ""),
    ("median_response_time", 0.5, "response_time"),
    ("response_time_median", 0.5, "response_time"),
    ("p100_ms", 1.0, "ms"),
]


@pytest.mark.parametrize(("name", "share", "base"), NAMES)
def test_percentiles_are_known_in_every_spelling(name, share, base):
    assert percentile_in(name) == Percentile(share, base)
    assert kind_of(name) == "percentile"


@pytest.mark.parametrize("name", [name for name, _, _ in NAMES])
def test_percentiles_are_never_averaged(name):
    document = one_of({name: 10.0}, {name: 1000.0})
    assert document["data"] == {name: 1000.0}
    assert document["worst"] == [name]
    assert "mean" not in document["summary"][name]


@pytest.mark.parametrize(
    "name",
    [
        *("p2_x", "p2p_bytes", "sp99_x", "http2", "mp4", "step_1", "ip", "percent", "cpu_pct", "cpu_pct_0", "a95"),
        *("cpu.p", "pods.4th", "error_percentage", "uptime_percentage", "12", "2xx", "median.count", "p95.count"),
        *("medium", "media", "medals", "severity.medium", "1080p", "720pixels", "0.95x", "v0.95.1", "group1.count"),
        *("latency.p95.error_rate.x", "quantity_50", "rank_95", "total", "95", "agents.p99-node.cpu", "pct_errors"),
    ],
)
def test_names_that_only_look_like_one(name):
    assert percentile_in(name) is None


@pytest.mark.parametrize(
    ("digits", "share"), [("50", 0.5), ("99", 0.99), ("100", 1.0), ("999", 0.999), ("9999", 0.9999), ("05", 0.05)]
)
def test_shares(digits, share):
    assert share_of(digits) == share


@pytest.mark.parametrize(
    ("share", "count", "rank"),
    [(0.95, 1304, 1238), (0.5, 2, 1), (0.5, 1, 0), (0.0, 5, 0), (1.0, 5, 4), (0.95, 20, 19), (0.99, 100, 99)],
)
def test_the_rank_is_that_of_locust(share, count, rank):
    assert rank_of(share, count) == rank


@pytest.mark.parametrize(
    ("name", "share", "base"),
    [
        ("latency.p1", 0.01, "latency"),  # beside p2_5 and p10, as autocannon has them
        ("p0", 0.0, ""),
        ("p999999_response_time_ms", 0.999999, "response_time_ms"),
    ],
)
def test_the_lowest_and_the_highest_percentiles_are_known(name, share, base):
    assert percentile_in(name) == (share, base)


@pytest.mark.parametrize("name", ["p1_power", "zone.p1.load", "map1", "step_1"])
def test_a_digit_alone_is_a_percentile_only_as_the_whole_key(name):
    assert percentile_in(name) is None
