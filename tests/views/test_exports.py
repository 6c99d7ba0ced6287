"""Recorded metrics as files: nothing that a producer sends becomes a formula, and no number becomes a text."""

import csv
import gzip
import io
import re

import msgspec
import pytest
from asgiref.sync import async_to_sync

from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.core.metrics.catalogue import AGENT, SYSTEM
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.models import MetricChunk
from metrics_stream.runs import series as run_series
from metrics_stream.views import exports
from metrics_stream.views.exports import COLUMNS, csv_pieces, ndjson_pieces
from tests.support.documents import DOCS, code_blocks
from tests.support.recording import Recording, record_run, start_run
from tests.support.recording import metric as recorded_metric
from tests.support.responses import body_of, csv_of, text

AT = "1970-01-01T00:01:40.500000Z"


def metric(data, *, metric_type=SYSTEM, source="host1"):
    return encode_metric(metric_type, data, timestamp=100.5, source=source, max_bytes=100_000)


def rows(*metrics):
    """Return the rows of the file as a program reads them, without the first."""
    text = b"".join(csv_pieces(metrics, rows=3)).decode()
    first, *rest = csv.reader(io.StringIO(text, newline=""))
    assert tuple(first) == COLUMNS
    return rest


def values(*metrics):
    return [row[3:] for row in rows(*metrics)]


def test_a_value_is_a_row():
    assert rows(metric({"throughput_tps": 950.5, "queue_depth": 3})) == [
        [AT, "system", "host1", "", "throughput_tps", "950.5"],
        [AT, "system", "host1", "", "queue_depth", "3"],
    ]


def test_no_metrics_are_a_file_with_a_head():
    assert b"".join(csv_pieces([], rows=10)) == b"timestamp,metric_type,source,agent_id,field,value\r\n"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (-3.25, "-3.25"),
        (-5, "-5"),
        (1e-9, "1e-09"),
        (12345678901234567, "12345678901234567"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ("healthy", "healthy"),
        ('says "no", twice\nor so', 'says "no", twice\nor so'),
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-5", "'-5"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "'\r'=1"),
        ("x;=1", "x;'=1"),
        ("x;-5", "x;'-5"),
        ("a, -5", "a, -5"),
        ("1=1", "1=1"),
    ],
)
def test_texts_are_no_formulas_and_numbers_stay_numbers(value, cell):
    assert values(metric({"field": value})) == [["", "field", cell]]


HOSTILE = [
    f"{before}{sign}SUM(A1)"
    for before in ("", " ", "x;", "x\t", "x\n", 'x;"', 'x,";', "x;\r\n", "\u3000", "\u200b", ";;", '"', "';", 'x"\n"')
    for sign in "=+-@＝＋－＠"
]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_reader_finds_a_formula_in_any_cell(delimiter):
    agents = [{"agent_id": text, text: text, "cost": -5.5} for text in HOSTILE]
    # Ids with control characters come only from programs that do not use the helper.
    metrics = [
        msgspec.structs.replace(made, body=made.body.replace(b'[{"agent_id":"a"}]', msgspec.json.encode(agents)))
        for made in (metric([{"agent_id": "a"}], metric_type=AGENT, source=text) for text in HOSTILE)
    ]
    written = b"".join(csv_pieces(metrics, rows=100)).decode()
    cells = [cell for row in csv.reader(io.StringIO(written, newline=""), delimiter=delimiter) for cell in row]
    assert len(cells) > 10_000 or delimiter != ","
    for cell in cells:
        begin = cell.lstrip("\ufeff\u200b\"' \t\r\n\u3000") if not cell.startswith("'") else ""
        assert not begin.startswith(tuple("=+-@＝＋－＠")) or begin == "-5.5", cell
    assert ("-5.5" in cells) == (delimiter == ",")


def test_the_code_of_the_page_restores_every_text():
    [code] = [block for block in code_blocks(DOCS / "runs.md", "python") if "ADDED" in block]
    names: dict[str, re.Pattern[str]] = {}
    exec(code.partition("with open")[0], names)
    for text_ in [*HOSTILE, "'=1", "''=1", "'", "x;'-'", "plain", "it's", "-", "a\t'b"]:
        [[_, _, cell]] = values(metric({"field": text_}))
        assert names["ADDED"].sub("", cell) == text_


def test_names_are_no_formulas_either():
    agents = [{"agent_id": "=cmd", "@load": 1}]
    assert rows(metric(agents, metric_type=AGENT, source="+host")) == [[AT, "agent", "'+host", "'=cmd", "'@load", "1"]]


def test_fields_inside_objects_and_lists_are_named_by_their_path():
    data = {"cost": {"ec2": {"spot": 1.5}, "rds": 2}, "nodes": [{"id": "a", "up": True}, "b"], "none": {}, "empty": []}
    assert values(metric(data)) == [
        ["", "cost.ec2.spot", "1.5"],
        ["", "cost.rds", "2"],
        ["", "nodes.0.id", "a"],
        ["", "nodes.0.up", "true"],
        ["", "nodes.1", "b"],
    ]


@pytest.mark.parametrize(
    ("metric_type", "data"),
    [
        (AGENT, [{"agent_id": "a1", "load": 0.5}, {"agent_id": 2, "load": 0.25}]),
        (SYSTEM, {"agents": [{"agent_id": "a1", "load": 0.5}, {"agent_id": 2, "load": 0.25}]}),
        (SYSTEM, {"agents": {"a1": {"load": 0.5}, "2": {"agent_id": "2", "load": 0.25}}}),
    ],
)
def test_values_of_an_agent_name_it(metric_type, data):
    assert values(metric(data, metric_type=metric_type)) == [["a1", "load", "0.5"], ["2", "load", "0.25"]]


