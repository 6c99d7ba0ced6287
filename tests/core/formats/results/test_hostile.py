"""Whatever the bytes of a result file are, it is read or refused with words."""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results import file, samples
from metrics_stream.core.formats.results.reading import FORMATS, read_results
from tests.core.formats.results.test_reading import FILES, load

NAMES = sorted(path.name for path in FILES.iterdir())
LOCUST = (
    "Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,"
    "Max Response Time,Average Content Size,Requests/s,Failures/s,50%,95%"
)
HEY = "response-time,DNS+dialup,DNS,Request-write,Response-delay,Response-read,status-code,offset"
JTL = "timeStamp,elapsed,label,success"


def refused(content: str | bytes, form: str | None = None) -> str:
    """Return the words with which a file is refused."""
    with pytest.raises(ResultFileError) as caught:
        read_results(content.encode() if isinstance(content, str) else content, form)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("\ufeff\r\n \n", "the file is empty"),
        ("\0\0\0", "the file is empty"),
        (
            "hello\nworld",
            "the file is of no known format; it begins with 'hello'. Allowed: locust: Locust's …_stats.csv;",
        ),
        ("{", "the file is not JSON: "),
        ("{}", "of no known format"),
        ('{"a": NaN}', "the file is not JSON: "),
        ('{"a": 1e999}', "does not fit 64 bits"),
        ("{" + '"a":{' * 100_000, "nested too deeply"),
        (load("locust_failures.csv"), "another file of Locust; allowed: Locust's …_stats.csv"),
        (load("locust_stats_history.csv"), "another file of Locust; allowed: Locust's …_stats.csv"),
        (f"{LOCUST}\n", "no row 'Aggregated'; is it complete?"),
        (f"{LOCUST}\nGET,/,1", "line 2 has 3 columns, the first has 13 (is the file complete?)"),
        (f"{LOCUST}\n,Aggregated,1,0,1,1,1,1,1,1,0,1,1,1", "line 2 has 14 columns, the first has 13"),
        (f'{LOCUST}\nGET,"/,1,0', "line 2 is no row of a table: unexpected end of data"),
        (f"{LOCUST}\nGET,\0,1,0", "the file has bytes that are 0; allowed: text as UTF-8, or"),
        (f"{LOCUST}\n" + 2 * ",Aggregated,1,0,1,1,1,1,1,1,0,1,1\n", "two rows 'Aggregated'"),
        (f"{LOCUST}\n,Aggregated,1,2,1,1,1,1,1,1,0,1,1", "is 2; allowed: at most the Request Count, 1"),
        (f'{LOCUST}\n,Aggregated,"1,234",0,1,1,1,1,1,1,0,1,1', "is '1,234'; allowed: a number such as 1234.5, without"),
        (f"{LOCUST}\n,Aggregated,1234,0,1,'1.5,1,1,1,1,0,1,1", 'Average is "\'1.5"; allowed: a number'),
        (f"{LOCUST}\n,Aggregated,1.5,0,1,1,1,1,1,1,0,1,1", "is '1.5'; allowed: a whole number"),
        (f"{LOCUST}\n,Aggregated,,0,1,1,1,1,1,1,0,1,1", "is ''; allowed: a whole number"),
        (f"{LOCUST}\n,Aggregated,-1,0,1,1,1,1,1,1,0,1,1", "is -1.0; allowed: a number from 0"),
        (f"{LOCUST}\n,Aggregated,inf,0,1,1,1,1,1,1,0,1,1", "is 'inf'; allowed: a number"),
        (f"{LOCUST}\n,Aggregated,1e300,0,1,1,1,1,1,1,0,1,1", "allowed: a number from 0 to 9007199254740992"),
        (f"{LOCUST}\n,Aggregated,١,0,1,1,1,1,1,1,0,1,1", "is '١'; allowed: a number"),
        (f"{LOCUST},Name\n", "the first line names a column twice"),
        (f"{HEY}\n0.1,0,0,0,0,0,abc,0", "status-code is 'abc'; allowed: a number"),
        (f"{HEY}\n,0,0,0,0,0,200,0", "response-time is missing"),
        (f"{HEY}\n0.1,0,0,0,0,0,200,0\n0.1,0,0,0,0,0,200,9999999", "spread over more than 31 days"),
        (
            f"{JTL}\n2026/11/29 10:00:00,5,a,true",
            "timeStamp is '2026/11/29 10:00:00'; allowed: milliseconds since 1970",
        ),
        (f"{JTL}\n1,NaN,a,true", "elapsed is missing"),
        (f"{JTL}\n1,5,a,maybe", "success is 'maybe'; allowed: true or false"),
        ("timeStamp,label,elapsed\n" + "1,2\n", "line 2 has 2 columns"),
        ('<?xml version="1.0"?><testResults>', "the file is not XML: no element found"),
        ('<testResults version="1.2"><sample t="1"/></testResults>', "timeStamp is missing"),
        ('<testResults version="1.2"><sample t="x" ts="1"/></testResults>', "elapsed is 'x'; allowed: a number"),
        ("<a><testResults/></a>", "the outermost element is 'a'; allowed: 'testResults'"),
        ("<testResults>" + "<a>" * 200, "deeper than 100"),
        ('<?xml version="1.0" encoding="nonsense"?><testResults/>', "the file is not XML: unknown encoding"),
        ("Running 1s test @ x\n 1 threads and 1 connections\n Thread Stats", "'Requests/sec'; is it complete?"),
        (load("ab.txt").partition(b"Requests per second")[0], "no line 'Requests per second'; is it complete?"),
        (load("ab.csv").rpartition(b"100,")[0], "ends before 100 %; is it complete?"),
        (load("hey.txt").partition(b"Status code")[0], "no status codes; is it complete?"),
        (load("siege.txt").partition(b"Failed trans")[0], "no line 'failed transactions'; is it complete?"),
        (load("autocannon.json")[:-300], "the file is not JSON: "),
        (load("wrk.txt").replace(b"1127 requests", b"1.127 requests"), "requests is '1.127'; allowed: a whole number"),
        (load("wrk.txt").replace(b"3.52ms", b"3,52ms"), "50% is '3,52ms'; allowed: a time such as 3.52ms"),
        (load("hey.txt").replace(b"464.1831", b"464,1831"), "Requests/sec is '464,1831'; allowed: a number"),
        (load("ab.txt") + b"x" * 2_000_000, "the report has 2,001,249 bytes; allowed: 1,048,576"),
        ('{"aggregate": {"requestsCompleted": 5, "codes": {"200": 5}}}', "Artillery 1; allowed: those of Artillery 2"),
        ('{"aggregate": {}}', "`aggregate.counters` is missing"),
        ('{"aggregate": {"counters": {"http.requests": true}}}', "http.requests is true; allowed: a number"),
        ('{"metrics": {"vus": {}}}', "no metric http_reqs"),
        ('{"metrics": {"http_reqs": {}}}', "count of http_reqs is missing"),
        ('{"latency": {}, "requests": {}, "throughput": {}}', "requests.total is missing"),
    ],
    ids=lambda value: str(value[:40]),
)
def test_a_broken_file_is_refused_with_words(content, words):
    assert words in refused(content)


