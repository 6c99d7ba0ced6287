"""Publishing over HTTP by real programs at a real server, and the examples of the documents."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from examples import k6_metrics
from metrics_stream import native_threads
from metrics_stream.broadcast import Broadcaster
from metrics_stream.conf import get_settings
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import open_history
from tests.support.programs import PATCH, WITHOUT, example, in_thread, program
from tests.support.stack import ROOT, Stack, StackWithTokens

# One process makes all tokens, since each process takes a second to start.
MAKE_TOKENS = """
import json
from metrics_stream.models import AccessToken

def make(name, **values):
    return AccessToken.issue(**{"name": name, "scopes": ["publish"], "metric_types": ["all"], **values})

revoked, revoked_text = make("revoked")
revoked.revoke()
narrow = make("narrow", metric_types=["system"], sources=["narrow"])[1]
print(json.dumps({"any": make("any")[1], "narrow": narrow, "revoked": revoked_text}))
"""


class Server(StackWithTokens):
    MAKE_TOKENS = MAKE_TOKENS


@pytest.fixture(scope="module")
def server(valkey_url, tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("ingest"), valkey_url)
    running.prepare()
    running.start()
    yield running
    running.stop()


async def published(source):
    """Return the metrics of a source in the history on the server's Valkey."""
    history, is_last = open_history(get_settings()), False
    position = Position("", dict.fromkeys(("system", "agent", "request", "error"), 0))
    found = []
    while not is_last:  # Other tests have published there as well.
        page = await history.since(position)
        found += [metric for batch in page.batches for metric in batch.metrics if metric.source == source]
        position, is_last = page.position, page.is_last
    return [json.loads(metric.body) for metric in found]


@pytest.mark.valkey
@pytest.mark.parametrize("start", [WITHOUT, PATCH + WITHOUT], ids=["plain", "patched by gevent"])
async def test_a_program_without_django_channels_and_redis_publishes(server, valkey_layer, start):
    source = f"bare-{len(start)}"
    token = server.tokens["any"]
    code = f"""
        with Broadcaster(source={source!r}, url=url, token=token) as stream:
            for n in range(1000):
                stream.broadcast_system_metrics({{"n": n}})
            stream.broadcast_agent_metrics({{"agent_id": "a", "n": 1000}})
            assert stream.flush(20), stream.last_error
            print(stream.published, stream.dropped, stream.queued)
        assert "django" not in sys.modules and "redis" not in sys.modules
    """
    done = await in_thread(program, code, server, token, start=start)
    assert done.stdout.split() == ["1001", "0", "0"]
    assert [body["data"]["n"] for body in await published(source) if body["metric_type"] == "system"] == [*range(1000)]
    assert done.stderr == ""


@pytest.mark.valkey
async def test_refused_metrics_are_logged_once_for_each_kind(server, valkey_layer):
    token = server.tokens["narrow"]
    code = """
        with Broadcaster(source="narrow", url=url, token=token) as stream:
            for n in range(3):
                stream.broadcast_system_metrics({"n": n})
                stream.broadcast_hero_metrics({"n": n})
                stream.broadcast_system_metrics({"n": n}, source="elsewhere")
                stream.broadcast("cloudwatch", {"n": n})
                assert not stream.flush(20)
            print(stream.published, stream.dropped)
    """
    done = await in_thread(program, code, server, token)
    assert done.stdout.split() == ["3", "9"]
    assert [body["data"]["n"] for body in await published("narrow")] == [0, 1, 2]
    lines = sorted(done.stderr.splitlines())
    assert len(lines) == 2
    assert "1 metrics were refused as unknown_source" in lines[0]
    assert "2 metrics were refused as unknown_metric_type, the first: metric_type: unknown metric type" in lines[1]


@pytest.mark.valkey
async def test_a_revoked_token_ends_publishing_but_not_the_program(server, valkey_layer):
    token = server.tokens["revoked"]
    code = """
        stream = Broadcaster(url=url, token=token)
        stream.broadcast_system_metrics({"n": 1})
        assert not stream.flush(20)
        stream.broadcast_system_metrics({"n": 2})
        print(stream.published, stream.dropped, stream.queued)
        print(stream.last_error)
        stream.close()
    """
    done = await in_thread(program, code, server, token)
    counts, error = done.stdout.splitlines()
    assert counts == "0 2 0"
    assert error.endswith("answered 401: the token has been revoked")
    assert done.stderr.count("publishing has ended for good") == 1


@pytest.mark.valkey
async def test_an_outage_of_the_server_loses_and_repeats_nothing(server, valkey_url, valkey_layer, tmp_path):
    token = server.tokens["any"]
    server = Stack(tmp_path, valkey_url, DATABASE_URL=server.environment["DATABASE_URL"])
    stream = Broadcaster(source="patient", url=server.url, token=token)
    for n in range(100):
        stream.broadcast_system_metrics({"n": n})
    assert await in_thread(native_threads.wait_until, lambda: stream.last_error, 10)
    assert "could not be reached" in stream.last_error
    await in_thread(server.start)
    try:
        assert await in_thread(stream.close, 20)
    finally:
        await in_thread(server.stop)
    assert (stream.published, stream.dropped) == (100, 0)
    assert [body["data"]["n"] for body in await published("patient")] == [*range(100)]


@pytest.mark.valkey
async def test_a_real_server_cuts_off_a_body_that_is_too_large(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = "POST /api/metrics/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 100000000\r\n\r\n".encode() + b" " * 1_000_001)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"error": "too_large"' in answer