def test_agents_that_are_none_are_ordinary_fields():
    assert values(metric({"agents": 5})) == [["", "agents", "5"]]
    assert values(metric({"agents": {"a1": 0.5}})) == [["", "agents.a1", "0.5"]]


def test_sketches_are_no_values():
    sketch = {"response_time_ms": {"accuracy": 0.01, "bins": {"231": 5}, "zeros": 0}}
    assert values(metric({"tps": 1, "sketches": sketch})) == [["", "tps", "1"]]
    assert values(metric([{"agent_id": "a", "tps": 1, "sketches": sketch}], metric_type=AGENT)) == [["a", "tps", "1"]]


def test_what_is_nested_without_end_is_written_as_json():
    body = b'{"timestamp":"%s","data":{"deep":%s1%s}}' % (AT.encode(), b"[" * 500, b"]" * 500)
    [[_, field, value]] = values(Metric("system", "host1", 100.5, (), body))
    assert field == "deep" + ".0" * 50
    assert value == "[" * 450 + "1" + "]" * 450


def test_the_csv_file_comes_in_pieces_of_rows():
    many = [metric({"a": number, "b": number}) for number in range(10)]
    pieces = list(csv_pieces(many, rows=5))
    assert [piece.count(b"\r\n") for piece in pieces] == [5, 5, 5, 5, 1]


def test_pieces_are_made_when_they_are_asked_for():
    taken = []
    source = (taken.append(number) or metric({"a": number}) for number in range(100))
    next(csv_pieces(source, rows=10))
    assert len(taken) == 9


def test_ndjson_holds_the_metrics_as_they_were():
    bodies = [metric({"a": number, "text": "é"}).body for number in range(2_000)]
    metrics = [Metric("system", "host1", 100.5, (), body) for body in bodies]
    pieces = list(ndjson_pieces(metrics, lines=7))
    assert len(pieces) > 1
    assert gzip.decompress(b"".join(pieces)) == b"".join(body + b"\n" for body in bodies)
    assert list(ndjson_pieces(metrics, lines=7)) == pieces


def test_ndjson_of_nothing_is_an_empty_file():
    assert gzip.decompress(b"".join(ndjson_pieces([], lines=10))) == b""


# --- downloads ---


@pytest.mark.django_db
def test_csv_has_every_value_of_the_run(client):
    record_run(60)
    response = client.get("/runs/soak/export.csv")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="soak.csv"'
    head, *rows = csv_of(response)
    assert head == ["timestamp", "metric_type", "source", "agent_id", "field", "value"]
    assert len(rows) == 120
    assert rows[8] == ["2027-01-15T08:00:04.000000Z", "system", "web-1", "", "throughput_tps", "500.0"]


@pytest.mark.django_db
def test_ndjson_has_the_metrics_as_they_were_published(client):
    _, metrics = record_run(60)
    response = client.get("/runs/soak/export.ndjson.gz")
    assert response.headers["Content-Type"] == "application/gzip"
    assert "Content-Encoding" not in response.headers
    assert response.headers["Content-Disposition"] == 'attachment; filename="soak.ndjson.gz"'
    assert gzip.decompress(body_of(response)).splitlines() == [item.body for item in metrics]


@pytest.mark.django_db
def test_file_of_a_run_that_goes_on_ends_where_it_was_and_says_so(client):
    start_run()
    recording = Recording("soak")
    recording.record(recorded_metric(0), recorded_metric(1))
    response = client.get("/runs/soak/export.csv")
    recording.record(recorded_metric(2), recorded_metric(3))
    assert re.fullmatch(r'attachment; filename="soak-until-\d{8}-\d{6}\.csv"', response.headers["Content-Disposition"])
    assert [row[-1] for row in csv_of(response)] == ["value", "0", "1"]
    assert len(csv_of(client.get("/runs/soak/export.csv"))) == 5


@pytest.mark.django_db
def test_file_of_a_run_without_metrics_is_empty(client):
    start_run()
    assert len(csv_of(client.get("/runs/soak/export.csv"))) == 1
    assert gzip.decompress(body_of(client.get("/runs/soak/export.ndjson.gz"))) == b""


@pytest.mark.django_db
def test_head_of_a_file_reads_nothing_of_the_run(client, django_assert_max_num_queries):
    record_run(60)
    with django_assert_max_num_queries(2):
        response = client.head("/runs/soak/export.csv")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Disposition"] == 'attachment; filename="soak.csv"'


@pytest.mark.django_db
def test_file_comes_in_pieces_that_are_made_as_they_are_sent(client):
    record_run(600)
    response = client.get("/runs/soak/export.csv")

    async def read():
        return await anext(aiter(response))

    assert async_to_sync(read)().count(b"\r\n") == exports.PIECE_ROWS


@pytest.mark.django_db
def test_file_of_a_run_that_is_deleted_meanwhile_breaks_off(client):
    run, _ = record_run(600)
    response = client.get("/runs/soak/export.csv")
    run.delete()
    with pytest.raises(MetricsStreamError, match="600 metrics of the test run 'soak' were deleted while"):
        body_of(response)


@pytest.mark.django_db
def test_run_of_which_only_the_series_are_kept_says_so(client):
    run, _ = record_run(60)
    MetricChunk.objects.filter(run=run).delete()
    for address in ("/runs/soak/export.csv", "/runs/soak/export.ndjson.gz"):
        response = client.get(address)
        assert (response.status_code, response.content.decode()) == (410, exports.GONE)
    response = client.get("/runs/soak/")
    assert "not kept any more" in text(response)
    assert "export.csv" not in response.content.decode()
    assert "Throughput throughput_tps 60" in text(response)
    assert run_series.summary(run)
