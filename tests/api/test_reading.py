"""What the addresses of `/api/v1/` that read have in common, and the list of runs, series, rows and names."""

import csv
import io
import json
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User

from metrics_stream.audit import trail
from metrics_stream.broadcast import broadcast_many
from metrics_stream.models import AccessPolicy, AuditEntry, ClientPreset, TestRun
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.api import Program, outcome
from tests.support.recording import START, Recording, metric, start_run

pytestmark = pytest.mark.django_db(transaction=True)

API = "/api/v1/"


@pytest.fixture
def closed(settings):
    settings.ANONYMOUS_READ = False


@pytest.fixture
async def reader(runtime, closed, async_client):
    """A program that may read."""
    made = Program(async_client, "subscribe")
    await made.token()
    return made


async def get(client, path, **headers):
    return await client.get(f"{API}{path}", headers={name.replace("_", "-"): text for name, text in headers.items()})


async def read(program, path, **headers):
    return await get(program.client, path, authorization=f"Bearer {program.text}", **headers)


def rows_of(response):
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8", response.content
    return list(csv.DictReader(io.StringIO(response.content.decode())))


def record(slug="soak", seconds=3, **columns):
    run, recording = start_run(slug, **columns), Recording(slug)
    for second in range(seconds):
        recording.record(
            metric(second, {"throughput_tps": second, "error_rate": 0.5}),
            metric(second, [{"agent_id": "a1", "current_load": 0.5}], metric_type="agent"),
        )
    return recording.end(run)


# --- access ---


async def test_without_a_credential_nothing_is_read(runtime, closed, async_client):
    response = await get(async_client, "runs/")
    assert outcome(response) == (401, "not_authenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "token" in response.json()["message"]


@pytest.mark.parametrize(("scopes", "words"), [(["publish"], "scope subscribe"), (["runs"], "scope subscribe")])
async def test_a_token_needs_the_scope_subscribe(runtime, closed, async_client, scopes, words):
    program = Program(async_client, *scopes)
    await program.token()
    response = await read(program, "runs/")
    assert outcome(response) == (401, "not_authenticated")
    assert words in response.json()["message"]


async def test_what_a_token_may_not_see_does_not_exist(reader):
    await sync_to_async(record)("ours", sources=["web-1"])
    await sync_to_async(record)("theirs", sources=["web-2"])
    await reader.token(name="narrow", sources=["web-1"], metric_types=["system"])
    listed = (await read(reader, "runs/")).json()["runs"]
    assert [run["slug"] for run in listed] == ["ours"]
    assert outcome(await read(reader, "runs/theirs/")) == (404, "not_found")
    shown = (await read(reader, "runs/ours/series/")).json()["series"]
    assert {item["metric_type"] for item in shown} == {"system"}
    types = (await read(reader, "catalogue/")).json()["metric_types"]
    assert [item["slug"] for item in types] == ["system"]


async def test_a_session_reads_and_the_audit_log_says_so(runtime, closed, async_client):
    user = await sync_to_async(User.objects.create_user)("ann")
    policy = await sync_to_async(AccessPolicy.objects.create)(name="all", metric_types=["all"], runs="all")
    await sync_to_async(policy.users.add)(user)
    await sync_to_async(record)()
    await async_client.aforce_login(user)
    assert (await get(async_client, "runs/soak/")).json()["metrics_recorded"] == 6
    await sync_to_async(trail.flush)()
    assert await AuditEntry.objects.filter(who="ann", what="soak").aexists()


async def test_a_reader_of_too_much_is_told_when_to_come_back(settings, reader):
    settings.METRICS_STREAM = {
        **getattr(settings, "METRICS_STREAM", {}),
        "MESSAGE_COST_BURST": 25,
        "MESSAGE_COST_PER_SECOND": 1,
    }
    await stop_runtime()
    statuses = [(await read(reader, "latest/")).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    response = await read(reader, "latest/")
    assert outcome(response) == (429, "too_many_requests")
    assert 1 <= int(response.headers["Retry-After"]) <= 10


# --- parameters, formats and ETags ---


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("runs/?limit=0", "`limit` is '0'; allowed: a whole number from 1 to 1,000"),
        ("runs/?limit=1.5", "`limit` is '1.5'; allowed: a whole number from 1 to 1,000"),
        ("runs/?limit=1&limit=2", "`limit` is given 2 times; allowed: once"),
        ("runs/?status=gone", "`status` is 'gone'; allowed: "),
        ("runs/?from=yesterday", "`from` is 'yesterday'; allowed: ISO 8601 such as 2026-01-31T12:00:00Z"),
        ("runs/?q=%00", "no character NUL"),
        (f"runs/?q={'x' * 201}", "allowed: a text of at most 200 characters"),
        ("runs/?cursor=bm9uZQ", "`cursor` is 'bm9uZQ'; allowed: the `next` of a page of the same list"),
        ("runs/?sort=name", "unknown parameter 'sort'; allowed: limit, cursor, format, q, test, status, from, to"),
        ("runs/?format=xml", "`format` is 'xml'; allowed: "),
        ("runs/soak/series/?max_points=5", "`max_points` is '5'; allowed: a whole number from 10 to 2,000"),
        ("runs/soak/series/?cursor=-1", "`cursor` is '-1'"),
        ("runs/soak/series/?from=2&to=1", "`from` is not before `to`"),
        ("runs/soak/summary/?from=2&to=1", "`from` is not before `to`"),
        ("series/?types=sytem", "unknown metric type 'sytem'; allowed: system,"),
        ("latest/?types=sytem", "unknown metric type 'sytem'; allowed: system,"),
        ("catalogue/?limit=1", "unknown parameter 'limit'; allowed: none"),
        ("stream/?interval=0", "`interval` is '0'; allowed: a number from 0.1 to 60"),
        ("stream/?mode=some", "`mode` is 'some'; allowed: "),
        ("stream/?types=sytem", "unknown metric type 'sytem'"),
        ("stream/?preset=none", "unknown preset 'none'"),
        ("stream/?last_event_id=7", "`Last-Event-ID` is '7'; it must be a `position`"),
    ],
)
async def test_a_wrong_parameter_is_named_with_what_is_allowed(reader, path, words):
    await sync_to_async(record)()
    response = await read(reader, path)
    assert outcome(response) == (400, "invalid_parameter")
    assert words in response.json()["message"]