@pytest.mark.valkey
@pytest.mark.parametrize(
    ("argv", "language", "word", "source"),
    [
        (["sh", "-c"], "sh", "/api/metrics/", "curl"),
        (["node", "--input-type=module", "-e"], "js", "fetch", "node"),
        ([sys.executable, "-c"], "python", "load-2", "load-2"),
    ],
    ids=["curl", "JavaScript", "Python"],
)
async def test_the_examples_of_the_documents_publish(server, valkey_layer, argv, language, word, source):
    if shutil.which(argv[0]) is None or (language == "sh" and shutil.which("curl") is None):
        pytest.skip(f"there is no {argv[0]} here")
    code = (WITHOUT if language == "python" else "") + example(word, language)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    environment |= {"METRICS_URL": server.url, "METRICS_TOKEN": server.tokens["any"]}
    done = await in_thread(
        subprocess.run, [*argv, code], env=environment, capture_output=True, text=True, timeout=30, check=True
    )
    assert "error" not in done.stdout
    bodies = await published(source)
    assert bodies[0]["data"]["throughput_tps"] == 950
    assert [body["metric_type"] for body in bodies] == ["system", "agent"][: len(bodies)]


TAGS = {"group": "", "method": "GET", "name": "http://127.0.0.1/", "scenario": "default", "status": "200"}


def point(metric, second, value):
    """Return a line as k6 writes it with `--out json`: the times have nanoseconds."""
    data = {"time": f"2026-01-31T12:00:{second:012.9f}Z", "value": value, "tags": TAGS}
    return json.dumps({"metric": metric, "type": "Point", "data": data})


def start_k6_example(server, token):
    return subprocess.Popen(
        [sys.executable, "-c", WITHOUT + "import runpy; runpy.run_path('examples/k6_metrics.py', run_name='__main__')"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "METRICS_URL": server.url} | ({"METRICS_TOKEN": token} if token else {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.valkey
async def test_samples_of_k6_become_metrics_by_their_own_time(server, valkey_layer):
    # k6 writes the samples of 0.2 s at a time; here all of them come at once.
    lines = ['{"type":"Metric","data":{"name":"http_reqs"},"metric":"http_reqs"}', "running (1s), 2/2 VUs"]
    for number in range(225):
        second = 10 + number / 100
        lines += [
            point("http_reqs", second, 1),
            point("http_req_duration", second, number % 100 + 1.5),
            point("http_req_waiting", second, 1.25),
            point("http_req_failed", second, int(number < 5)),
        ]
        if number in (50, 150):
            lines += [point("vus", second, 2), point("vus_max", second, 4)]
    process = start_k6_example(server, server.tokens["any"])
    printed, errors = await in_thread(process.communicate, "\n".join(lines), timeout=30)
    assert (process.returncode, printed, errors) == (0, "running (1s), 2/2 VUs\n", "")
    everything = await published("k6")  # Another test publishes as k6, too.
    bodies = [body for body in everything if body["metric_type"] == "system"][-3:]
    rows = [body["data"] for body in everything if body["metric_type"] == "request"][-3:]
    errors_told = [body["data"] for body in everything if body["metric_type"] == "error"][-3:]
    names = ("throughput_tps", "requests_total", "requests_successful", "requests_failed", "error_rate", "users")
    assert [[body["data"][name] for name in names] for body in bodies] == [
        [100.0, 100, 95, 5, 0.05, 2],
        [100.0, 200, 195, 5, 0.0, 2],
        [None, 225, 220, 5, 0.0, 2],
    ]
    assert [body["timestamp"] for body in bodies] == [
        "2026-01-31T12:00:11.000000Z",
        "2026-01-31T12:00:12.000000Z",
        "2026-01-31T12:00:12.240000Z",
    ]
    assert bodies[0]["data"]["p95_response_time_ms"] == pytest.approx(96.5, rel=0.01)
    assert [len(of_second) for of_second in rows] == [1, 1, 1]
    for (row,), body in zip(rows, bodies, strict=True):
        key = {name: row.pop(name) for name in ("name", "method", "scenario", "status")}
        assert key == {"name": "http://127.0.0.1/", "method": "GET", "scenario": "default", "status": "200"}
        assert body["data"] | row == body["data"]
    message = {"name": "http://127.0.0.1/", "method": "GET", "message": "HTTP 200", "occurrences_total": 5}
    assert errors_told == [[message]] * 3


@pytest.mark.valkey
async def test_ctrl_c_does_not_stop_the_example_before_k6(server, valkey_layer):
    process = start_k6_example(server, server.tokens["any"])
    process.stdin.write((point("http_req_waiting", 1, 1) + "\n") * 1000)  # more than a pipe holds
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    printed, errors = await in_thread(process.communicate, point("http_reqs", 59, 1) + "\nsummary\n", timeout=30)
    assert (process.returncode, printed.splitlines()[-1], errors) == (0, "summary", "")
    assert (await published("k6"))[-1]["timestamp"] == "2026-01-31T12:00:59.000000Z"


def test_the_phase_follows_the_number_of_users():
    meter = k6_metrics.Meter()
    users = [1, 4, 8, 10, 10, 10, 10, 10, 10, 10, 6, 2, 0]
    phases = []
    for second, count in enumerate(users):
        meter.count(k6_metrics.Sample("vus", count, float(second)))
        phases.append(meter.phase)
    assert [phase for phase, before in zip(phases, ["", *phases], strict=False) if phase != before] == [
        "ramp-up",
        "steady",
        "ramp-down",
    ]


@pytest.mark.valkey
async def test_without_a_token_the_example_still_reads_the_output_of_k6(server):
    process = start_k6_example(server, None)
    samples = point("http_reqs", 1, 1) + "\n"
    printed, errors = await in_thread(process.communicate, samples * 1000 + "summary\n", timeout=30)
    assert (process.returncode, printed) == (1, "summary\n")
    assert errors.startswith("k6_metrics.py: nothing is published: set METRICS_URL and METRICS_TOKEN")
