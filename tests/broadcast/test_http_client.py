"""The connection to a server: addresses, tokens, TLS, and every form of an answer."""

import ssl

import pytest

from metrics_stream import native_threads
from metrics_stream.broadcast import Broadcaster, broadcaster, http, http_client
from tests.support.certificates import Authority
from tests.support.programs import CUT, TOKEN, Answers, accept, answer, in_thread, publish_one


@pytest.mark.parametrize(
    "given",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + accept(1),
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
async def test_an_invalid_answer_is_an_outage_and_the_request_is_repeated(given, said, monkeypatch, log):
    monkeypatch.setattr(broadcaster, "RESEND_SECONDS", (0.001, 0.001))
    async with Answers(given, accept(1)) as server:
        stream = Broadcaster(url=server.url, token=TOKEN)
        stream.broadcast_system_metrics({"n": 1})
        assert await in_thread(stream.flush, 10)
        await in_thread(stream.close)
    assert stream.published == 1
    assert said in log.records[0].getMessage()
    assert TOKEN not in log.text


async def test_a_connection_is_kept_open_and_a_closed_one_is_no_outage(log):
    async with Answers(accept(1), accept(1), accept(1)) as server:
        stream = Broadcaster(url=server.url, token=TOKEN)
        for n in range(2):
            stream.broadcast_system_metrics({"n": n})
            assert await in_thread(stream.flush, 10)
        assert server.connections == 1
        server.answers = [None, accept(1)]
        stream.broadcast_system_metrics({"n": 2})
        assert await in_thread(stream.close, 10)
    assert server.connections == 2
    assert (stream.published, log.records) == (3, [])


async def test_tls_is_verified(tmp_path, monkeypatch):
    authority = Authority(tmp_path)
    certificate = authority.issue("server")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.certificate, certificate.key)
    async with Answers(accept(1), tls=tls) as server:
        stranger = Broadcaster(url=server.url, token=TOKEN)
        stranger.broadcast_system_metrics({"n": 1})
        assert await in_thread(native_threads.wait_until, lambda: stranger.last_error, 10)
        assert "certificate verify failed" in stranger.last_error
        await in_thread(stranger.close, 0.1)
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        stream = await publish_one(server)
    assert stream.published == 1


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
def test_an_address_leads_to_the_server(url, address):
    assert str(http_client.address_of(url, insecure=False).below(http.METRICS_PATH)) == address


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
def test_an_invalid_address_is_an_error_of_the_caller(url):
    with pytest.raises(ValueError, match="url") as error:
        Broadcaster(url=url, token=TOKEN)
    assert "a:b" not in str(error.value)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "ä"])
def test_an_invalid_token_is_an_error_of_the_caller_and_is_not_shown(token):
    with pytest.raises(ValueError, match="token is empty or holds") as error:
        Broadcaster(url="https://localhost", token=token)
    assert "X: y" not in str(error.value)


def test_the_token_is_in_no_text_of_the_object():
    stream = Broadcaster(url="https://localhost", token=TOKEN)
    assert TOKEN not in repr(stream) + repr(stream._transport)
    stream.close()


def test_a_redirect_is_told_with_the_address_that_works():
    server = http_client.server_of("http://127.0.0.1:8000", "mst_1", insecure=False)
    moved = http_client.Answer(301, {"location": "https://metrics.example.com/api/metrics/"}, b"")
    assert server.describe_answer(server.address.below("/api/metrics/"), moved) == (
        "http://127.0.0.1:8000/api/metrics/ answered 301: the server is at https://metrics.example.com/api/metrics/; "
        "use that address"
    )
