"""Requests to the addresses for programs that hypothesis generates, and the check of their answers."""

import asyncio
import gzip
import json
import os
import random

import hypothesis
import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from metrics_stream.api import requests as api_requests
from metrics_stream.bus import bus as bus_module
from metrics_stream.models import AccessToken
from metrics_stream.runtime.runtime import get_runtime, stop_runtime

PATH = "/api/metrics/"

SLUGS = ["system", "agent", "business", "hero", "presentation", "request", "error", "stream", "nope", ""]
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**30, -(10**400), 2**63, 2**64, 1e308, -0.0])
TEXTS = st.text(max_size=20) | st.sampled_from(["\ud800", "\0", "a\nb", "<script>", "x" * 300, "agent_id", "null"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
AGENTS = st.fixed_dictionaries({"agent_id": TEXTS | NUMBERS}, optional={"current_load": VALUES, "agents": VALUES})
DATA = st.dictionaries(TEXTS, VALUES, max_size=4) | AGENTS | st.lists(AGENTS, max_size=3) | VALUES
STAMPS = st.floats() | st.integers() | TEXTS | st.datetimes().map(str) | VALUES
GOOD = st.fixed_dictionaries(
    {"metric_type": st.sampled_from(SLUGS[:5]), "data": st.just({"agent_id": "a", "n": 1})},
    optional={"timestamp": st.just(1.5), "source": st.sampled_from(["a", "b"])},
)
ITEMS = (
    GOOD
    | st.fixed_dictionaries(
        {"metric_type": st.sampled_from(SLUGS), "data": DATA},
        optional={"timestamp": STAMPS, "source": TEXTS | st.sampled_from(["a", "b", "c"])},
    )
    | st.fixed_dictionaries({}, optional={"metric_type": VALUES, "data": DATA, "source": VALUES, "extra": VALUES})
    | VALUES
)
DEEP = st.tuples(st.sampled_from(["[", '{"a":', '[{"data":']), st.integers(1, 20_000)).map(
    lambda deep: deep[0] * deep[1]
)


def _text(value):
    return json.dumps(value).encode()


def _lines(values):
    return b"\n".join(map(_text, values))


@st.composite
def _spoilt(draw, bodies):
    """Return a body with a few bytes replaced by others."""
    body = draw(bodies)
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(len(body), start + 5)))
    return body[:start] + draw(st.binary(max_size=3)) + body[end:]


_DOCUMENTS = (
    ITEMS.map(_text)
    | st.lists(ITEMS, max_size=5).map(_text)
    | st.lists(ITEMS, max_size=5).map(lambda items: _text({"metrics": items}))
    | st.lists(ITEMS, max_size=5).map(_lines)
    | VALUES.map(_text)
)
BODIES = _DOCUMENTS | _spoilt(_DOCUMENTS) | st.binary(max_size=200) | DEEP.map(str.encode)
PACKED = BODIES.map(gzip.compress)

MOSTLY = st.sampled_from([True] * 19 + [False])

LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["application/json", "application/x-ndjson"] * 4 + ["text/plain"]) | LATIN,
        "content-encoding": st.sampled_from(["identity", "gzip", "GZIP", "br"]) | LATIN,
        "idempotency-key": st.sampled_from(["1", "2", "x" * 201]) | LATIN,
        "content-length": st.integers(0, 10**12).map(str) | LATIN,
        "cookie": LATIN,
        "x-forwarded-for": LATIN,
    },
)


@st.composite
def requests(draw):
    """Return a method, headers (the token is None where it is the right one) and the parts of a body."""
    headers = draw(HEADERS)
    if draw(MOSTLY):
        headers.setdefault("content-type", draw(st.sampled_from(["application/json", "application/x-ndjson"])))
    packed = draw(st.booleans())
    if packed:
        headers["content-encoding"] = "gzip"
    headers["authorization"] = None if draw(MOSTLY) else draw(LATIN)
    body = draw((PACKED | _spoilt(PACKED)) if packed else BODIES)
    cut = draw(st.integers(0, len(body)))
    method = "POST" if draw(MOSTLY) else draw(st.sampled_from(["GET", "PUT", "HEAD", "OPTIONS", "NOPE"]))
    return method, headers, [body[:cut], body[cut:]]