def test_an_unknown_format_is_named_with_those_that_are_known():
    assert refused(load("wrk.txt"), "gatling") == f"unknown format 'gatling'; allowed: {', '.join(FORMATS)}"


def test_a_row_of_no_requests_has_no_times():
    totals = read_results(f"{LOCUST}\n,Aggregated,0,0,0,0,0,0,0,0,0,N/A,N/A".encode()).totals
    assert (totals.requests, totals.failures, totals.mean_ms, totals.percentiles_ms) == (0, 0, None, {})
    assert totals.failure_ratio is None


@pytest.mark.parametrize("content", [f"{JTL}\n", "<testResults/>", f"{HEY}\r\n"])
def test_a_file_without_requests_has_none(content):
    totals = read_results(content.encode()).totals
    assert (totals.requests, totals.rate, totals.duration_seconds, totals.max_ms) == (0, None, None, None)


def test_no_entity_of_xml_is_read():
    bomb = (
        '<?xml version="1.0"?><!DOCTYPE testResults [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        '<testResults><sample t="1" ts="1" lb="&b;"/></testResults>'
    )
    outside = '<?xml version="1.0"?><!DOCTYPE testResults SYSTEM "file:///etc/passwd"><testResults/>'
    for content in (bomb, outside):
        assert refused(content) == "the XML has a document type; allowed: none, as JMeter writes it"


