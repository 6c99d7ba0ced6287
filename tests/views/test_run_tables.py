"""The tables of requests and errors on the page of a run: their order, their words, and what a viewer may see."""

import re

import pytest

from metrics_stream.core.metrics.keys import OTHER
from tests.support.recording import START, Recording, metric, start_run
from tests.support.responses import text

pytestmark = pytest.mark.django_db

NAMES = {"/": (10, 0, 5.0), "/cart": (4, 1, 80.0), "/pay": (2, 3, 300.0), "/slow": (1, 0, 2_000.0)}


def record(*more):
    run, recording = start_run(), Recording("soak")
    for at in range(11):
        rows = [
            {
                **{"name": name, "method": "GET", "requests_total": each * at, "requests_failed": failed},
                "avg_response_time_ms": mean_ms,
            }
            for name, (each, failed, mean_ms) in NAMES.items()
        ]
        recording.record(metric(at, [*rows, *more], metric_type="request"))
        errors = [{"name": "/pay", "method": "GET", "message": "<b>declined</b>", "occurrences_total": 3}]
        errors.append({"name": "/cart", "method": "GET", "message": "timeout", "occurrences_total": 1})
        recording.record(metric(at, errors, metric_type="error"))
    return recording.end(run)


def names_on(client, query=""):
    content = client.get(f"/runs/soak/{query}").content.decode()
    table = content.partition('id="requests-title"')[2].partition("</table>")[0]
    return re.findall(r"</span>\s*(\S+)\s*</th>", table), table


def test_the_worst_row_comes_first(client):
    record()
    names, _ = names_on(client)
    assert names == ["/pay", "/cart", "/slow", "/"]


@pytest.mark.parametrize(
    ("sort", "order", "names"),
    [
        ("requests", "descending", ["/", "/cart", "/pay", "/slow"]),
        ("-requests", "ascending", ["/slow", "/pay", "/cart", "/"]),
        ("name", "ascending", ["/", "/cart", "/pay", "/slow"]),
        ("-name", "descending", ["/slow", "/pay", "/cart", "/"]),
        ("mean", "descending", ["/slow", "/pay", "/cart", "/"]),
        ("nonsense", None, ["/pay", "/cart", "/slow", "/"]),
    ],
)
def test_the_address_says_the_order(client, sort, order, names):
    record()
    found, table = names_on(client, f"?sort={sort}")
    assert found == names
    assert re.findall(r'aria-sort="(\w+)"', table) == ([order] if order else [])


def test_a_heading_turns_the_order_round_and_keeps_the_span(client):
    record()
    span = f"from={START + 2:.0f}&to={START + 8:.0f}"
    _, table = names_on(client, f"?{span}&sort=requests")
    links = re.findall(r'href="\?([^"#]+)#requests-title">(\w+)', table)
    assert (f"{span}&sort=-requests".replace("&", "&amp;"), "Requests") in links
    assert (f"{span}&sort=name".replace("&", "&amp;"), "Request") in links
    assert "p95" not in table  # no sketch came, so nothing is known of it


def test_what_was_folded_together_comes_last(client):
    record({"name": OTHER, "requests_total": 9_000, "requests_failed": 500})
    content = client.get("/runs/soak/?sort=requests").content.decode()
    assert content.index("/slow") < content.index(OTHER)
    assert "data-other" in content


def test_errors_are_texts_with_their_share(client):
    record()
    content = client.get("/runs/soak/").content.decode()
    assert "<b>declined" not in content
    shown = text(client.get("/runs/soak/"))
    assert "Errors Error Request Occurrences Of all" in shown
    assert re.search(r"declined\S* GET /pay 3 75\.0 % timeout GET /cart 1 25\.0 %", shown)


def test_the_summary_file_has_every_row_and_no_series_of_them(client):
    record()
    found = client.get("/runs/soak/summary.json").json()
    assert {row["label"]: (row["requests"], row["failures"]) for row in found["requests"]} == {
        "GET /": (100, 0),
        "GET /cart": (40, 1),
        "GET /pay": (20, 3),
        "GET /slow": (10, 0),
    }
    assert found["requests"][0]["key"] == {"name": "/", "method": "GET"}
    assert [(error["key"]["message"], error["occurrences"]) for error in found["errors"]] == [
        ("<b>declined</b>", 3),
        ("timeout", 1),
    ]
    assert found["series"] == []
    assert found["totals"]["requests"] == 170


def test_a_run_without_requests_has_no_table(client):
    run, recording = start_run(), Recording("soak")
    recording.record(metric(1), metric(2))
    recording.end(run)
    content = client.get("/runs/soak/").content.decode()
    assert "requests-title" not in content
    assert "errors-title" not in content
    assert "wide.csv" not in content
