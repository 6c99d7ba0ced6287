"""What is published once is the same number however it is read.

Live in the modes `all`, `latest` and `aggregate`, in the recorded series of every tier, in replays, files and summary.
"""

import csv
import gzip
import io
import json
from collections import defaultdict

import pytest

from metrics_stream.core.delivery.pending import Delivery, Pending
from metrics_stream.core.metrics.keys import agent_row
from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.core.series.folding import readings
from metrics_stream.runs import reader
from metrics_stream.runs import series as run_series
from metrics_stream.views.exports import csv_file, ndjson_file
from tests.support.recording import START, Recording, metric, start_run

pytestmark = pytest.mark.django_db


def sketched(*values, name="ms"):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return {"sketches": {name: sketch.encode()}}


def window_of_ten(at):
    """Return a p99 of a window of ten seconds beside the sketch of one second, as a load generator publishes them."""
    return {"p99_ms": 150.0 + at, **sketched(*[10.0 + at] * 99, 12.0 + at)}


AGENTS = [
    [{"agent_id": name, "load": at + index, "p95_ms": 5.0 * at} for index, name in enumerate("ab")] for at in range(9)
]

SCENARIOS = {
    "counters that fall": [
        metric(at, {"requests_total": value}) for at, value in enumerate([5, 9, 14, 2, 6, 11, 0, 3])
    ],
    "nulls": [metric(at, {"depth": value, "n": 1}) for at, value in enumerate([5, 6, None, 7, None, None, 8, 9])],
    "sketches": [metric(at, {"p95_ms": 20.0, **sketched(*range(1, 21))}) for at in range(70)],
    "windows of 1 s and 10 s": [metric(at, window_of_ten(at), windows={"p99_ms": 10}) for at in range(75)],
    "several in a second": [metric(at / 4, {"tps": at % 7, **window_of_ten(at)}) for at in range(40)],
    "percentiles without sketches": [metric(at / 2, {"p(95)": at % 11, "latency": {"95th": 3}}) for at in range(30)],
    "some with sketches": [
        metric(at / 2, {"p95_ms": at % 11, **(sketched(5.0) if at % 2 else {})}) for at in range(30)
    ],
    "texts that become numbers": [metric(at, {"x": value}) for at, value in enumerate(["n/a", 1, "n/a", 3, "n/a"])],
    "gaps": [metric(at, {"tps": at}) for at in (0, 1, 2, 30, 31, 95, 96)],
    "several sources": [metric(at / 2, {"tps": at}, source=f"web-{at % 3}") for at in range(40)],
    "agents": [metric(at, agents, metric_type="agent") for at, agents in enumerate(AGENTS)],
    "extremes": [
        metric(at, {"max_ms": at % 5, "min_ms": at % 3, "g": value}) for at, value in enumerate([1e300, -1e-12, 0])
    ],
    "nested": [metric(at / 2, {"a": {"b": {"c": at}, "total": at}}) for at in range(9)],
}


@pytest.fixture(params=SCENARIOS, ids=lambda name: name.replace(" ", "-"))
def published(request):
    return SCENARIOS[request.param]


@pytest.fixture
def run(published):
    started, recording = start_run(), Recording("soak")
    recording.record(*published)
    return recording.end(started)


def delivered(metrics, mode):
    """Return what a client gets of metrics in one frame."""
    pending = Pending(Delivery(mode=mode), max_metrics=10_000, max_bytes=10**8)
    for item in metrics:
        pending.add(item, item.body, 0.0)
    return [item.body for item in pending.take(1.0).items]


def numbers(metrics):
    """Return the values of each series with the second of each, None for null."""
    found = defaultdict(list)
    for item in metrics:
        for row, fields, values in readings(item.body):
            for field, value in zip(fields, values, strict=True):
                found[item.source, row, field].append((int(item.timestamp), value))
    return {key: pairs for key, pairs in found.items() if any(value is not None for _, value in pairs)}


def aggregated(metrics):
    """Return what mode `aggregate` says of each series: its value, its summary, and whether it is the worst."""
    found = {}
    for body in map(json.loads, delivered(metrics, "aggregate")):
        data, row = body["data"], None
        if isinstance(data, list):
            (data,) = data
            row = agent_row(data["agent_id"])
        for path, summed in body["summary"].items():
            value = data
            for step in [path] if path in data else path.split("."):
                value = value[step]
            found[body["source"], row, path] = (value, summed, path in body.get("worst", ()))
    return found


