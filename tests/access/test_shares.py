"""Share links: what the address of one opens and what not, on pages and on a socket, and how it ends."""

import json
import logging
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.sessions.models import Session
from django.core.signing import Signer
from django.db import DatabaseError
from django.utils import timezone

from metrics_stream.access import monitor
from metrics_stream.access.shares import SHARES_KEY, grants_of
from metrics_stream.broadcast import broadcast
from metrics_stream.consumers import replay_sources
from metrics_stream.core.metrics.permission import Grant
from metrics_stream.defaults.seed import seed
from metrics_stream.models import AccessPolicy, ClientPreset, Dashboard, Panel, ShareLink
from metrics_stream.routing import stream_application
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.recording import Recording, metric, start_run

pytestmark = pytest.mark.django_db(transaction=True)

ENDED = "This link does not work any more"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def closed(settings):
    """Let nobody see anything without showing something."""
    settings.ANONYMOUS_READ = False


@pytest.fixture
def lobby():
    dashboard = Dashboard.objects.create(title="Lobby", slug="lobby")
    Panel.objects.create(dashboard=dashboard, title="Load", metric_type="system", fields=["throughput_tps"])
    Panel.objects.create(dashboard=dashboard, title="Who", kind="status", metric_type="agent")
    return dashboard


@pytest.fixture
def other():
    dashboard = Dashboard.objects.create(title="Other", slug="other")
    Panel.objects.create(dashboard=dashboard, title="Money", metric_type="business", fields=["money_saved"])
    return dashboard


def open_link(client, text):
    return client.get(f"/share/{text}/")


# --- links ---


def test_only_a_digest_of_the_text_is_kept(lobby):
    link, text = ShareLink.issue(name="Lobby screen", dashboard=lobby)
    assert ShareLink.find(text) == link
    secret = text.partition(".")[0]
    rows = [*ShareLink.objects.values(), *ShareLink.history.values()]
    assert not any(text in str(row) or secret in str(row) for row in rows)


@pytest.mark.parametrize("junk", ["", "x", "a.b", "\x00", "é.é", "." * 500, "../..", "mst_00000000_0"])
def test_what_the_server_has_not_signed_asks_no_database(junk, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert ShareLink.find(junk) is None
        assert ShareLink.find(Signer(sep=".").sign(junk)) is None


def test_link_leads_to_its_dashboard_without_its_text_in_the_address(client, lobby):
    link, text = ShareLink.issue(name="Lobby screen", dashboard=lobby)
    answer = open_link(client, text)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/dashboards/lobby/")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Robots-Tag"] == "noindex"
    assert "no-store" in answer.headers["Cache-Control"]
    page = client.get("/dashboards/lobby/")
    assert (page.status_code, page.headers["X-Robots-Tag"]) == (200, "noindex")
    assert client.session[SHARES_KEY] == [link.pk]
    link.refresh_from_db()
    assert link.last_used_at is not None


def test_link_of_a_run_leads_to_the_run(client, lobby):
    _, text = ShareLink.issue(name="Investors", dashboard=lobby, run=start_run("soak"))
    assert open_link(client, text).headers["Location"] == "/dashboards/lobby/?run=soak"
    for address in ("/dashboards/lobby/", "/dashboards/lobby/?run=another", "/"):
        assert client.get(address, follow=True).request["QUERY_STRING"] == "run=soak"
    page = client.get("/dashboards/lobby/?run=soak")
    assert [run["id"] for run in page.context["runs"]] == ["soak"]
    assert page.context["page"]["is_live"] is False


def spoil(link, how):
    match how:
        case "expired":
            ShareLink.objects.update(expires_at=timezone.now())
        case "revoked":
            link.revoke()
        case "deleted":
            link.delete()
        case "unpublished":
            Dashboard.objects.update(published=False)