class Door:
    """Django as an ASGI server calls it."""

    def __init__(self, token):
        self.token = token
        self.application = api_requests.with_bounded_bodies(get_asgi_application())
        self.statuses = {}

    async def send(self, method, headers, parts, path=PATH):
        """Send a request, and return the status and the body of the answer."""
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        messages.append({"type": "http.request", "body": b"", "more_body": False})
        sent = []

        async def receive():
            return messages.pop(0) if messages else await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        texts = {name: f"Bearer {self.token}" if text is None else text for name, text in headers.items()}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "client": ("192.0.2.1", 1),
            "server": ("testserver", 80),
            "headers": [(b"host", b"testserver"), *((n.encode(), t.encode("latin-1")) for n, t in texts.items())],
        }
        await self.application(scope, receive, send)
        status = sent[0]["status"]
        self.statuses[status] = self.statuses.get(status, 0) + 1
        return status, b"".join(message.get("body", b"") for message in sent[1:])

    async def check(self, request):
        """Send a generated request and check that the answer is a documented one."""
        method, _, parts = request
        status, body = await self.send(*request)
        assert status in {202, 207, 422, *api_requests.STATUSES.values()} - {503}, (status, request)
        if method == "HEAD":
            return
        answer = json.loads(body)
        assert self.token not in body.decode()
        if status in (202, 207, 422):
            assert (answer["accepted"] > 0 or "errors" not in answer) == (status != 422)
            assert ("errors" in answer) == (status != 202)
            assert all(set(error) == {"index", "path", "code", "message"} for error in answer.get("errors", ()))
        else:
            assert {"error", "message"} <= set(answer), parts

    async def check_runs(self, request):
        """Send a generated request to the addresses of test runs and check that the answers are documented ones."""
        for path in ("/api/runs/", "/api/runs/none/alive/", "/api/runs/none/stop/"):
            status, body = await self.send(*request, path=path)
            assert status in {201, *api_requests.STATUSES.values()} - {503}, (status, path, request)
            if request[0] != "HEAD":
                assert {"error", "message"} <= set(json.loads(body)) or status == 201
                assert self.token not in body.decode()


SEED = int(os.environ.get("FUZZ_SEED") or random.randrange(2**32))

NO_LIMITS = {
    "INGEST_REQUESTS_PER_SECOND": 1e9,
    "INGEST_METRICS_PER_SECOND": 1e9,
    "INGEST_GUESSES_PER_MINUTE": 1e9,
    "INGEST_MAX_SOURCES": 20,
    "INGEST_MAX_AGENTS": 20,
}


def fuzz(examples):
    """Return a decorator that calls a test with so many requests; a failure prints the seed."""
    settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: settings(hypothesis.seed(SEED)(given(request=requests())(test)))


@pytest.fixture
async def door(settings):
    print(f"repeat with FUZZ_SEED={SEED}")
    settings.METRICS_STREAM = NO_LIMITS
    bus_module.declare_server()
    get_runtime()
    _, text = await sync_to_async(AccessToken.issue)(name="fuzz", scopes=["publish", "runs"], metric_types=["all"])
    made = Door(text)
    await publish_one(made)
    tasks = len(asyncio.all_tasks())
    failures = (
        get_runtime().telemetry.hub_failures
    )  # The counters are those of the process, in which other tests have run.
    yield made
    await publish_one(made)
    assert len(asyncio.all_tasks()) == tasks
    assert get_runtime().telemetry.hub_failures == failures
    print(f"answers: {sorted(made.statuses.items())}")
    await stop_runtime()


async def publish_one(door):
    """Publish a valid metric, to check that invalid requests do not disturb others."""
    headers = {"authorization": None, "content-type": "application/json"}
    item = {"metric_type": "system", "data": {"n": 1}, "source": "healthy"}
    assert await door.send("POST", headers, [json.dumps(item).encode()]) == (202, b'{"accepted": 1}')
