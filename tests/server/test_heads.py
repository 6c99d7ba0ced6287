"""Request heads: what is out of bounds is answered at once, ended and counted; what the RFCs allow is understood."""

import asyncio
import base64
import json
from collections import Counter

import pytest

from metrics_stream.server import refusals
from metrics_stream.server.request_head import MAX_HEAD_BYTES
from metrics_stream.server.websocket import StreamSocketProtocol
from metrics_stream.telemetry import of_process
from tests.support.http_server import serving, tell

HANDSHAKE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
    + base64.b64encode(b"0123456789abcdef")
    + b"\r\n"
)


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    """Count only the refusals of this test, and log its first."""
    monkeypatch.setattr(of_process, "refused_by_reason", Counter())
    monkeypatch.setattr(refusals, "_due_at", {})
    monkeypatch.setattr(refusals, "_unlogged", Counter())
    return of_process.refused_by_reason


async def describe(scope, receive, send):
    """Answer a request or handshake with what the application sees of it."""
    shown = {"path": scope["path"], "client": scope["client"][0], "scheme": scope["scheme"]}
    shown["headers"] = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    size, kind = 0, "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = json.dumps({**shown, "size": size}).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": f"{kind}.start", "status": 200, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


def request(*, target=b"/page", headers=b"", body=b"", host=b"Host: here\r\n", method=b"GET", version=b"1.1"):
    return method + b" " + target + b" HTTP/" + version + b"\r\n" + host + headers + b"\r\n" + body