def test_a_file_is_bounded(monkeypatch):
    monkeypatch.setattr(file, "MAX_BYTES", 100)
    assert refused(b"x" * 101) == "the file has 101 bytes; allowed: at most 100"
    monkeypatch.undo()
    monkeypatch.setattr(samples, "MAX_REQUESTS", 2)
    assert "more than 2 requests" in refused(f"{JTL}\n" + "1,5,a,true\n" * 3)


def test_names_are_bounded_in_number_and_length(monkeypatch):
    monkeypatch.setattr(samples, "MAX_NAMES", 2)
    rows = "".join(f"1,5,{'x' * 2_000 if number == 0 else number},true\n" for number in range(5))
    results = read_results(f"{JTL}\n{rows}{rows}".encode())
    assert ([len(row.name) for row in results.by_name], results.names_left_out) == ([500, 1], 3)
    assert results.totals.requests == 10


def test_the_course_of_a_very_long_test_is_left_out(monkeypatch):
    monkeypatch.setattr(samples, "MAX_INTERVALS", 2)
    results = read_results(f"{JTL}\n1000,5,a,true\n2000,5,a,true\n3000,5,a,true\n4000,5,a,true".encode())
    assert (results.intervals, results.totals.requests) == ((), 4)


def test_numbers_that_are_not_there_are_unknown():
    document = {"metrics": {"http_reqs": {"count": 0, "rate": 0}, "http_req_duration": {"avg": None, "p(95)": None}}}
    totals = read_results(json.dumps(document).encode()).totals
    assert (totals.requests, totals.failures, totals.mean_ms, totals.percentiles_ms) == (0, None, None, {})
    text = load("hey_refused.txt").decode()
    assert "NaN" in text
    assert read_results(text.encode()).totals.mean_ms is None


def test_a_large_file_is_read_in_a_bounded_time():
    rows = "".join(f"{number * 10},{number % 500},name {number % 7},true\n" for number in range(30_000))
    began = time.process_time()
    assert read_results(f"{JTL}\n{rows}".encode()).totals.requests == 30_000
    text = load("siege.txt").decode() + " \t" * 100_000 + "\n" + "{" * 100_000
    assert read_results(text.encode(), "siege").totals.requests == 100
    assert time.process_time() - began < 5


# --- anything at all ---


def read_or_refuse(content: bytes) -> None:
    for form in (None, *FORMATS):
        try:
            read_results(content, form)
        except ResultFileError as error:
            assert str(error)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(NAMES), data=st.data())
def test_a_file_with_a_changed_part_is_read_or_refused(name, data):
    content = load(name)
    begin = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(begin, min(len(content), begin + 60)))
    part = data.draw(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from(
                [b"", b"NaN", b"-1", b"1e400", b"9" * 400, b'"', b",", b"\x00", b"null", b"[]", b"{}", b"1,5"]
            ),
        )
    )
    read_or_refuse(content[:begin] + part + content[end:])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(NAMES), share=st.floats(0, 1))
def test_a_file_that_ends_early_is_read_or_refused(name, share):
    content = load(name)
    read_or_refuse(content[: int(len(content) * share)])


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content):
    read_or_refuse(content)


KEYS = st.sampled_from(
    [
        *("metrics", "results", "aggregate", "counters", "summaries", "latency", "requests", "throughput", "total"),
        *("http_reqs", "values", "count", "http_req_duration", "p(95)", "avg", "name", "state", "testRunDurationMs"),
        *(
            "http.requests",
            "http.codes.500",
            "http.response_time",
            "firstMetricAt",
            "lastMetricAt",
            "duration",
            "start",
        ),
        *("config", "metadata", "generatedAt", "errors", "passes", "plugins.metrics-by-endpoint.a.codes.500"),
    ]
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYS, st.text(max_size=4)), inner)),
    max_leaves=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=st.dictionaries(KEYS, DOCUMENTS))
def test_any_document_is_read_or_refused(document):
    read_or_refuse(json.dumps(document).encode(errors="replace"))