def test_replays_and_files_have_what_clients_got_live(published, run):
    live = delivered(published, "all")
    assert [item.metric.body for item in reader.metrics(run).items] == live
    assert gzip.decompress(b"".join(ndjson_file(run))).splitlines() == live
    rows = list(csv.DictReader(io.StringIO(b"".join(csv_file(run)).decode())))
    from_file = defaultdict(list)
    for row in rows:
        key = row["source"], agent_row(row["agent_id"]) if row["agent_id"] else None, row["field"]
        if row["field"] not in {"agent_name"} and key in numbers(published):
            value = row["value"]
            if value and not value.replace(".", "").replace("e", "").replace("-", "").replace("+", "").isdigit():
                continue  # a text
            from_file[key].append(float(value) if value else None)
    expected = {key: [value for _, value in pairs] for key, pairs in numbers(published).items()}
    assert from_file == expected


def test_the_newest_metric_of_each_kind_is_the_last_of_the_recording(published, run):
    newest = {}
    for body in delivered(published, "latest"):
        for row, fields, values in readings(body):
            for field, value in zip(fields, values, strict=True):
                if value is not None:
                    newest[json.loads(body)["source"], row, field] = value
    last = {(one.source, one.row, one.field): one.last for one in run_series.summary(run)}
    assert newest.items() <= last.items()


@pytest.mark.parametrize("tier", [1, 10, 60])
def test_every_bucket_is_what_a_client_is_told_of_its_interval(published, run, tier):
    last_at = max(item.timestamp for item in published)
    series = {
        (one.source, one.row, one.field): one
        for one in run_series.series(run, max_points=max(2, int((last_at - START) // tier) + 1))
    }
    assert series.keys() == numbers(published).keys()
    told = defaultdict(dict)
    (width,) = {one.bucket_seconds for one in series.values()}
    by_bucket = defaultdict(list)
    for item in published:
        by_bucket[int(item.timestamp // width)].append(item)
    for bucket, metrics in by_bucket.items():
        for key, said in aggregated(metrics).items():
            told[key][bucket] = said
    for key, one in series.items():
        first = int(one.starts_at // width)
        assert [first + bucket for bucket in one.buckets] == sorted(told[key]), key
        for index, bucket in enumerate(one.buckets):
            value, summed, is_worst = told[key][first + bucket]
            found = {"count": one.count[index], "min": one.min[index], "max": one.max[index], "last": one.last[index]}
            assert found == {name: summed[name] for name in found}, key
            if "mean" in summed:
                assert one.mean[index] == pytest.approx(summed["mean"])
            elif one.percentile is not None:
                assert one.is_worst or one.percentile[index] == value, key
                assert not is_worst or one.is_worst or one.percentile is None
            elif key[2] not in {"requests_total", "a.total"}:  # counters have neither
                assert one.last[index] == value
        nulls = {int(second // width) for second, found in numbers(published)[key] if found is None} - set(told[key])
        began = min(int(second // width) for second, found in numbers(published)[key] if found is not None)
        assert [first + bucket for bucket in one.nulls] == sorted(bucket for bucket in nulls if bucket > began)


def test_the_summary_of_a_run_is_what_a_client_is_told_of_one_interval(published, run):
    told = aggregated(published)
    found = {(one.source, one.row, one.field): one for one in run_series.summary(run)}
    assert found.keys() == told.keys()
    for key, one in found.items():
        value, summed, is_worst = told[key]
        assert (one.count, one.min, one.max, one.last) == tuple(
            summed[name] for name in ("count", "min", "max", "last")
        )
        assert one.mean == (pytest.approx(summed["mean"]) if "mean" in summed else None), key
        assert one.is_worst == is_worst
        if one.percentile is not None:
            assert one.percentile == value


def test_a_percentile_of_a_longer_window_is_live_what_it_is_recorded():
    metrics = SCENARIOS["windows of 1 s and 10 s"]
    started, recording = start_run(), Recording("soak")
    recording.record(*metrics)
    run = recording.end(started)
    (by_second,) = run_series.series(run, max_points=1_000)
    assert by_second.percentile == [150.0 + at for at in range(75)]
    assert by_second.window_seconds == 10
    (by_ten,) = run_series.series(run, max_points=8)
    assert by_ten.percentile == [pytest.approx(10 + 10 * tens + min(9, 74 - 10 * tens), rel=0.011) for tens in range(8)]
    (summed,) = run_series.summary(run)
    assert summed.percentile == pytest.approx(84, rel=0.011)
    assert max(by_ten.percentile) <= summed.max
