"""Reading the metrics of a recording: complete, in order, in pages that join."""

import pytest

from metrics_stream.collectors.demo.simulation import DemoTest
from metrics_stream.models import RecorderState
from metrics_stream.runs import open_run, reader
from tests.support.recording import START, Recording, metric, noise, recorded, start_run

pytestmark = pytest.mark.django_db


def test_metrics_come_back_as_they_were_published():
    run, recording = start_run(), Recording("soak")
    demo = DemoTest(seed=3, agents=3)
    metrics = []
    for second in range(40):
        step = demo.step(second + 1.0)
        metrics += [
            metric(second, step.system),
            metric(second + 0.1, step.agents, metric_type="agent", source="web-2"),
            metric(second + 0.2, step.presentation, metric_type="presentation"),
        ]
        recording.record(*metrics[-3:])
    run = recording.end(run)
    assert recorded(run) == metrics
    assert run.metrics_recorded == 120
    assert run.first_at.timestamp() == START
    assert run.last_at.timestamp() == pytest.approx(START + 39.2)
    assert run.recording_ended_at is not None
    assert run.lost == []
    assert RecorderState.objects.get().position == {"epoch": "e1", "offsets": recording.offsets}


def test_pages_join_without_a_gap(monkeypatch):
    monkeypatch.setattr(open_run, "CHUNK_METRICS", 7)
    monkeypatch.setattr(reader, "_PAGE_CHUNKS", 2)
    run, recording = start_run(), Recording("soak")
    metrics = noise(50)
    recording.record(*metrics, each=3)
    found, cursor, pages = [], None, 0
    while True:
        page = reader.metrics(run, cursor=cursor, limit=8)
        found += page.items
        cursor, pages = page.cursor, pages + 1
        if page.is_last:
            break
    assert [item.metric for item in found] == metrics
    assert cursor == 50
    assert pages == 7
    times = [item.published_at for item in found]
    assert times == sorted(times)
    # Each batch was published with its last metric.
    assert times[:4] == [START + 2, START + 2, START + 2, START + 5]


def test_reading_follows_a_run_that_is_being_recorded():
    run, recording = start_run(), Recording("soak")
    first, later = noise(10), noise(20)[10:]
    assert reader.metrics(run) == reader.RecordedPage([], 0, is_last=True)
    recording.record(*first)
    page = reader.metrics(run, since=START + 9.5)
    assert (page.items, page.cursor, page.is_last) == ([], 10, True)
    recording.record(*later)
    page = reader.metrics(run, cursor=page.cursor)
    assert [item.metric for item in page.items] == later
    page = reader.metrics(run, since=START + 5, limit=3)
    assert [item.metric for item in page.items] == first[5:8]
    assert (page.cursor, page.is_last) == (8, False)
    assert list(reader.rows(run, until=12)) == first + later[:2]


def test_limit_includes_metrics_of_other_types():
    run, recording = start_run(), Recording("soak")
    metrics = [metric(at, metric_type="hero" if at % 5 == 0 else "system") for at in range(20)]
    recording.record(*metrics)
    page = reader.metrics(run, limit=4, metric_types=("hero",))
    assert ([item.metric for item in page.items], page.cursor, page.is_last) == ([metrics[0]], 4, False)
    page = reader.metrics(run, cursor=11, limit=4, metric_types=("hero",))
    assert ([item.metric for item in page.items], page.cursor, page.is_last) == ([], 15, False)


def test_times_never_go_back_when_a_clock_does():
    run, recording = start_run(), Recording("soak")
    recording.write([recording.publish(metric(at), at=at) for at in (5, 3)])
    recording.write([recording.publish(metric(at), at=at) for at in (4, 6)])
    assert [item.published_at - START for item in reader.metrics(run).items] == [5, 5, 5, 6]


def test_newest_before_an_instant_is_one_of_each_key(monkeypatch):
    monkeypatch.setattr(open_run, "CHUNK_METRICS", 5)
    run, recording = start_run(), Recording("soak")
    quiet = metric(1, source="quiet")
    metrics = noise(60)
    recording.record(metrics[0], quiet, *metrics[1:])
    assert reader.newest_before(run, START + 40.5) == [quiet, metrics[39], metrics[40]]
    # The chunk with the instant has the other key only after it.
    assert reader.newest_before(run, START + 39.5) == [quiet, metrics[38], metrics[39]]
    assert reader.newest_before(run, START) == []
    assert reader.newest_before(run, START + 2) == [metrics[0], quiet, metrics[1]]
    assert reader.newest_before(run, START + 905) == [metrics[58], metrics[59]]
