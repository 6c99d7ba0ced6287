"""What all addresses for programs share: bodies, content types, encodings, methods and keys."""

import gzip
import json

import pytest

from metrics_stream.api import requests
from tests.support.api import METRICS_PATH, item, rejections

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "body",
    [b" ", b"{", b"7", b'"text"', b"null", b"\xff", b"[" * 100_000, b'{"metrics": {}}', b'{"metrics": [], "a": 1}'],
    ids=repr,
)
async def test_a_body_that_is_not_a_document_is_400(publisher, body):
    response = await publisher.publish(body)
    assert (response.status_code, response.json()["error"]) == (400, "not_a_document")
    assert rejections() == {"not_a_document": 1}


async def test_only_these_content_types_and_encodings_are_read(publisher):
    for kind, headers in (
        ("text/plain", {}),
        ("application/x-www-form-urlencoded", {}),
        ("application/json", {"content_encoding": "br"}),
        ("application/json", {"content_encoding": "gzip, gzip"}),
    ):
        response = await publisher.publish(item(1), kind=kind, **headers)
        assert (response.status_code, response.json()["error"]) == (415, "unsupported"), kind


async def test_refusals_are_counted_and_do_not_fill_the_log(publisher, caplog):
    for _ in range(3):
        await publisher.publish(b"{")
    assert rejections() == {"not_a_document": 3}
    assert caplog.records == []


async def test_a_body_over_the_limit_is_413(publisher, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_BODY_BYTES": 300, "INGEST_MAX_METRICS": 2}
    assert (await publisher.publish([item(1, data={"a": "x" * 300})])).status_code == 413
    assert (await publisher.publish([item(1)] * 2)).status_code == 202
    assert (await publisher.publish(b"[" + b"{}," * 2 + b"{}]")).status_code == 413
    assert (await publisher.publish(b"{}\n" * 3, kind="application/x-ndjson")).status_code == 413
    assert rejections() == {"too_large": 3}


async def test_a_bomb_is_not_unpacked_past_the_limit(publisher):
    bomb = gzip.compress(b" " * 500_000_000, 9)
    assert len(bomb) < 1_000_000
    response = await publisher.publish(bomb, content_encoding="gzip")
    assert (response.status_code, response.json()["error"]) == (413, "too_large")
    assert "4,000,000 bytes unpacked" in response.json()["message"]


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"[]")[:-4], gzip.compress(b"[]") * 2],
    ids=["none", "cut off", "two of them"],
)
async def test_a_body_that_is_not_gzip_is_400(publisher, body):
    response = await publisher.publish(body, content_encoding="gzip")
    assert (response.status_code, response.json()["error"]) == (400, "not_a_document")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_405(publisher, method):
    response = await publisher.client.generic(method, METRICS_PATH)
    assert (response.status_code, response["Allow"]) == (405, "POST")


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
async def test_an_invalid_key_is_400(publisher, key):
    response = await publisher.publish(item(1), idempotency_key=key)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_key")


class Connection:
    """An ASGI connection that sends a body in parts, as a server would hand it over."""

    def __init__(self, *parts, then=None):
        self.messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        self.then = then
        self.sent = []

    async def receive(self):
        if self.messages:
            return self.messages.pop(0)
        return await self.then()

    async def send(self, message):
        self.sent.append(message)


async def reading(scope, receive, send):
    """Read a body to its end, as Django does before anything else."""
    while (message := await receive())["type"] == "http.request":
        if not message["more_body"]:
            await send({"type": "read"})
            return


async def test_a_body_that_is_too_large_is_answered_before_its_end(publisher, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_BODY_BYTES": 10}
    connection = Connection(b"123456", b"789012", b"never read")
    await requests.with_bounded_bodies(reading)(
        {"path": METRICS_PATH, "headers": []}, connection.receive, connection.send
    )
    start, body = connection.sent
    assert (start["status"], json.loads(body["body"])["error"]) == (413, "too_large")
    assert len(connection.messages) == 1
    assert rejections() == {"too_large": 1}


async def test_a_body_that_never_ends_is_answered(publisher, monkeypatch):
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.01)
    connection = Connection(b"{", then=lambda: requests.asyncio.Event().wait())
    await requests.with_bounded_bodies(reading)(
        {"path": METRICS_PATH, "headers": []}, connection.receive, connection.send
    )
    assert connection.sent[0]["status"] == 408


@pytest.mark.parametrize(("size", "sent"), [(3, [{"type": "read"}]), (4, 413)])
async def test_other_addresses_have_a_bound_of_their_own(publisher, settings, size, sent):
    settings.METRICS_STREAM = {"INGEST_MAX_BODY_BYTES": 1, "PAGE_MAX_BODY_BYTES": 3}
    connection = Connection()
    connection.messages = [{"type": "http.request", "body": b"x" * size, "more_body": False}]
    await requests.with_bounded_bodies(reading)({"path": "/admin/", "headers": []}, connection.receive, connection.send)
    assert connection.sent == sent or connection.sent[0]["status"] == sent


@pytest.mark.parametrize("path", [METRICS_PATH, "/admin/"])
async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(publisher, settings, path):
    settings.METRICS_STREAM = {"INGEST_MAX_BODY_BYTES": 10, "PAGE_MAX_BODY_BYTES": 10}
    connection = Connection(b"x" * 11)
    scope = {"path": path, "headers": [(b"content-length", b"11")]}
    await requests.with_bounded_bodies(reading)(scope, connection.receive, connection.send)
    assert connection.sent[0]["status"] == 413
    assert len(connection.messages) == 1
