"""The edge of a real server with the whole application: what comes before a token, a page or a WebSocket."""

import json
import socket

import pytest

from tests.support.stack import StackWithTokens

MAKE_TOKENS = """
import json
from metrics_stream.models import AccessToken
token, text = AccessToken.issue(name="edge", scopes=["publish"], metric_types=["system"])
print(json.dumps({"edge": text}))
"""


class Server(StackWithTokens):
    MAKE_TOKENS = MAKE_TOKENS


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("edge"), "", ANONYMOUS_READ="0")
    running.prepare()
    running.start()
    yield running
    running.stop()
    log = running.log.read_text()
    assert "Traceback" not in log


def tell(server, head, body=b"", *, invited=b""):
    """Send a request and return what is answered until the end; `invited` is sent after `100 Continue`."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head + b"\r\n" + body)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
            if invited and b"100 Continue\r\n\r\n" in answer:
                connection.sendall(invited)
                invited = b""
        return answer


def post(server, *, length, token=None, host=b"127.0.0.1", more=b"Expect: 100-continue\r\n"):
    head = b"POST /api/metrics/ HTTP/1.1\r\nHost: " + host + b"\r\nContent-Type: application/json\r\n"
    head += b"Connection: close\r\nContent-Length: %d\r\n" % length + more
    return head if token is None else head + f"Authorization: Bearer {token}\r\n".encode()


METRIC = b'\xef\xbb\xbf{"metric_type": "system", "data": {"throughput_tps": 1}}'


@pytest.mark.parametrize(
    ("length", "has_token", "status", "error"),
    [(2_000_000, True, 413, "too_large"), (2_000_000, False, 413, "too_large"), (10, False, 401, "not_authenticated")],
)
def test_a_program_that_asks_first_is_refused_before_it_sends(server, length, has_token, status, error):
    answer = tell(server, post(server, length=length, token=server.tokens["edge"] if has_token else None))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(body)["error"] == error


def test_a_wrong_token_is_refused_before_the_body_and_a_right_one_invited_and_counted_once(server):
    answer = tell(server, post(server, length=10, token="mst_00000000_" + "0" * 60))
    assert answer.startswith(b"HTTP/1.1 401 ")
    answer = tell(server, post(server, length=len(METRIC), token=server.tokens["edge"]), invited=METRIC)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 ")
    assert answer.endswith(b'{"accepted": 1}')


def test_a_page_has_a_bound_for_its_body_too(server):
    head = b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n"
    answer = tell(server, head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"PAGE_MAX_BODY_BYTES" in answer


@pytest.mark.parametrize(("path", "status"), [("healthz", 200), ("readyz", 200), ("metrics", 400), ("", 400)])
def test_probes_are_answered_whatever_host_they_name(server, path, status):
    answer = tell(server, f"GET /{path} HTTP/1.1\r\nHost: 10.0.0.7:8000\r\nConnection: close\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert status == 200 or b"add 10.0.0.7 to ALLOWED_HOSTS" in answer


def test_a_request_without_an_upgrade_is_told_of_proxies(server):
    answer = tell(server, b"GET /ws/metrics/ HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert answer.startswith(b"HTTP/1.1 426 ")
    assert b"upgrade: websocket" in answer.lower()


@pytest.mark.parametrize(
    ("path", "host", "origin", "status"),
    [
        ("/", "127.0.0.1", None, 403),
        ("/ws/", "127.0.0.1", None, 403),
        ("/ws/metrics/", "127.0.0.1", "http://evil.example", 403),
        ("/ws/metrics/", "127.0.0.1", None, 101),
        ("/ws/metrics/", "127.0.0.1:80", "http://127.0.0.1", 101),
    ],
)
def test_a_socket_is_for_pages_of_this_server_at_its_address(server, path, host, origin, status):
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    head += "" if origin is None else f"Origin: {origin}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode() + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 %d " % status)


def test_refusals_are_counted_for_prometheus(server):
    answer = tell(server, b"GET /ws/metrics/ HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert answer.startswith(b"HTTP/1.1 426 ")
    page = tell(server, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n").decode()
    [line] = [line for line in page.splitlines() if 'requests_refused_total{reason="no_upgrade"}' in line]
    assert float(line.split()[-1]) >= 1
