"""Programs with a token, as the HTTP addresses for programs see them."""

import json

from asgiref.sync import sync_to_async

from metrics_stream.conf import get_settings
from metrics_stream.core.protocol.positions import Position
from metrics_stream.history import open_history
from metrics_stream.models import AccessToken
from metrics_stream.runtime.runtime import get_runtime

METRICS_PATH = "/api/metrics/"
RUNS_PATH = "/api/runs/"

ITEM = {"metric_type": "system", "data": {"throughput_tps": 950.0}, "source": "load", "timestamp": 1_700_000_001.5}


def item(number, **changes):
    """Return a metric as a program sends it."""
    return {**ITEM, "data": {"n": number}, **changes}


class Program:
    """A program with a token, which sends requests through Django's test client."""

    def __init__(self, client, *scopes):
        self.client = client
        self.scopes = list(scopes)

    async def token(self, **values):
        """Create a token and use it from now on."""
        defaults = {"name": "k6 in Oslo", "scopes": self.scopes, "metric_types": ["all"]}
        self.row, self.text = await sync_to_async(AccessToken.issue)(**{**defaults, **values})
        return self.row

    async def post(self, path, content=None, *, kind="application/json", **headers):
        """Send a body: JSON unless it is bytes, empty for None."""
        body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
        headers = {"authorization": f"Bearer {self.text}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return await self.client.generic("POST", path, body, content_type=kind, headers=headers)

    async def publish(self, content, **options):
        """Send metrics."""
        return await self.post(METRICS_PATH, content, **options)

    async def start(self, **content):
        """Start a test run that can be started, and return its slug."""
        response = await self.post(RUNS_PATH, {"name": "soak", **content})
        assert response.status_code == 201, response.content
        return response.json()["slug"]

    async def alive(self, slug, content=None, **headers):
        """Keep a test run alive."""
        return await self.post(f"{RUNS_PATH}{slug}/alive/", content, **headers)

    async def stop(self, slug, content=None, **headers):
        """End a test run."""
        return await self.post(f"{RUNS_PATH}{slug}/stop/", content, **headers)


async def published(metric_type="system"):
    """Return what the history has of a type."""
    history, position, is_last = open_history(get_settings()), Position("", {metric_type: 0}), False
    found = []
    while not is_last:  # On a Valkey, other tests have published as well.
        page = await history.since(position)
        found += [json.loads(metric.body) for batch in page.batches for metric in batch.metrics]
        position, is_last = page.position, page.is_last
    return found


async def numbers():
    """Return the numbers of the `system` metrics in the history."""
    return [body["data"]["n"] for body in await published()]


def errors(response):
    """Return index, path and code of each error in an answer."""
    return [(error["index"], error["path"], error["code"]) for error in response.json()["errors"]]


def outcome(response):
    """Return the status of an answer and its error."""
    return response.status_code, response.json().get("error")


def rejections():
    """Return how often each error has rejected a request."""
    return dict(get_runtime().telemetry.ingest_requests_refused)
