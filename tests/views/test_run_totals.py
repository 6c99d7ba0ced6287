"""The totals on the page of a run and in its summary file, of the whole run and of a span."""

from html import unescape

import pytest

from metrics_stream.core.metrics.sketch import Sketch
from tests.support.recording import START, Recording, metric, start_run
from tests.support.responses import text

pytestmark = pytest.mark.django_db


def record(sketched=True):
    run, recording = start_run(), Recording("soak")
    for at in range(61):
        sketch = Sketch()
        sketch.add(at + 1.0)
        data = {"requests_total": at * 10, "requests_failed": max(0, at - 30), "users": 5, "elapsed_seconds": float(at)}
        if sketched:
            data |= {"sketches": {"response_time_ms": sketch.encode()}, "max_response_time_ms": at + 1.0}
        recording.record(metric(at, data))
    return recording.end(run)


def test_the_page_has_the_totals_of_the_run(client):
    record()
    content = text(client.get("/runs/soak/"))
    assert "Totals Requests 600 Failures 30 Failed 5.0 % Overall rate 10.0 tps" in content
    assert "Slowest response 61.0 ms Most users 5 Counted in 1 min" in content
    assert "Requests of web-1." in content
    assert "A percentile is the value with the index floor(share * count)" in content


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2027-01-15T08:00:30Z", "2027-01-15T08:01:01Z"),
        ("2027-01-15T09:00:30+01:00", "2027-01-15T08:01:01"),
        (str(START + 30), str(START + 61)),
    ],
)
def test_a_span_in_the_address_has_totals_of_its_own(client, since, until):
    record()
    response = client.get("/runs/soak/", {"from": since, "to": until})
    content = text(response)
    assert "Totals of a part" in content
    assert "Show the whole run" in content
    assert "Requests 310 Failures 30 Failed 9.7 %" in content
    assert "Summary of the same part" in content
    assert "users 31 5 5 5 5" in content
    same = client.get(f"/runs/soak/summary.json?from={since}&to={until}").json()
    assert (same["totals"]["requests"], same["totals"]["failures"]) == (310, 30)
    assert (same["from"], same["until"]) == ("2027-01-15T08:00:30.000000Z", "2027-01-15T08:01:00.000000Z")
    assert {row["field"]: row["count"] for row in same["series"]}["users"] == 31


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("from=yesterday", "`from` is 'yesterday'; allowed: ISO 8601 such as 2026-01-31T12:00:00Z, or seconds"),
        ("to=-5", "`to` is '-5'"),
        ("to=nan", "`to` is 'nan'"),
        ("to=1e400", "`to` is '1e400'"),
        (f"from={START + 5}&to={START}", "`from` is not before `to`"),
    ],
)
def test_what_is_no_span_is_said(client, query, words):
    record()
    assert words in unescape(text(client.get(f"/runs/soak/?{query}")))
    answer = client.get(f"/runs/soak/summary.json?{query}")
    assert answer.status_code == 400
    assert words in answer.json()["message"]


def test_a_span_in_which_nothing_was_recorded_says_so(client):
    record()
    content = text(client.get(f"/runs/soak/?from={START + 1_000}"))
    assert "Nothing is known of requests" in content
    assert "No numbers were recorded in this time." in content
    answer = client.get(f"/api/runs/soak/summary/?from={START + 1_000}").json()
    assert (answer["totals"], answer["series"]) == (None, [])


@pytest.mark.parametrize("path", ["/runs/soak/summary.json", "/api/runs/soak/summary/", "/api/v1/runs/soak/summary/"])
def test_the_summary_is_a_file_too(client, path):
    record()
    answer = client.get(path).json()
    totals = answer["totals"]
    assert (totals["requests"], totals["rate"], totals["peak_users"], totals["max_ms"]) == (600, 10.0, 5, 61.0)
    assert totals["percentiles"]["p50"] == pytest.approx(31, rel=0.011)
    rows = {row["field"]: row for row in answer["series"]}
    assert (rows["requests_total"]["mean"], rows["requests_total"]["last"]) == (None, 600)
    assert client.get(path.replace("soak", "nothing")).status_code == 404


def test_without_sketches_the_page_says_why_there_are_no_percentiles(client):
    record(sketched=False)
    content = text(client.get("/runs/soak/"))
    assert "Percentiles of everything are known only where sketches come with every metric." in content
    assert "Response p95" not in content