@pytest.mark.parametrize("how", ["expired", "revoked", "deleted", "unpublished"])
def test_link_that_has_ended_looks_like_one_that_never_was(client, lobby, how):
    link, text = ShareLink.issue(name="Lobby screen", dashboard=lobby)
    spoil(link, how)
    answers = [client.get(f"/share/{each}", follow=True) for each in (f"{text}/", text, "never/", "a/b/c")]
    assert {answer.content for answer in answers} == {answers[0].content}
    assert ENDED in answers[0].content.decode()
    assert "<nav" not in answers[0].content.decode()
    for answer in answers:
        assert answer.redirect_chain == [("/share/", 302)]
        assert answer.status_code == 410
        assert answer.headers["X-Robots-Tag"] == "noindex"
    assert SHARES_KEY not in client.session


@pytest.mark.parametrize("how", ["expired", "revoked", "deleted", "unpublished"])
def test_session_of_a_link_ends_with_it(client, lobby, how):
    link, text = ShareLink.issue(name="Lobby screen", dashboard=lobby)
    open_link(client, text)
    spoil(link, how)
    assert client.get("/dashboards/lobby/").headers["Location"].endswith("?next=/dashboards/lobby/")


def test_no_log_has_the_text_of_a_link(client, lobby, caplog):
    link, text = ShareLink.issue(name="Lobby screen", dashboard=lobby)
    caplog.set_level(logging.DEBUG, logger="django.request")
    client.handler.enforce_csrf_checks = True
    client.post(f"/share/{text}/")
    open_link(client, text)
    link.revoke()
    for address in (f"/share/{text}/", f"/share/{text}", f"/share/{text}/x/"):
        client.get(address, follow=True)
        client.put(address)
    client.get("/nowhere/")
    assert "/nowhere/" in caplog.text
    assert text.partition(".")[0] not in caplog.text


# --- sessions ---


def test_opening_a_link_takes_another_session_and_opening_it_again_the_same(client, lobby):
    _, text = ShareLink.issue(name="Lobby screen", dashboard=lobby)
    planted = client.session
    planted["colour"] = "red"
    planted.save()
    open_link(client, text)
    key = client.session.session_key
    assert key != planted.session_key
    assert "colour" not in client.session
    open_link(client, text)
    assert client.session.session_key == key
    assert SHARES_KEY not in Session.objects.get(pk=planted.session_key).get_decoded()


@pytest.mark.parametrize(("ends", "days"), [(HOUR, HOUR / timedelta(days=1)), (None, 400), (timedelta(days=900), 400)])
def test_session_lives_no_longer_than_its_link(client, lobby, ends, days):
    expires_at = None if ends is None else timezone.now() + ends
    _, text = ShareLink.issue(name="Lobby screen", dashboard=lobby, expires_at=expires_at)
    open_link(client, text)
    left = Session.objects.get(pk=client.session.session_key).expire_date - timezone.now()
    assert abs(left - timedelta(days=days)) < timedelta(seconds=30)


def test_live_links_stand_side_by_side_and_one_of_a_run_alone(client, lobby, other):
    for dashboard in (lobby, other):
        open_link(client, ShareLink.issue(name="x", dashboard=dashboard)[1])
    assert [client.get(f"/dashboards/{slug}/").status_code for slug in ("lobby", "other")] == [200, 200]
    open_link(client, ShareLink.issue(name="x", dashboard=lobby, run=start_run("soak"))[1])
    assert client.get("/dashboards/other/").status_code == 404
    open_link(client, ShareLink.issue(name="x", dashboard=other)[1])
    assert client.get("/dashboards/lobby/").status_code == 404


def test_who_is_signed_in_sees_what_is_shared_live_beside_the_rest(client, lobby, other, django_user_model):
    user = django_user_model.objects.create_user("ada", "", "x")
    AccessPolicy.objects.create(name="own").users.add(user)
    AccessPolicy.objects.get().dashboards.add(other)
    client.force_login(user)
    assert client.get("/dashboards/lobby/").status_code == 404
    open_link(client, ShareLink.issue(name="x", dashboard=lobby)[1])
    pages = [client.get(address) for address in ("/dashboards/lobby/", "/dashboards/other/", "/runs/", "/console/")]
    assert [page.status_code for page in pages] == [200] * 4
    assert not any("X-Robots-Tag" in page.headers for page in pages)
    answer = client.get(f"/share/{ShareLink.issue(name='x', dashboard=other, run=start_run('soak'))[1]}/", follow=True)
    assert answer.status_code == 410
    assert "You are signed in as ada." in answer.content.decode()