TOO_MUCH = {
    "a cookie of 9,000 bytes": ({"headers": b"Cookie: a=" + b"x" * 9_000 + b"\r\n"}, 431, "head_too_large"),
    "an address of 9,000 bytes": ({"target": b"/?token=" + b"x" * 9_000}, 414, "target_too_long"),
    "200 headers": ({"headers": b"".join(b"X-%d: y\r\n" % n for n in range(200))}, 431, "head_too_large"),
    "many headers, together too long": (
        {"headers": b"".join(b"X-%d: %b\r\n" % (n, b"y" * 7_000) for n in range(6))},
        431,
        "head_too_large",
    ),
    "a name of 9,000 bytes": ({"headers": b"x" * 9_000 + b": y\r\n"}, 431, "head_too_large"),
    "two hosts": ({"headers": b"Host: there\r\n"}, 400, "malformed"),
    "no host": ({"host": b""}, 400, "malformed"),
    "a folded header": ({"headers": b"X-A: b\r\n c\r\n"}, 400, "malformed"),
    "no name": ({"headers": b": c\r\n"}, 400, "malformed"),
    "a control character": ({"headers": b"X-A: b\x00c\r\n"}, 400, "malformed"),
    "a length that is no number": ({"headers": b"Content-Length: x\r\n"}, 400, "malformed"),
    "two lengths": ({"headers": b"Content-Length: 1\r\nContent-Length: 2\r\n"}, 400, "malformed"),
    "a length and chunks": ({"headers": b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"}, 400, "malformed"),
}
ONLY_HANDSHAKES = {
    "a body": ({"headers": b"Content-Length: 5\r\n", "body": b"hello"}, 400, "malformed"),
    "a body that does not come": ({"headers": b"Content-Length: 5\r\n"}, 400, "malformed"),
    "an empty chunked body": (
        {"headers": b"Transfer-Encoding: chunked\r\n", "body": b"0\r\n\r\n"},
        400,
        "malformed",
    ),
    "frames before the answer": ({"body": b"\x81\x80abcd"}, 400, "malformed"),
    "a key that is no key": ({"headers": b"Sec-WebSocket-Key: x\r\n"}, 400, "malformed"),
    "another version": ({"headers": b"Sec-WebSocket-Version: 8\r\n"}, 426, "malformed"),
}


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("kind", ["page", "handshake"])
@pytest.mark.parametrize(("parts", "status", "reason"), TOO_MUCH.values(), ids=TOO_MUCH)
async def test_a_head_out_of_bounds_is_answered_ended_and_counted(
    parts, status, reason, kind, in_pieces, counted, caplog
):
    parts = dict(parts)
    if kind == "handshake":
        parts["headers"] = HANDSHAKE + parts.get("headers", b"")
    sent = request(**parts)
    pieces = [sent[start : start + 500] for start in range(0, len(sent), 500)] if in_pieces else [sent]
    async with serving(describe, ws=StreamSocketProtocol) as (server, connect):
        answer = await tell(await connect(), *pieces)
        head, _, text = answer.partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status
        assert b"connection: close" in head.lower()
        assert text.endswith(b"\n")
        assert counted == {reason: 1}
        assert f"a request from 127.0.0.1 is answered {status}: {text.decode().strip()}" in caplog.text
        async with asyncio.timeout(5):
            while server.server_state.connections:
                await asyncio.sleep(0)


@pytest.mark.parametrize(("parts", "status", "reason"), ONLY_HANDSHAKES.values(), ids=ONLY_HANDSHAKES)
async def test_a_request_that_is_no_handshake_is_answered_ended_and_counted(parts, status, reason, counted):
    parts = dict(parts)
    own = parts.get("headers", b"")
    kept = [line for line in HANDSHAKE.splitlines(keepends=True) if line.split(b":")[0] not in own]
    parts["headers"] = b"".join(kept) + own
    async with serving(describe, ws=StreamSocketProtocol) as (server, connect):
        answer = await tell(await connect(), request(**parts))
        assert int(answer.split()[1]) == status
        assert counted == {reason: 1}
        if status == 426:
            assert b"sec-websocket-version: 13\r\n" in answer.lower()
        async with asyncio.timeout(5):
            while server.server_state.connections:
                await asyncio.sleep(0)


async def test_a_header_without_end_is_answered_long_before_its_end_and_the_answer_arrives():
    async with serving(describe) as (_, connect):
        reader, writer = await connect()
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\nX-Long: ")
        sent = 0
        while not reader._buffer and sent < 20_000_000:
            writer.write(b"x" * 65_536)
            sent += 65_536
            await asyncio.sleep(0)
        assert sent < 2_000_000
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 431 ")
        writer.close()


@pytest.mark.parametrize("between", [b"5;x=", b"0\r\nX-Trailer: "], ids=["an extension", "a trailer"])
async def test_what_has_no_end_between_the_parts_of_a_body_is_refused(between, counted):
    async with serving(describe) as (_, connect):
        start = request(method=b"POST", headers=b"Transfer-Encoding: chunked\r\n", body=between)
        answer = await tell(await connect(), start, *[b"x" * 4_000] * (MAX_HEAD_BYTES // 4_000 + 3))
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert counted == {"head_too_large": 1}


async def test_headers_after_a_body_are_no_headers_of_the_request():
    async with serving(describe) as (_, connect):
        headers = b"Transfer-Encoding: chunked\r\nConnection: close\r\n"
        body = b"3\r\nabc\r\n0\r\nX-Late: 1\r\nHost: there\r\n\r\n"
        answer = await tell(await connect(), request(method=b"POST", headers=headers, body=body))
        shown = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert (shown["size"], shown["headers"]["host"], "x-late" in shown["headers"]) == (3, "here", False)


async def test_a_body_of_many_parts_is_read_whole():
    async with serving(describe) as (_, connect):
        headers = b"Content-Length: 300000\r\nConnection: close\r\n"
        answer = await tell(await connect(), request(method=b"POST", headers=headers, body=b"x" * 300_000))
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["size"] == 300_000


async def test_the_answer_to_a_bad_request_comes_after_those_to_the_requests_before_it():
    async with serving(describe) as (_, connect):
        answer = await tell(await connect(), request() + request(target=b"/second") + b"nonsense\r\n\r\n" + request())
        assert [int(part.split()[0]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200, 400]


async def test_requests_without_end_that_wait_for_the_first_are_refused(counted):
    async with serving(describe) as (_, connect):
        answer = await tell(await connect(), request() * 1_000)
        statuses = [int(part.split()[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]
        assert statuses[-1] == 400
        assert set(statuses[:-1]) == {200}
        assert len(statuses) < 200
        assert counted == {"malformed": 1}


async def test_a_broken_body_ends_its_request(counted):
    async with serving(describe) as (_, connect):
        start = request(method=b"POST", headers=b"Transfer-Encoding: chunked\r\n", body=b"3\r\nabc\r\n")
        answer = await tell(await connect(), start, b"nonsense\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert counted == {"malformed": 1}


async def test_an_upgrade_to_another_protocol_is_ignored_and_the_connection_ends():
    async with serving(describe, ws=StreamSocketProtocol) as (_, connect):
        headers = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        answer = await tell(await connect(), request(headers=headers))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


@pytest.mark.parametrize("kind", ["page", "handshake"])
@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://there/page?x=1", "/page"),
        (b"HTTP://there/page", "/page"),
        (b"https://there", "/"),
        (b"http://there?x=1", "/"),
    ],
)
async def test_an_address_with_its_host_is_understood(target, path, kind):
    headers = HANDSHAKE if kind == "handshake" else b"Connection: close\r\n"
    async with serving(describe, ws=StreamSocketProtocol) as (_, connect):
        shown = seen(await tell(await connect(), request(target=target, headers=headers)))
        assert (shown["path"], shown["headers"]["host"]) == (path, "there")


@pytest.mark.parametrize("target", [b"http://user@there/", b"ftp://there/", b"there:443", b"nowhere", b"http:///x"])
async def test_other_forms_of_addresses_are_refused(target, counted):
    async with serving(describe, ws=StreamSocketProtocol) as (_, connect):
        answer = await tell(await connect(), request(target=target))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert counted == {"malformed": 1}


@pytest.mark.parametrize("kind", ["page", "handshake"])
@pytest.mark.parametrize(
    ("headers", "scheme", "client"),
    [
        (b"", "http", "127.0.0.1"),
        (b"X-Forwarded-Proto: https\r\n", "https", "127.0.0.1"),
        (b"X-Forwarded-Proto: HTTPS\r\n", "https", "127.0.0.1"),
        (b"X-Forwarded-Proto: https,http\r\n", "https", "127.0.0.1"),
        (b"X-Forwarded-Proto: https, http\r\n", "https", "127.0.0.1"),
        (b"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "https", "127.0.0.1"),
        (b"X-Forwarded-Proto: http,https\r\n", "http", "127.0.0.1"),
        (b"X-Forwarded-Proto: wss\r\n", "https", "127.0.0.1"),
        (b"X-Forwarded-Proto: gopher\r\n", "http", "127.0.0.1"),
        (b"X-Forwarded-Scheme: https\r\n", "https", "127.0.0.1"),
        (b"X-Forwarded-Ssl: on\r\n", "https", "127.0.0.1"),
        (b"X-Forwarded-Ssl: off\r\n", "http", "127.0.0.1"),
        (b"Front-End-Https: On\r\n", "https", "127.0.0.1"),
        (b"X-Forwarded-For: 192.0.2.7\r\n", "http", "192.0.2.7"),
        (b"X-Forwarded-For: 198.51.100.1, 192.0.2.7, 127.0.0.1\r\n", "http", "192.0.2.7"),
        (b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.7:4711\r\n", "http", "192.0.2.7"),
        (b"X-Forwarded-For: [2001:db8::7]:4711\r\n", "http", "2001:db8::7"),
        (b"Forwarded: for=192.0.2.7;proto=https;by=127.0.0.1\r\n", "https", "192.0.2.7"),
        (b'Forwarded: For="[2001:db8::7]:4711"; Proto=HTTPS, for=127.0.0.1\r\n', "https", "2001:db8::7"),
        (b"Forwarded: for=192.0.2.7\r\nX-Forwarded-For: 192.0.2.8\r\n", "http", "192.0.2.8"),
    ],
)
async def test_what_proxies_say_is_read_in_their_spellings(headers, scheme, client, kind):
    headers += HANDSHAKE if kind == "handshake" else b"Connection: close\r\n"
    async with serving(describe, ws=StreamSocketProtocol, forwarded_allow_ips="127.0.0.1") as (_, connect):
        shown = seen(await tell(await connect(), request(headers=headers)))
        assert (shown["scheme"].replace("ws", "http"), shown["client"]) == (scheme, client)


async def test_what_strangers_say_of_themselves_does_not_count():
    headers = b"Forwarded: for=192.0.2.7;proto=https\r\nConnection: close\r\n"
    async with serving(describe, forwarded_allow_ips="192.0.2.1") as (_, connect):
        shown = seen(await tell(await connect(), request(headers=headers)))
        assert (shown["scheme"], shown["client"]) == ("http", "127.0.0.1")


def seen(answer):
    """Return what `describe` showed."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"200", answer
    return json.loads(body)


async def test_a_flood_of_refusals_is_counted_and_logged_once(counted, caplog):
    async with serving(describe) as (_, connect):
        for _ in range(30):
            await tell(await connect(), request(host=b""))
        assert counted == {"malformed": 30}
        assert len(caplog.records) == 1
        refusals._due_at.clear()
        await tell(await connect(), request(host=b""))
        assert caplog.records[-1].getMessage().endswith("(and 29 like this before, which were not logged)")
