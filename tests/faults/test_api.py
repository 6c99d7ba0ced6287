"""5,000 requests made of the OpenAPI document, to a real server: none of them makes it fail."""

import json
import re

import hypothesis
import pytest
import requests

from tests.support.generated import cases_of, check, prepare
from tests.support.stack import Stack

pytestmark = pytest.mark.faults

PREPARE = """
import json
from django.contrib.auth.models import User
from django.test import Client
from metrics_stream.models import AccessToken, ClientPreset
from metrics_stream.runs import lifecycle
root = User.objects.create_superuser("root")
browser = Client()
browser.force_login(root)
scopes = ["subscribe", "publish", "runs"]
_, token = AccessToken.issue(name="generated", scopes=scopes, metric_types=["all"])
ClientPreset.objects.create(name="One", slug="one")
run = lifecycle.start("soak")
print(json.dumps({"token": token, "session": browser.cookies["sessionid"].value}))
"""

REQUESTS = 5_000


@pytest.fixture
def stack(tmp_path):
    limits = {
        "MESSAGE_COST_BURST": "1000000",
        "INGEST_REQUESTS_PER_SECOND": "10000",
        "INGEST_METRICS_PER_SECOND": "100000",
        "INGEST_RUNS_PER_HOUR": "100000",
        "INGEST_MAX_OPEN_RUNS": "1000",
    }
    made = Stack(tmp_path, "", **{f"METRICS_STREAM_{name}": value for name, value in limits.items()})
    made.manage("migrate", "--verbosity", "0")
    made.manage("seed_defaults")
    made.start()
    yield made
    made.stop()


def test_generated_requests_make_no_server_fail(stack):
    held = json.loads(stack.manage("shell", "--verbosity", "0", code=PREPARE).splitlines()[-1])
    document = stack.get("/api/v1/openapi.json")
    program, person = requests.Session(), requests.Session()
    person.cookies.set("sessionid", held["session"], domain="127.0.0.1")
    page = person.get(f"{stack.url}/api/v1/docs/", timeout=10).text
    csrf = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    statuses: dict[int, int] = {}

    @hypothesis.settings(max_examples=REQUESTS, database=None, phases=[hypothesis.Phase.generate])
    @hypothesis.given(cases_of(document))
    def send(case):
        operation = document["paths"][case.operation.path][case.operation.method.lower()]
        is_person = {"token": []} not in operation["security"]
        headers = {"X-CSRFToken": csrf} if is_person else {"Authorization": f"Bearer {held['token']}"}
        session = person if is_person else program
        request = prepare(case, stack.url, **headers)
        if is_person:
            request.headers["Cookie"] = "; ".join(f"{cookie.name}={cookie.value}" for cookie in person.cookies)
        is_stream = (
            "text/event-stream" in operation["responses"]["200"].get("content", {})
            if "200" in operation["responses"]
            else False
        )
        with session.send(request, timeout=30, stream=is_stream) as answer:
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            if not (is_stream and answer.status_code == 200):
                check(case, answer)

    send()
    print(statuses)
    assert sum(statuses.values()) >= REQUESTS
    assert stack.get("/readyz")["ready"]
    assert "Traceback" not in stack.log.read_text()