def test_on_an_open_server_a_link_only_leads_somewhere(client, lobby, settings):
    settings.ANONYMOUS_READ = True
    answer = open_link(client, ShareLink.issue(name="x", dashboard=lobby)[1])
    assert answer.headers["Location"] == "/dashboards/lobby/"
    assert not answer.cookies
    assert client.get("/runs/").status_code == 200


# --- pages ---


@pytest.mark.parametrize("is_of_run", [True, False])
def test_nothing_but_the_dashboard_exists_for_a_share_session(client, lobby, other, is_of_run):
    run = start_run("soak")
    open_link(client, ShareLink.issue(name="x", dashboard=lobby, run=run if is_of_run else None)[1])
    for address in (
        "/dashboards/other/",
        "/runs/",
        "/runs/soak/",
        "/runs/soak/export.csv",
        "/runs/soak/export.ndjson.gz",
        "/console/",
    ):
        answer = client.get(address)
        assert (address, answer.status_code) == (address, 404)
        assert "/console/" not in answer.content.decode()
    assert client.get("/api/stats/").status_code == 403
    assert client.get("/admin/").status_code == 302
    assert client.get("/", follow=True).request["PATH_INFO"] == "/dashboards/lobby/"
    page = client.get("/dashboards/lobby/?run=soak").content.decode()
    for elsewhere in ("/runs/", "/console/", "/admin/", "/dashboards/other/", "data-connection-sign-in"):
        assert elsewhere not in page
    assert client.post("/dashboards/lobby/").status_code == 405


# --- what a dashboard shows ---


def shown(dashboard):
    return {grant.metric_types: grant.fields for grant in grants_of(dashboard)}


@pytest.mark.parametrize(
    ("kind", "metric_type", "fields", "expected"),
    [
        ("line", "system", ["cost.total", "error_rate"], {"cost", "error_rate"}),
        ("table", "agent", ["agent_name", "status"], {"agent_name", "status"}),
        ("status", "agent", ["health_score"], {"health_score", "status"}),
        ("status", "agent", [], {"status"}),
        ("flow", "presentation", [], {"transaction_flow_data"}),
        ("flow", "presentation", ["flow.nodes"], {"flow"}),
        ("text", "", [], None),
        ("line", "system", [], None),
        ("number", "gone", ["n"], None),
        ("line", "system", [[1]], None),
    ],
)
def test_panel_shows_the_fields_that_it_reads(kind, metric_type, fields, expected):
    dashboard = Dashboard.objects.create(title="One", slug="one")
    Panel.objects.create(dashboard=dashboard, title="x", kind=kind, metric_type=metric_type, fields=fields)
    assert shown(dashboard) == ({} if expected is None else {frozenset({metric_type}): expected})


def test_dashboard_shows_what_its_preset_lets_through(lobby):
    lobby.preset = ClientPreset.objects.create(
        name="East", slug="east", sources=["east"], agent_ids=["a-1"], fields=["throughput_tps"]
    )
    east, agents = frozenset({"east"}), frozenset({"a-1"})
    assert list(grants_of(lobby)) == [Grant(frozenset({"system"}), east, agents, frozenset({"throughput_tps"}))]
    lobby.preset.sources = {"east": 1}
    assert list(grants_of(lobby)) == []


def test_every_dashboard_of_the_seed_shows_named_fields_only():
    seed()
    for dashboard in Dashboard.objects.all():
        grants = list(grants_of(dashboard))
        assert grants
        assert all(grant.fields for grant in grants)


# --- sockets ---


