"""`Broadcaster` over HTTP: real programs against a real server, and answers that a real server seldom gives."""

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from metrics_stream import native_threads
from metrics_stream.broadcast import Broadcaster, BroadcastError
from metrics_stream.broadcast import broadcaster as broadcast
from metrics_stream.broadcast import http as http_transport
from metrics_stream.broadcast import http_client as http_connection
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import MetricError
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import open_history
from tests.support.certificates import Authority
from tests.support.programs import CUT, PATCH, TOKEN, WITHOUT, Answers, answer, in_thread, program
from tests.support.stack import ROOT, Stack

# One process for all of them, since each takes its time to start.
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


class Server(Stack):
    """A real server whose database has some tokens."""

    def prepare(self):
        self.manage("migrate", "--verbosity", "0")
        self.tokens = json.loads(self.manage("shell", "--verbosity", "0", code=MAKE_TOKENS).splitlines()[-1])


@pytest.fixture(scope="module")
def server(valkey_url, tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("ingest"), valkey_url)
    running.prepare()
    running.start()
    yield running
    running.stop()


async def published(source):
    """Return what the history on the server's Valkey keeps of a source."""
    history, position, is_last = open_history(get_settings()), Position("", {"system": 0, "agent": 0}), False
    found = []
    while not is_last:  # other tests have published there as well
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
async def test_what_the_server_refuses_is_logged_once_for_each_kind(server, valkey_layer):
    token = server.tokens["narrow"]
    code = """
        with Broadcaster(source="narrow", url=url, token=token) as stream:
            for n in range(3):
                stream.broadcast_system_metrics({"n": n})
                stream.broadcast_hero_metrics({"n": n})
                stream.broadcast_system_metrics({"n": n}, source="elsewhere")
                stream.broadcast("cloudwatch", {"n": n})
                assert stream.flush(20), stream.last_error
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
async def test_a_token_that_is_revoked_ends_the_publishing_and_not_the_test(server, valkey_layer):
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
async def test_a_server_that_is_away_costs_nothing_and_nothing_comes_twice(server, valkey_url, valkey_layer, tmp_path):
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


# --- the examples ---


def example(language, word):
    """Return the block of docs/producers.md that holds a word."""
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / "docs/producers.md").read_text(), re.MULTILINE | re.DOTALL
    )
    [found] = [block for block in blocks if word in block]
    return found


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
    code = (WITHOUT if language == "python" else "") + example(language, word)
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
async def test_the_samples_of_k6_are_counted_into_metrics_by_their_own_time(server, valkey_layer):
    # As k6 does, in writes that hold the samples of 0.2 s; here all of them come at once.
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
    printed, said = await in_thread(process.communicate, "\n".join(lines), timeout=30)
    assert (process.returncode, printed, said) == (0, "running (1s), 2/2 VUs\n", "")
    bodies = (await published("k6"))[-3:]  # another test publishes as k6, too
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
    assert bodies[0]["data"]["p95_response_time_ms"] == pytest.approx(95.5, rel=0.01)


@pytest.mark.valkey
async def test_ctrl_c_leaves_the_end_to_k6(server, valkey_layer):
    process = start_k6_example(server, server.tokens["any"])
    process.stdin.write((point("http_req_waiting", 1, 1) + "\n") * 1000)  # more than a pipe holds: it reads
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    printed, said = await in_thread(process.communicate, point("http_reqs", 59, 1) + "\nsummary\n", timeout=30)
    assert (process.returncode, printed.splitlines()[-1], said) == (0, "summary", "")
    assert (await published("k6"))[-1]["timestamp"] == "2026-01-31T12:00:59.000000Z"


@pytest.mark.valkey
async def test_without_a_token_the_example_says_so_and_k6_is_not_left_without_a_reader(server):
    process = start_k6_example(server, None)
    samples = point("http_reqs", 1, 1) + "\n"
    printed, said = await in_thread(process.communicate, samples * 1000 + "summary\n", timeout=30)
    assert (process.returncode, printed) == (1, "summary\n")
    assert said.startswith("k6_metrics.py: nothing is published: set METRICS_URL and METRICS_TOKEN")


# --- answers ---


def ok(count):
    return answer(202, {"accepted": count})


async def publish_one(server, **options):
    """Publish one metric and return the closed Broadcaster."""
    stream = Broadcaster(url=server.url, token=TOKEN, **options)
    stream.broadcast_system_metrics({"n": 1})
    await in_thread(stream.close, 10)
    return stream


@pytest.fixture
def log(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("metrics_stream"), "propagate", True)
    return caplog


async def test_what_is_sent(log):
    async with Answers(ok(1)) as server:
        stream = await publish_one(server, source="me")
    [(headers, body)] = server.requests
    assert (stream.published, stream.dropped, stream.last_error) == (1, 0, None)
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-Type"] == "application/x-ndjson"
    assert headers["Host"] == server.url.removeprefix("http://")
    assert len(headers["Idempotency-Key"]) == 32
    item = json.loads(body)
    assert (item["metric_type"], item["source"], item["data"]) == ("system", "me", {"n": 1})
    assert log.records == []


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_asks_for_time_gets_it_and_the_same_key_again(status, monkeypatch, log):
    waits = []
    wait_for_close = Broadcaster._wait_for_close
    monkeypatch.setattr(
        Broadcaster, "_wait_for_close", lambda self, seconds: waits.append(seconds) or wait_for_close(self, 0.001)
    )
    busy = answer(status, {"error": "busy", "message": f"later, {TOKEN}"}, "Retry-After: 7")
    async with Answers(busy, busy, ok(1)) as server:
        stream = Broadcaster(url=server.url, token=TOKEN)
        stream.broadcast_system_metrics({"n": 1})
        assert await in_thread(stream.flush, 10)
        await in_thread(stream.close)
    assert [wait for wait in waits if wait >= 1] == [7.0, 7.0]
    keys = {headers["Idempotency-Key"] for headers, _ in server.requests}
    assert (len(server.requests), len(keys)) == (3, 1)
    assert (stream.published, stream.last_error) == (1, None)
    assert [record.getMessage().partition(":")[0] for record in log.records] == [
        "metrics wait to be published",
        "metrics are published again after 0.0 s",
    ]
    assert TOKEN not in log.text


async def test_one_connection_is_kept_and_one_that_was_closed_is_no_outage(log):
    async with Answers(ok(1), ok(1), ok(1)) as server:
        stream = Broadcaster(url=server.url, token=TOKEN)
        for n in range(2):
            stream.broadcast_system_metrics({"n": n})
            assert await in_thread(stream.flush, 10)
        assert server.connections == 1
        server.answers = [None, ok(1)]
        stream.broadcast_system_metrics({"n": 2})
        assert await in_thread(stream.close, 10)
    assert server.connections == 2
    assert (stream.published, log.records) == (3, [])


@pytest.mark.parametrize(
    "given",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + ok(1),
        b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'8\r\n{"accept\r\n6;a=b\r\ned":1}\r\n0\r\nX: y\r\n\r\n',
        b"HTTP/1.1 202 Accepted\r\nConnection: close" + CUT,
        b"HTTP/1.0 202 Accepted\nContent-Length: 0\n\n",
    ],
    ids=["continue", "chunked", "until the end", "bare line ends"],
)
async def test_every_form_of_an_answer_is_read(given):
    async with Answers(given) as server:
        assert (await publish_one(server)).published == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200, "more than 100 headers"),
        (b"HTTP/1.1 202 OK\r\nContent-Length: 99999999999\r\n\r\n", "bytes; allowed"),
        (b"HTTP/1.1 202 OK\r\nContent-Length: many\r\n\r\n", "invalid literal"),
        (b"HTTP/1.1 202 OK\r\nA: " + b"b" * 100_000, "could not be reached"),
        (answer(404, "nothing here"), "answered 404"),
        (answer(302, {}, "Location: /login/"), "answered 302"),
        (answer(500, [TOKEN]), "answered 500"),
    ],
    ids=["ssh", "headers", "huge", "no number", "long line", "404", "302", "500"],
)
async def test_what_is_no_answer_is_an_outage_and_tried_again(given, said, monkeypatch, log):
    monkeypatch.setattr(broadcast, "RESEND_SECONDS", (0.001, 0.001))
    async with Answers(given, ok(1)) as server:
        stream = Broadcaster(url=server.url, token=TOKEN)
        stream.broadcast_system_metrics({"n": 1})
        assert await in_thread(stream.flush, 10)
        await in_thread(stream.close)
    assert stream.published == 1
    assert said in log.records[0].getMessage()
    assert TOKEN not in log.text


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_request_that_is_refused_as_a_whole_is_dropped(status, log):
    async with Answers(answer(status, {"error": "too_large", "message": "too much"})) as server:
        stream = await publish_one(server)
    assert (stream.published, stream.dropped) == (0, 1)
    assert f"answered {status}: too much" in log.text


async def test_metrics_leave_in_portions(monkeypatch):
    monkeypatch.setattr(http_transport, "MAX_BATCH_BYTES", 1_000)
    async with Answers(*(ok(1) for _ in range(3))) as server:
        stream = Broadcaster(url=server.url, token=TOKEN)
        stream.broadcast_many([{"metric_type": "system", "data": {"text": "x" * 600}} for _ in range(3)])
        assert await in_thread(stream.close, 10)
    assert (len(server.requests), stream.published) == (3, 3)


async def test_tls_is_verified(tmp_path, monkeypatch):
    authority = Authority(tmp_path)
    certificate = authority.issue("server")
    tls = http_connection.ssl.SSLContext(http_connection.ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.certificate, certificate.key)
    async with Answers(ok(1), tls=tls) as server:
        stranger = Broadcaster(url=server.url, token=TOKEN)
        stranger.broadcast_system_metrics({"n": 1})
        assert await in_thread(native_threads.wait_until, lambda: stranger.last_error, 10)
        assert "certificate verify failed" in stranger.last_error
        await in_thread(stranger.close, 0.1)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        stream = await publish_one(server)
    assert stream.published == 1


# --- addresses, tokens, values ---


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://metrics.example.com", "https://metrics.example.com/api/metrics/"),
        ("https://metrics.example.com:8443/", "https://metrics.example.com:8443/api/metrics/"),
        ("https://metrics.example.com/below", "https://metrics.example.com/below/api/metrics/"),
        ("https://metrics.example.com/api/metrics/", "https://metrics.example.com/api/metrics/"),
        ("http://localhost:8000", "http://localhost:8000/api/metrics/"),
        ("http://127.0.0.2", "http://127.0.0.2/api/metrics/"),
        ("http://[::1]:8000", "http://[::1]:8000/api/metrics/"),
        ("https://bücher.example", "https://xn--bcher-kva.example/api/metrics/"),
    ],
)
def test_an_address_is_that_of_the_server(url, address):
    assert str(http_connection.address_of(url, insecure=False).below(http_transport.PATH)) == address


@pytest.mark.parametrize("host", ["metrics.example.com", "192.168.1.2", "localhost.example.com"])
def test_over_plain_http_a_token_goes_to_this_machine_only(host):
    with pytest.raises(ValueError, match="insecure=True"):
        Broadcaster(url=f"http://{host}:8000", token=TOKEN)
    Broadcaster(url=f"http://{host}:8000", token=TOKEN, insecure=True).close()


@pytest.mark.parametrize(
    "url",
    [
        *("", "metrics.example.com", "ftp://localhost", "https://", "https://a:port/"),
        *("https://a:b@c/", "https://a/?b", "https://a/\r\nX: y", "https://a/ä"),
    ],
)
def test_what_is_no_address_is_the_callers_error(url):
    with pytest.raises(ValueError, match="url") as error:
        Broadcaster(url=url, token=TOKEN)
    assert "a:b" not in str(error.value)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "ä"])
def test_what_is_no_token_is_the_callers_error_and_is_not_repeated(token):
    with pytest.raises(ValueError, match="token is empty or holds") as error:
        Broadcaster(url="https://localhost", token=token)
    assert "X: y" not in str(error.value)


def test_url_and_token_belong_together():
    with pytest.raises(ValueError, match="belong together"):
        Broadcaster(url="https://localhost")
    with pytest.raises(ValueError, match="belong together"):
        Broadcaster(token=TOKEN)


def test_the_token_stands_in_no_text_of_the_object():
    stream = Broadcaster(url="https://localhost", token=TOKEN)
    assert TOKEN not in repr(stream) + repr(stream._transport)
    stream.close()


def test_values_are_checked_at_once():
    stream = Broadcaster(url="https://localhost", token=TOKEN)
    with pytest.raises(MetricError, match="`data.a`"):
        stream.broadcast_system_metrics({"a": object()})
    with pytest.raises(MetricError, match="unknown metric type 'No Slug'"):
        stream.broadcast("No Slug", {})
    stream.close()
    with pytest.raises(BroadcastError, match="is closed"):
        stream.broadcast_system_metrics({})
