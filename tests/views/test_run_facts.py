"""What pages say about a run: its summary, its losses and its picture."""

import re

import pytest

from metrics_stream.core.formatting import NO_VALUE
from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.models import AccessPolicy, TestRun
from tests.support.recording import Recording, metric, record_run, start_run
from tests.support.responses import body_of, text

pytestmark = pytest.mark.django_db


def test_summary_has_the_extremes_of_each_series_with_units(client):
    run, recording = start_run(), Recording("soak")
    recording.record(metric(0, {"throughput_tps": 10.0, "own": {"depth": -2.5}}))
    recording.record(metric(1, {"throughput_tps": 30.0}))
    recording.record(
        metric(2, [{"agent_id": "a1", "success_rate": 0.99}], metric_type="agent", source="web-2"),
        metric(2, [{"agent_id": "a1", "success_rate": 0.5}], metric_type="agent", source="web-2"),
    )
    recording.end(run)
    response = client.get("/runs/soak/")
    groups = [(group.metric_type, group.source, group.row) for group in response.context["groups"]]
    assert groups == [("System", "web-1", ""), ("Agents", "web-2", "a1")]
    content = text(response)
    assert "Throughput throughput_tps 2 10.0 tps 20.0 tps 30.0 tps 30.0 tps" in content
    assert "Depth own.depth 1 -2.50 -2.50 -2.50 -2.50" in content
    assert "Success rate success_rate 2 50.0 % 74.5 % 99.0 % 50.0 %" in content


def test_percentiles_have_no_mean_but_that_of_all_or_the_worst(client):
    run, recording = start_run(), Recording("soak")
    for at, values in ((0, [10.0] * 100), (1, [20.0] * 300)):
        sketch = Sketch()
        for value in values:
            sketch.add(value)
        data = {"p50_response_time_ms": values[0], "sketches": {"response_time_ms": sketch.encode()}}
        recording.record(metric(at, data), metric(at, {"p99_response_time_ms": values[-1]}, source="web-2"))
    recording.end(run)
    response = client.get("/runs/soak/")
    content = text(response)
    assert "Samples Min Mean Of all Max Last" in content
    no_value = re.escape(NO_VALUE)
    assert re.search(
        rf"Response time p50 p50_response_time_ms 2 10.0 ms {no_value} (19.9|20.1) ms 20.0 ms 20.0 ms", content
    )
    assert f"Response time p99 p99_response_time_ms 2 10.0 ms {NO_VALUE} 20.0 ms worst 20.0 ms 20.0 ms" in content
    assert content.count("worst: the highest that came") == 1


def test_what_is_lost_is_said_plainly(client):
    holes = [{"at": "2027-01-15T08:00:10Z", "metric_type": "system", "count": 1_200, "reason": "history"}]
    holes += [{"at": "2027-01-15T08:00:20+00:00", "metric_type": "gone", "count": None, "reason": "epoch"}]
    holes += [{"at": "2027-01-15T08:00:30Z", "metric_type": "agent", "count": 1, "reason": "of another kind"}] * 30
    record_run(5, lost=holes)
    content = text(client.get("/runs/soak/"))
    assert "Parts of this run are missing" in content
    assert "08:00:10 UTC System: 1,200 metrics The recorder was away for longer than the history keeps" in content
    assert "08:00:20 UTC gone: an unknown number of metrics Redis was restarted empty" in content
    assert "Agents: 1 metric of another kind" in content
    assert "and 12 more such parts." in content


def test_list_says_what_is_lost(client):
    hole = {"at": "2027-01-15T08:00:10Z", "metric_type": "system", "reason": "history"}
    start_run("a", lost=[{**hole, "count": 1_200}, {**hole, "count": 4}])
    start_run("b", lost=[{**hole, "count": 1_200}, {**hole, "count": None}])
    start_run("c", lost=[{**hole, "count": None}])
    assert [row.lost for row in client.get("/runs/").context["rows"]] == ["unknown", "at least 1,200", "1,204"]


def test_picture_has_the_peak_of_the_load_and_is_drawn_once(client, django_assert_max_num_queries):
    record_run(1_200)
    first = client.get("/runs/")
    picture = first.context["rows"][0].picture
    assert (picture.label, picture.peak, picture.is_load) == ("Throughput", "500\u00a0tps", True)
    assert re.fullmatch(r"M[\d. L]+", picture.line)
    with django_assert_max_num_queries(4):
        assert client.get("/runs/").context["rows"][0].picture == picture


def test_run_without_a_throughput_shows_what_it_has(client):
    run, recording = start_run(), Recording("soak")
    recording.record(*(metric(second, {"queue_depth": 3, "depth_of_mine": 1}) for second in range(5)))
    recording.end(run)
    picture = client.get("/runs/").context["rows"][0].picture
    assert (picture.label, picture.is_load) == ("Queue depth", False)
    assert "Queue depth, peak 3" in text(client.get("/runs/"))


# --- what some people may see of it ---


@pytest.fixture
def shared_run(client, settings, django_user_model):
    """A run of two sources with losses, and a viewer who may see one of the sources."""
    settings.ANONYMOUS_READ = False
    hole = {"at": "2027-01-15T08:00:10Z", "reason": "history"}
    lost = [{**hole, "metric_type": "system", "count": 9}, {**hole, "metric_type": "hero", "count": 7}]
    run, recording = start_run(sources=["ours", "theirs"], lost=lost), Recording("soak")
    recording.record(*(metric(number, source=("ours", "theirs")[number % 2]) for number in range(200)))
    recording.end(run)
    viewer = django_user_model.objects.create_user("ann", "", "x")
    AccessPolicy.objects.create(name="ann", metric_types=["system"], sources=["ours"], runs="all").users.add(viewer)
    client.force_login(viewer)
    return run


def test_counts_are_those_of_what_the_viewer_may_see(client, shared_run):
    for _ in range(2):
        page = client.get("/runs/soak/")
        [row] = client.get("/runs/").context["rows"]
        assert page.context["facts"].metrics == row.metrics == "100"
    lines = body_of(client.get("/runs/soak/export.csv")).splitlines()
    assert len(lines) == 101
    assert "theirs" not in page.content.decode()
    AccessPolicy.objects.update(sources=["ours", "theirs"])
    assert client.get("/runs/soak/").context["facts"].metrics == "200"


def test_losses_are_those_of_what_the_viewer_may_see(client, shared_run):
    content = text(client.get("/runs/soak/"))
    assert "System: an unknown number of metrics" in content
    assert "Hero" not in content
    AccessPolicy.objects.update(sources=[])
    content = text(client.get("/runs/soak/"))
    assert "System: 9 metrics" in content
    AccessPolicy.objects.update(metric_types=["agent"])
    page = client.get("/runs/soak/")
    assert (page.context["facts"].lost, page.context["holes"]) == (NO_VALUE, [])
    assert page.context["facts"].metrics == "0"


def test_no_count_is_known_once_the_metrics_are_not_kept(client, shared_run):
    shared_run.metric_chunks.all().delete()
    assert client.get("/runs/soak/").context["facts"].metrics == NO_VALUE


def test_the_page_says_which_types_lack_series_to_those_who_may_see_them(client, shared_run):
    lacks = "Charts and summary lack some series of System: there are too many of them."
    for left_out, is_told in (
        ([["system", "ours"], ["hero", "ours"]], True),
        ([["system", "theirs"], ["hero", "ours"]], False),
    ):
        TestRun.objects.filter(pk=shared_run.pk).update(series_left_out=left_out)
        content = text(client.get("/runs/soak/"))
        assert (lacks in content, "there are too many of them" in content) == (is_told, is_told)
