"""The OpenAPI document: it covers every address, and the answers to requests that are made of it are as it says."""

import asyncio
import json
import re
from datetime import timedelta

import httpx
import hypothesis
import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient
from django.urls import URLPattern

from metrics_stream import urls
from metrics_stream.api.openapi import addresses, document
from metrics_stream.api.requests import STATUSES
from metrics_stream.bus.bus import declare_server
from metrics_stream.core.protocol.codes import RequestErrorCode
from metrics_stream.defaults.seed import seed
from metrics_stream.models import AccessToken
from metrics_stream.runtime.runtime import stop_runtime
from tests.api.test_reading import record, record_requests
from tests.support.generated import cases_of, check, prepare

DOCUMENT = json.loads(document(""))


def test_every_address_of_the_api_is_described():
    paths = {str(item.pattern) for item in urls.urlpatterns if isinstance(item, URLPattern)}
    versioned = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path) for path in paths if path.startswith("api/v1/")}
    undescribed = {"api/v1/openapi.json", "api/v1/docs/", "api/v1/{rest}"}
    assert {path.removeprefix("/") for path in DOCUMENT["paths"]} == versioned - undescribed
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_names_of_operations_are_unique_and_references_lead_somewhere():
    operations = [item for path in DOCUMENT["paths"].values() for item in path.values() if isinstance(item, dict)]
    ids = [item["operationId"] for item in operations]
    assert len(ids) == len(set(ids))
    schemas = DOCUMENT["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT))) <= set(schemas)


def test_every_error_has_a_status():
    assert set(STATUSES) == set(RequestErrorCode)


def test_the_document_names_the_path_of_the_site():
    assert json.loads(document("/metrics"))["servers"] == [{"url": "/metrics"}]
    assert len(addresses()) == len(DOCUMENT["paths"])


@pytest.mark.django_db
def test_everybody_may_read_the_document_and_keep_it(client, settings):
    settings.ANONYMOUS_READ = False
    first = client.get("/api/v1/openapi.json")
    assert (first.status_code, first.json()) == (200, DOCUMENT)
    assert client.get("/api/v1/openapi.json", headers={"if-none-match": first.headers["ETag"]}).status_code == 304


@pytest.mark.django_db
def test_the_page_shows_every_operation(client):
    page = client.get("/api/v1/docs/").content.decode()
    for path, methods in DOCUMENT["paths"].items():
        for method in methods.keys() - {"parameters"}:
            assert f'data-method="{method.upper()}"' in page
        assert f">{path}</code>" in page
    assert "<script>" not in page
    assert "style=" not in page


class Sender:
    """Sends requests through Django, as a program with a token, or as the superuser where a token is not enough."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        scopes = ["subscribe", "publish", "runs"]
        _, self.token = AccessToken.issue(name="generated", scopes=scopes, metric_types=["all"])
        self.program = AsyncClient(raise_request_exception=False)
        self.person = AsyncClient(raise_request_exception=False)
        self.person.force_login(User.objects.create_superuser("root"))

    def send(self, case) -> httpx.Response:
        """Return the answer to a generated request."""
        operation = DOCUMENT["paths"][case.operation.path][case.operation.method.lower()]
        is_person = {"token": []} not in operation["security"]
        request = prepare(case, "http://testserver", **({} if is_person else {"Authorization": f"Bearer {self.token}"}))
        browser = self.person if is_person else self.program
        body = request.body or b""
        sent = browser.generic(
            request.method,
            request.path_url,
            body if isinstance(body, bytes) else body.encode(),
            content_type=request.headers.get("Content-Type", ""),
            headers={name: text for name, text in request.headers.items() if name.lower() not in _OF_SERVER},
        )
        given = self._runner.run(sent)
        said = httpx.Request(request.method, request.url, content=body)
        answer = httpx.Response(given.status_code, headers=dict(given.headers), content=given.content, request=said)
        answer.elapsed = timedelta(0)
        return answer


_OF_SERVER = {"content-type", "content-length"}


@pytest.mark.django_db(transaction=True)
def test_generated_requests_get_what_the_document_promises(settings):
    """`tests/faults/test_api.py` sends 5,000 to a real server."""
    settings.METRICS_STREAM = {"MESSAGE_COST_BURST": 1_000_000, "INGEST_REQUESTS_PER_SECOND": 10_000}
    seed()
    record()
    record_requests()

    @hypothesis.settings(max_examples=40, derandomize=True, database=None, phases=[hypothesis.Phase.generate])
    @hypothesis.given(cases_of(DOCUMENT, without=("/api/v1/stream/",)))
    def send(case):
        check(case, sender.send(case))

    declare_server()
    with asyncio.Runner() as runner:
        sender = Sender(runner)
        try:
            send()
        finally:
            runner.run(stop_runtime())
