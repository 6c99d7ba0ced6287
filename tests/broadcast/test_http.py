"""`Broadcaster` over HTTP, with answers that a real server seldom gives."""

import json
import re

import pytest

from metrics_stream.broadcast import Broadcaster, BroadcastError, bodies
from metrics_stream.core.errors import MetricError
from tests.support.programs import (
    TOKEN,
    Answers,
    accept,
    answer,
    in_thread,
    publish_one,
)


async def test_the_request_has_the_documented_form(log):
    async with Answers(accept(1)) as server:
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
async def test_a_busy_server_gets_the_same_key_again_after_the_time_it_asks_for(status, monkeypatch, log):
    waits = []
    wait_for_close = Broadcaster._wait_for_close
    monkeypatch.setattr(
        Broadcaster, "_wait_for_close", lambda self, seconds: waits.append(seconds) or wait_for_close(self, 0.001)
    )
    busy = answer(status, {"error": "busy", "message": f"later, {TOKEN}"}, "Retry-After: 7")
    async with Answers(busy, busy, accept(1)) as server:
        stream = Broadcaster(url=server.url, token=TOKEN)
        stream.broadcast_system_metrics({"n": 1})
        assert await in_thread(stream.flush, 10)
        await in_thread(stream.close)
    assert [wait for wait in waits if wait >= 1] == [7.0, 7.0]
    keys = {headers["Idempotency-Key"] for headers, _ in server.requests}
    assert (len(server.requests), len(keys)) == (3, 1)
    assert (stream.published, stream.last_error) == (1, None)
    waiting, published = [record.getMessage().partition(":")[0] for record in log.records]
    assert waiting == "metrics wait to be published"
    assert re.fullmatch(r"metrics are published again after \d\.\d s", published)
    assert TOKEN not in log.text


async def test_flush_and_close_say_that_a_metric_was_refused(log):
    refused = answer(422, {"error": "too_large", "message": "too much"})
    async with Answers(refused, accept(1), refused) as server:
        stream = Broadcaster(url=server.url, token=TOKEN)
        for is_published in (False, True):
            stream.broadcast_system_metrics({"n": 1})
            assert await in_thread(stream.flush, 10) is is_published
        stream.broadcast_system_metrics({"n": 1})
        assert await in_thread(stream.close, 10) is False
    assert (stream.published, stream.dropped) == (1, 2)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_request_that_is_refused_as_a_whole_is_dropped(status, log):
    async with Answers(answer(status, {"error": "too_large", "message": "too much"})) as server:
        stream = await publish_one(server)
    assert (stream.published, stream.dropped) == (0, 1)
    assert f"answered {status}: too much" in log.text


async def test_metrics_are_sent_in_several_batches(monkeypatch):
    monkeypatch.setattr(bodies, "MAX_REQUEST_BYTES", 1_000)
    async with Answers(*(accept(1) for _ in range(3))) as server:
        stream = Broadcaster(url=server.url, token=TOKEN)
        stream.broadcast_many([{"metric_type": "system", "data": {"text": "x" * 600}} for _ in range(3)])
        assert await in_thread(stream.close, 10)
    assert (len(server.requests), stream.published) == (3, 3)


def test_url_and_token_belong_together():
    with pytest.raises(ValueError, match="belong together"):
        Broadcaster(url="https://localhost")
    with pytest.raises(ValueError, match="belong together"):
        Broadcaster(token=TOKEN)


def test_values_are_checked_at_once():
    stream = Broadcaster(url="https://localhost", token=TOKEN)
    with pytest.raises(MetricError, match="`data.a`"):
        stream.broadcast_system_metrics({"a": object()})
    with pytest.raises(MetricError, match="unknown metric type 'No Slug'"):
        stream.broadcast("No Slug", {})
    stream.close()
    with pytest.raises(BroadcastError, match="is closed"):
        stream.broadcast_system_metrics({})