@pytest.mark.parametrize(
    "path",
    ["runs/none/", "runs/none/series/", "runs/a%00b/requests/", "dashboards/%ff/", "none/", "", "a%0Ab", "runs/a%0Ab/"],
)
async def test_what_does_not_exist_is_answered_as_json(reader, path):
    assert outcome(await read(reader, path)) == (404, "not_found")


async def test_a_method_that_is_not_accepted(reader):
    response = await reader.post(f"{API}catalogue/", {})
    assert outcome(response) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD"
    assert outcome(await reader.client.put(f"{API}runs/", headers={})) == (405, "method_not_allowed")


async def test_an_answer_that_the_reader_has_is_not_sent_again(reader):
    await sync_to_async(record)()
    first = await read(reader, "runs/soak/")
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert {"Authorization", "Cookie", "Accept"} <= set(first.headers["Vary"].split(", "))
    again = await read(reader, "runs/soak/", if_none_match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    await TestRun.objects.filter(slug="soak").aupdate(notes="changed")
    changed = await read(reader, "runs/soak/", if_none_match=first.headers["ETag"])
    assert (changed.status_code, changed.json()["notes"]) == (200, "changed")


async def test_tables_come_as_csv_by_format_or_by_accept(reader):
    await sync_to_async(record)(notes="=1+1", tags=["a", "b"])
    for response in (await read(reader, "runs/?format=csv"), await read(reader, "runs/", accept="text/csv")):
        [row] = rows_of(response)
        assert (row["slug"], row["notes"], json.loads(row["tags"])) == ("soak", "'=1+1", ["a", "b"])
    assert (await read(reader, "runs/?format=json", accept="text/csv")).json()["runs"]
    assert (await read(reader, "runs/", accept="text/html")).json()["runs"]


# --- runs ---


async def test_pages_of_runs_follow_one_another_while_runs_start(reader):
    for number in range(5):
        await sync_to_async(start_run)(f"run-{number}")
    found, path = [], "runs/?limit=2"
    while path:
        response = await read(reader, path)
        body = response.json()
        found += [run["slug"] for run in body["runs"]]
        assert (body["next"] is None) == ("Link" not in response.headers)
        path = None
        if body["next"] is not None:
            link = response.headers["Link"]
            assert link.endswith('; rel="next"')
            parts = urlsplit(link[1 : link.index(">")])
            path = f"{parts.path.removeprefix(API)}?{parts.query}"
            await sync_to_async(start_run)(f"later-{len(found)}")
    assert found == [f"run-{number}" for number in reversed(range(5))]


@pytest.mark.parametrize(
    ("query", "slugs"),
    [
        ("?test=api", ["b"]),
        ("?status=running", ["b", "a"]),
        ("?status=failed", []),
        ("?q=night", ["a"]),
        ("?q=commit=3f2a", ["b"]),
        (f"?from={START + 50}", ["b"]),
        (f"?to={START + 50}", ["a"]),
        ("?from=2100-01-01T00:00:00%2B01:00", []),
    ],
)
async def test_runs_are_filtered(reader, query, slugs):
    await sync_to_async(start_run)("a", notes="night build")
    later = datetime.fromtimestamp(START + 100, UTC)
    await sync_to_async(start_run)("b", test="api", parameters={"commit": "3f2a9c1"}, started_at=later)
    assert [run["slug"] for run in (await read(reader, f"runs/{query}")).json()["runs"]] == slugs


async def test_a_token_starts_marks_and_stops_a_run_at_the_same_addresses(runtime, async_client):
    program = Program(async_client, "runs", "subscribe")
    await program.token()
    started = await program.post(f"{API}runs/", {"name": "soak"})
    assert started.status_code == 201, started.content
    slug = started.json()["slug"]
    for path, body in (("alive", None), ("phases", {"name": "ramp"}), ("stop", {"status": "failed"})):
        response = await program.post(f"{API}runs/{slug}/{path}/", body)
        assert response.status_code == 200, response.content
    shown = (await read(program, f"runs/{slug}/")).json()
    assert (shown["status"], [phase["name"] for phase in shown["phases"]]) == ("failed", ["ramp"])


async def test_only_staff_with_the_permission_delete_a_run_that_has_ended(reader, async_client):
    await sync_to_async(record)()
    path = f"{API}runs/soak/"
    bearer = {"authorization": f"Bearer {reader.text}"}
    assert outcome(await async_client.delete(path, headers=bearer)) == (403, "forbidden")
    user = await sync_to_async(User.objects.create_user)("ann", is_staff=True)
    policy = await sync_to_async(AccessPolicy.objects.create)(name="all", metric_types=["all"], runs="all")
    await sync_to_async(policy.users.add)(user)
    await async_client.aforce_login(user)
    assert outcome(await async_client.delete(path)) == (403, "forbidden")
    await sync_to_async(lambda: user.user_permissions.add(Permission.objects.get(codename="delete_testrun")))()
    assert outcome(await async_client.delete(path)) == (409, "conflict")
    await TestRun.objects.filter(slug="soak").aupdate(status="completed")
    response = await async_client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    assert not await TestRun.objects.filter(slug="soak").aexists()


# --- series, rows, the summary ---


async def test_series_of_a_run_by_type_source_agent_and_field(reader):
    await sync_to_async(record)()
    series = (await read(reader, "runs/soak/series/")).json()["series"]
    assert [(item["metric_type"], item["key"], item["field"]) for item in series] == [
        ("agent", {"agent_id": "a1"}, "current_load"),
        ("system", {}, "throughput_tps"),
        ("system", {}, "error_rate"),
    ]
    [one] = (await read(reader, "runs/soak/series/?types=system&fields=throughput_tps")).json()["series"]
    assert (one["last"], one["unit"], one["bucket_seconds"]) == ([0.0, 1.0, 2.0], None, 1)
    [one] = (await read(reader, "runs/soak/series/?agent_ids=a1&types=agent")).json()["series"]
    assert one["count"] == [1, 1, 1]
    assert (await read(reader, "runs/soak/series/?agent_ids=a2&types=agent")).json()["series"] == []


async def test_series_come_in_pages_and_as_csv(reader):
    await sync_to_async(record)()
    found, cursor = [], ""
    while cursor is not None:
        body = (await read(reader, f"runs/soak/series/?limit=1{cursor and f'&cursor={cursor}'}")).json()
        found.append({item["metric_type"] for item in body["series"]})
        cursor = body["next"]
    assert found == [{"agent"}, {"system"}]
    rows = rows_of(await read(reader, "runs/soak/series/?fields=throughput_tps&format=csv"))
    assert (rows[0]["timestamp"], rows[0]["last"]) == ("2027-01-15T08:00:00.000000Z", "0.0")


async def test_a_span_of_a_run(reader):
    await sync_to_async(record)()
    [one] = (await read(reader, f"runs/soak/series/?fields=throughput_tps&from={START + 1}")).json()["series"]
    assert one["last"] == [1.0, 2.0]
    whole = (await read(reader, "runs/soak/summary/")).json()
    assert (whole["run"], {row["field"] for row in whole["series"]}) == (
        "soak",
        {"throughput_tps", "error_rate", "current_load"},
    )


def record_requests(slug="shop"):
    run, recording = start_run(slug, sources=["gen-1"]), Recording(slug)
    for second in range(3):
        rows = [
            {"name": "/a", "method": "GET", "requests_total": 10 * (second + 1), "p95_response_time_ms": 5.0},
            {"name": "/a", "method": "POST", "requests_total": second + 1, "p95_response_time_ms": 7.0},
        ]
        recording.record(metric(second, rows, metric_type="request", source="gen-1"))
    message = {"name": "/a", "method": "GET", "message": "refused", "occurrences_total": 2}
    recording.record(metric(2, [message], metric_type="error", source="gen-1"))
    return recording.end(run)


async def test_requests_and_errors_of_a_run_are_tables(reader):
    await sync_to_async(record_requests)()
    body = (await read(reader, "runs/shop/requests/")).json()
    assert [(row["label"], row["sources"]) for row in body["requests"]] == [
        ("GET /a", ["gen-1"]),
        ("POST /a", ["gen-1"]),
    ]
    # What the page of the run, its summary and this table show is the same.
    summary = (await read(reader, "runs/shop/summary/")).json()
    assert summary["requests"] == body["requests"]
    [row] = rows_of(await read(reader, "runs/shop/errors/?format=csv"))
    assert (row["name"], row["message"], float(row["occurrences"])) == ("/a", "refused", 2.0)
    [row] = rows_of(await read(reader, "runs/shop/requests/?format=csv&limit=1&cursor=1"))
    assert (row["method"], float(row["requests"])) == ("POST", 3.0)


@pytest.mark.parametrize(
    ("keys", "methods"),
    [
        ('{"method": ["P*"]}', ["POST"]),
        ('{"name": ["/b*"]}', []),
        ('{"name": ["/*"], "method": ["GET", "PUT"]}', ["GET"]),
        ("method=P*", ["POST"]),
        ("name=/*, method=GET,method=PUT", ["GET"]),
    ],
)
async def test_rows_and_series_are_filtered_by_the_parts_of_their_keys(reader, keys, methods):
    await sync_to_async(record_requests)()
    query = urlencode({"keys": keys})
    body = (await read(reader, f"runs/shop/requests/?{query}")).json()
    assert [row["key"]["method"] for row in body["requests"]] == methods
    body = (await read(reader, f"runs/shop/series/?types=request&fields=requests_total&{query}")).json()
    assert [item["key"]["method"] for item in body["series"]] == methods


@pytest.mark.parametrize("keys", ["{", "[]", '{"name": "/a"}', '{"name": [1]}', "name", "=/a", "name=/a,"])
async def test_a_filter_of_keys_that_is_none_is_named(reader, keys):
    response = await read(reader, f"series/?{urlencode({'keys': keys})}")
    assert outcome(response) == (400, "invalid_parameter")
    assert "`keys` is " in response.json()["message"]
    assert "an object of lists of texts" in response.json()["message"]


# --- live ---


async def test_latest_and_the_recent_past(reader):
    await broadcast_many(
        [{"metric_type": "system", "source": source, "data": {"n": number}} for number in (1, 2) for source in "ab"]
    )
    await broadcast_many([{"metric_type": "agent", "source": "a", "data": [{"agent_id": "x", "n": 1}]}])
    body = (await read(reader, "latest/")).json()
    assert [(item["metric_type"], item["source"]) for item in body["metrics"]] == [
        ("agent", "a"),
        ("system", "a"),
        ("system", "b"),
    ]
    body = (await read(reader, "latest/?types=system&sources=b")).json()
    assert [item["data"] for item in body["metrics"]] == [{"n": 2}]
    first = (await read(reader, "latest/?limit=2")).json()
    assert len(first["metrics"]) == 2
    rest = (await read(reader, f"latest/?limit=2&cursor={first['next']}")).json()
    assert (len(rest["metrics"]), rest["next"]) == (1, None)
    series = (await read(reader, "series/?types=system&sources=a")).json()["series"]
    assert [(item["field"], item["last"][-1]) for item in series] == [("n", 2.0)]
    assert rows_of(await read(reader, "series/?types=agent&format=csv"))[0]["agent_id"] == "x"


async def test_presets_are_those_that_the_reader_may_see(reader):
    await ClientPreset.objects.acreate(name="One", slug="one", metric_types=["system"], sources=["web-1"])
    [preset] = (await read(reader, "presets/")).json()["presets"]
    assert (preset["slug"], preset["filters"], preset["interval_seconds"]) == ("one", {"sources": ["web-1"]}, 1.0)


async def test_an_open_server_answers_without_a_credential(runtime, async_client):
    await sync_to_async(record)()
    assert [run["slug"] for run in (await get(async_client, "runs/")).json()["runs"]] == ["soak"]