class Viewer(WebsocketCommunicator):
    """The socket of a browser with a session."""

    async def ask(self, **message):
        await self.send_to(text_data=json.dumps(message))
        return await self.hear()

    async def hear(self):
        return json.loads(await self.receive_from(timeout=5))

    async def subscribe(self, *metric_types, **keys):
        await self.ask(type="set_update_interval", interval_seconds=0.1)
        return await self.ask(type="subscribe", metric_types=metric_types or ("all",), **keys)

    async def closed(self):
        """Return the code with which it is closed, and the error that came before."""
        error = None
        while (message := await self.receive_output(timeout=5))["type"] == "websocket.send":
            error = json.loads(message["text"]).get("code")
        return message["code"], error


def key_of(client, link_and_text):
    open_link(client, link_and_text[1])
    return client.session.session_key


@asynccontextmanager
async def watching(key):
    headers = [(b"host", b"testserver"), (b"origin", b"http://testserver"), (b"cookie", f"sessionid={key}".encode())]
    viewer = Viewer(stream_application(None), "/ws/metrics/", headers=headers)
    assert (await viewer.connect(timeout=5))[0]
    viewer.welcome = await viewer.hear()
    try:
        yield viewer
    finally:
        await viewer.disconnect(timeout=5)


@pytest.fixture
async def running(monkeypatch):
    monkeypatch.setattr(monitor, "SETTLE_SECONDS", 0.0)
    yield
    await stop_runtime()


async def publish():
    await broadcast("business", {"money_saved": 1})
    await broadcast("agent", [{"agent_id": "a-1", "agent_name": "Ada", "status": "healthy", "current_load": 0.5}])
    await broadcast("system", {"throughput_tps": 5, "error_rate": 0.5}, source="east")


async def data_of(viewer):
    """Return the data of both kinds of metrics that come, by their type."""
    found = {}
    while len(found) < 2:
        message = await viewer.hear()
        for item in [message["data"]] if message["type"] == "metric_update" else message.get("data", []):
            found[item["metric_type"]] = item["data"]
    return found


PERMITTED = {
    "system": {"throughput_tps": 5},
    "agent": [{"agent_id": "a-1", "agent_name": "Ada", "status": "healthy"}],
}


async def test_socket_gets_the_fields_of_the_panels_whatever_it_asks_for(client, lobby, running):
    key = await sync_to_async(key_of)(client, await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby))
    async with watching(key) as viewer:
        assert viewer.welcome["metric_types"] == ["system", "agent"]
        assert (await viewer.subscribe("business"))["code"] == "unknown_metric_type"
        assert (await viewer.subscribe())["metric_types"] == ["system", "agent"]
        await publish()
        assert await data_of(viewer) == PERMITTED
        filters = {"fields": ["error_rate", "current_load", "throughput_tps", "status"]}
        assert (await viewer.ask(type="set_filters", filters=filters))["type"] == "filters_updated"
        await publish()
        assert await data_of(viewer) == PERMITTED


async def test_past_shows_no_more_than_what_is_live(client, lobby, running):
    key = await sync_to_async(key_of)(client, await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby))
    async with watching(key) as viewer:
        await publish()
        confirmed = await viewer.subscribe("all", backfill_seconds=60)
        assert confirmed["metric_types"] == ["system", "agent"]
        series = await backfilled(viewer)
        assert series == {("system", "throughput_tps")}
        begun = await viewer.ask(type="replay", backfill_seconds=60, ref="r")
        while begun.get("ref") != "r":
            begun = await viewer.hear()
        assert begun["type"] == "replay_state"
        assert await backfilled(viewer) == {("system", "throughput_tps")}
        error = await viewer.ask(type="replay", run="soak", ref="run")
        while error.get("ref") != "run":
            error = await viewer.hear()
        assert error["code"] == "unknown_run"


async def backfilled(viewer):
    """Return what a backfill has series of."""
    series = set()
    while True:
        message = await viewer.hear()
        if message["type"] == "backfill":
            series |= {(item["metric_type"], item["field"]) for item in message["series"]}
            if message["done"]:
                return series


def recorded_run():
    run = start_run("soak")
    recording = Recording("soak")
    recording.record(
        metric(1, {"throughput_tps": 7, "error_rate": 0.1}), metric(2, {"money_saved": 7}, metric_type="business")
    )
    return recording.end(run)


