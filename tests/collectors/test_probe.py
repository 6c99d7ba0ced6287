"""The probe against a real HTTP server on this machine: fast, slow, failing, refusing, hanging or invalid."""

import contextlib
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metrics_stream.collectors import probe as probe_module
from metrics_stream.collectors.probe import Outcome, Probe, Tally, percentile
from metrics_stream.core.errors import CollectorError

Client = socketserver.StreamRequestHandler
Answer = Callable[[Client, threading.Event], None]
ALLOWED = "allowed: an http:// or https:// URL with a host"


class WaitingTally(Tally):
    """A tally on which a test can wait."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Outcome] = []
        self._changed = threading.Condition()

    def count(self, outcome: Outcome) -> None:
        super().count(outcome)
        with self._changed:
            self.outcomes.append(outcome)
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.outcomes) >= count, 60.0), self.outcomes


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """Serve every request with `answer` and yield the URL; `answer` gets an event that is set at the end."""
    closing = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError, ValueError):  # a client that went away; a file that was closed
                while line := self.rfile.readline():
                    if line == b"\r\n":
                        answer(self, closing)

        def finish(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().finish()

    class Server(socketserver.ThreadingTCPServer):
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}/"
        finally:
            closing.set()
            listener.shutdown()
            thread.join()


def reply(status: str, body: bytes = b"hello") -> Answer:
    def answer(client: Client, _closing: threading.Event) -> None:
        client.wfile.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body))

    return answer


def hang(_client: Client, closing: threading.Event) -> None:
    closing.wait()


def drip(client: Client, closing: threading.Event) -> None:
    """Start an answer in time, and never end it."""
    client.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
    closing.wait()


def talk_nonsense(client: Client, _closing: threading.Event) -> None:
    client.wfile.write(b"\x00\xff nonsense\r\n\r\n")


def hang_up(client: Client, _closing: threading.Event) -> None:
    client.rfile.close()


def probed(url: str, count: int = 5, **options: Any) -> tuple[dict[str, Any], list[Outcome], Probe]:
    """Probe until `count` requests have ended; return the sample, the outcomes and the probe."""
    tally = WaitingTally()
    options = {"rate": 50.0, "timeout_seconds": 60.0, "max_in_flight": 10_000, **options}
    with Probe(url, tally=tally, **options) as probe:
        tally.wait_for(count)
        metric = probe.sample()
    return metric, tally.outcomes, probe


def assert_counted(metric: dict[str, Any], count: int) -> None:
    assert metric["requests_total"] >= count
    assert metric["requests_total"] == metric["requests_successful"] + metric["requests_failed"]


def test_answers_are_measured() -> None:
    with server(reply("200 OK")) as url:
        metric, outcomes, probe = probed(url, 20)
    assert_counted(metric, 20)
    assert set(outcomes) == {"success"}
    assert metric["error_rate"] == metric["timeout_rate"] == 0.0
    assert metric["throughput_tps"] > 0
    times = [metric[f"{name}_response_time_ms"] for name in ("p50", "p95", "p99", "max")]
    assert times[0] > 0
    assert times == sorted(times)
    assert metric["avg_response_time_ms"] <= metric["max_response_time_ms"]
    assert probe.last_error is None


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error", "503 Service Unavailable"])
def test_error_statuses_are_failures_with_a_response_time(status: str) -> None:
    with server(reply(status)) as url:
        metric, outcomes, probe = probed(url)
    assert_counted(metric, 5)
    assert set(outcomes) == {"failure"}
    assert metric["requests_successful"] == 0
    assert (metric["error_rate"], metric["timeout_rate"]) == (1.0, 0.0)
    assert metric["avg_response_time_ms"] > 0
    assert probe.last_error == f"the target answers {status[:3]}"


def test_redirects_are_answers_and_not_followed() -> None:
    def answer(client: Client, _closing: threading.Event) -> None:
        client.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: http://other.invalid/\r\nContent-Length: 0\r\n\r\n")

    with server(answer) as url:
        _, outcomes, _ = probed(url)
    assert set(outcomes) == {"success"}


@pytest.mark.parametrize("answer", [hang, drip])
def test_what_does_not_end_in_time_is_a_timeout(answer: Answer) -> None:
    with server(answer) as url:
        metric, outcomes, probe = probed(url, timeout_seconds=0.05)
    assert_counted(metric, 5)
    assert set(outcomes) == {"timeout"}
    assert (metric["error_rate"], metric["timeout_rate"]) == (1.0, 1.0)
    assert "avg_response_time_ms" not in metric
    assert metric["throughput_tps"] == 0
    # A busy machine may itself be late by more than these 0.05 s, which the probe then reports.
    assert re.fullmatch(r"no answer within 0\.05 s|this machine is too busy to probe: .+ late", probe.last_error or "")


def test_what_is_too_late_to_be_sent_is_a_timeout_of_this_machine() -> None:
    probe = Probe("http://127.0.0.1:9/", 1.0, timeout_seconds=0.5)
    assert probe._find_reason_not_to_send(0.4) is None
    assert probe._find_reason_not_to_send(0.5) == "this machine is too busy to probe: 0.5 s late"


@pytest.mark.parametrize("answer", [talk_nonsense, hang_up])
def test_broken_answers_are_failures(answer: Answer) -> None:
    with server(answer) as url:
        metric, outcomes, probe = probed(url)
    assert set(outcomes) == {"failure"}
    assert "avg_response_time_ms" not in metric
    assert probe.last_error


def test_a_target_that_is_away_and_comes_back() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        metric, outcomes, probe = probed(f"http://127.0.0.1:{reserved.getsockname()[1]}/")
        assert set(outcomes) == {"failure"}
        assert metric["error_rate"] == 1.0
        assert probe.last_error
    answers = iter([hang_up] * 3)

    def answer(client: Client, closing: threading.Event) -> None:
        next(answers, reply("200 OK"))(client, closing)

    with server(answer) as url:
        _, outcomes, probe = probed(url, 10)
    assert outcomes.count("failure") == 3
    assert "success" in outcomes
    assert probe.last_error is None


def test_a_slow_server_does_not_slow_the_schedule() -> None:
    """Thirty requests are in flight before the first is answered, and each counts from when it was due."""
    waiting, arrived = 0, threading.Condition()

    def answer(client: Client, closing: threading.Event) -> None:
        nonlocal waiting
        with arrived:
            waiting += 1
            arrived.notify_all()
            arrived.wait_for(lambda: waiting >= 30, 60.0)
        reply("200 OK")(client, closing)

    with server(answer) as url:
        metric, outcomes, _ = probed(url, 30, rate=100.0)
    assert set(outcomes) == {"success"}
    # The first was due 29 / 100 s before the thirtieth.
    assert metric["max_response_time_ms"] >= 290.0


def test_what_finds_no_place_in_flight_is_a_timeout() -> None:
    with server(hang) as url:
        metric, outcomes, probe = probed(url, 10, max_in_flight=3)
    assert set(outcomes) == {"timeout"}
    assert metric["queue_depth"] == 3
    assert probe.last_error == "3 requests are in flight; no more are sent"


def test_closing_does_not_wait_for_what_hangs() -> None:
    arrived = threading.Event()

    def answer(_client: Client, closing: threading.Event) -> None:
        arrived.set()
        closing.wait()

    with server(answer) as url:
        probe = Probe(url, 100.0, timeout_seconds=60.0)
        probe.start()
        assert arrived.wait(60.0)
        probe.close()
        assert not probe._thread.is_alive()
        probe.close()
        metric = probe.sample()
    assert (metric["requests_total"], metric["queue_depth"]) == (0, 0), "what was abandoned is no result"


def test_an_unexpected_error_of_one_request_does_not_end_the_probe(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stream(*_: Any) -> None:
        raise RuntimeError("a bug in the library")

    monkeypatch.setattr(probe_module.httpx.AsyncClient, "stream", stream)
    _, outcomes, probe = probed("http://127.0.0.1:9/")
    assert set(outcomes) == {"failure"}
    assert probe.last_error == "a bug in the library"
    assert "failed in an unexpected way" in caplog.text


def test_a_probe_that_cannot_run_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(**_: Any) -> None:
        raise OSError("no certificates")

    monkeypatch.setattr(probe_module.httpx, "create_ssl_context", refuse)
    with Probe("http://127.0.0.1:9/", 1.0) as probe:
        pass
    assert probe.last_error == "the probe has ended: no certificates"
    assert "has ended" in caplog.text


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://localhost/", "file:///etc/passwd", "http://", "http:///x", "http://[::1", "//x/"],
)
def test_urls_that_cannot_be_probed_are_refused(url: str) -> None:
    with pytest.raises(CollectorError) as raised:
        Probe(url, 1.0)
    assert str(raised.value).startswith(f"the probe's URL is {url!r}")
    assert str(raised.value).endswith(ALLOWED)


@pytest.mark.parametrize("port", ["99999", "0", "x", "-1"])
def test_ports_that_do_not_exist_are_refused(port: str) -> None:
    with pytest.raises(CollectorError, match="the probe's URL is"):
        Probe(f"http://localhost:{port}/", 1.0)


@pytest.mark.parametrize("rate", [0, -1, "fast", "nan", 1001, None])
def test_rates_that_cannot_be_kept_are_refused(rate: Any) -> None:
    with pytest.raises(CollectorError, match=r"^the probe's rate is .+; allowed: a number from 0\.1 to 1000$"):
        Probe("http://localhost/", rate)


def test_a_tally_is_of_the_interval_and_its_counters_of_the_whole() -> None:
    tally = Tally()
    for latency in (30.0, 10.0, 20.0):
        tally.start(lateness_ms=1.0)
        tally.finish("success", latency)
    tally.start(lateness_ms=3.0)
    tally.count("timeout")
    taken = tally.take(2.0)
    assert sorted(taken.pop("sketches")["response_time_ms"].bins.values()) == [1, 1, 1]
    assert taken == {
        "requests_total": 4,
        "requests_successful": 3,
        "requests_failed": 1,
        "response_time_total_ms": 60.0,
        "queue_depth": 1,
        "throughput_tps": 1.5,
        "queue_latency_ms": 1.5,
        "error_rate": 0.25,
        "timeout_rate": 0.25,
        "avg_response_time_ms": 20.0,
        "p50_response_time_ms": 20.0,
        "p95_response_time_ms": 30.0,
        "p99_response_time_ms": 30.0,
        "max_response_time_ms": 30.0,
    }
    taken = tally.take(1.0)
    assert taken.pop("sketches")["response_time_ms"].bins == {}
    assert taken == {
        "requests_total": 4,
        "requests_successful": 3,
        "requests_failed": 1,
        "response_time_total_ms": 60.0,
        "queue_depth": 1,
        "throughput_tps": 0.0,
    }


@hypothesis_settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([1, 7, 50, 95, 99, 100]))
def test_a_percentile_is_the_smallest_value_that_the_share_does_not_exceed(values: list[float], percent: int) -> None:
    ordered = sorted(values)
    result = percentile(ordered, percent)
    assert 100 * sum(value <= result for value in ordered) >= percent * len(ordered)
    assert 100 * sum(value < result for value in ordered) < percent * len(ordered)