async def test_link_of_a_run_shows_the_run_and_nothing_live(client, lobby, running):
    run = await sync_to_async(recorded_run)()
    await sync_to_async(start_run)("another")
    link = await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby, run=run)
    async with watching(await sync_to_async(key_of)(client, link)) as viewer:
        await publish()
        assert (await viewer.subscribe("all", backfill_seconds=60))["metric_types"] == ["system", "agent"]
        assert await backfilled(viewer) == set()
        await publish()
        assert (await viewer.ask(type="replay"))["code"] == "unknown_run"
        assert (await viewer.ask(type="replay", run="another"))["code"] == "unknown_run"
        assert (await viewer.ask(type="live"))["type"] == "error"
        begun = await viewer.ask(type="replay", run="soak", speed=60, backfill_seconds=60)
        assert (begun["type"], begun["run"]) == ("replay_state", "soak")
        while not (frame := await viewer.hear())["type"].startswith("metric_"):
            pass
        item = frame["data"] if frame["type"] == "metric_update" else frame["data"][0]
        assert item["data"] == {"throughput_tps": 7}
        await publish()
        assert (await viewer.ask(type="live"))["type"] == "error"


async def test_link_of_a_run_shows_nothing_live_after_a_replay_that_could_not_begin(
    client, lobby, running, monkeypatch
):
    async def away(*_):
        raise DatabaseError("away")

    run = await sync_to_async(recorded_run)()
    link = await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby, run=run)
    async with watching(await sync_to_async(key_of)(client, link)) as viewer:
        await publish()
        with monkeypatch.context() as patch:
            patch.setattr(replay_sources, "_read_newest", away)
            assert (await viewer.ask(type="replay", run="soak"))["code"] == "internal"
        await viewer.subscribe("all", backfill_seconds=60)
        # What is whole comes before the columns.
        assert (message := await viewer.hear())["type"] == "backfill"
        assert message["series"] == []
        await publish()
        assert (await viewer.ask(type="ping"))["type"] == "pong"
        assert (await viewer.ask(type="replay", run="soak"))["type"] == "replay_state"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("revoked", (4503, "forbidden")),
        ("deleted", (4503, "forbidden")),
        ("unpublished", (4503, "forbidden")),
        ("expired", (4005, "expired")),
    ],
)
async def test_live_socket_ends_with_its_link(client, lobby, running, how, expected):
    link, text = await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby)
    async with watching(await sync_to_async(key_of)(client, (link, text))) as viewer:
        await viewer.subscribe()
        began = time.monotonic()
        await sync_to_async(end)(link, how)
        assert await viewer.closed() == expected
        assert time.monotonic() - began < 5
    # Whoever comes back is refused at once.
    async with watching(client.session.session_key) as viewer:
        assert viewer.welcome["code"] == expected[1]


def end(link, how):
    """End a link as the admin does, so that the servers hear of it."""
    match how:
        case "expired":
            link.expires_at = timezone.now()
            link.save()
        case "unpublished":
            link.dashboard.published = False
            link.dashboard.save()
        case _:
            spoil(link, how)


async def test_socket_sees_no_field_of_a_panel_that_is_gone(client, lobby, running):
    key = await sync_to_async(key_of)(client, await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby))
    async with watching(key) as viewer:
        await viewer.subscribe()
        await sync_to_async(_delete_load)()
        assert (await viewer.hear())["metric_types"] == ["agent"]
        await publish()
        message = await viewer.hear()
        assert message["data"]["metric_type"] == "agent"


def _delete_load():
    Panel.objects.get(title="Load").delete()


async def test_link_alone_is_no_way_in_for_programs(client, lobby, running):
    key = await sync_to_async(key_of)(client, await sync_to_async(ShareLink.issue)(name="x", dashboard=lobby))
    program = Viewer(stream_application(None), "/ws/metrics/", headers=[(b"cookie", f"sessionid={key}".encode())])
    assert (await program.connect(timeout=5))[0]
    assert (await program.hear())["type"] == "authentication_required"
    await program.disconnect(timeout=5)
