"""Share links: what the address of one opens on pages, and what a dashboard shows to it."""

import logging
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.signing import Signer
from django.utils import timezone

from metrics_stream.access.shares import SHARES_KEY
from metrics_stream.core.metrics.permission import Grant
from metrics_stream.defaults.seed import seed
from metrics_stream.models import AccessPolicy, ClientPreset, Dashboard, Panel, ShareLink
from metrics_stream.models.dashboard_content import grants_of
from tests.support.access import end_link, open_link
from tests.support.recording import start_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("closed")]

ENDED = "This link does not work any more"
HOUR = timedelta(hours=1)


# --- links ---


def test_only_a_digest_of_the_text_is_kept(lobby):
    link, text = ShareLink.issue(name="Lobby screen", dashboard=lobby)
    assert ShareLink.find(text) == link
    secret = text.partition(".")[0]
    rows = [*ShareLink.objects.values(), *ShareLink.history.values()]
    assert not any(text in str(row) or secret in str(row) for row in rows)


@pytest.mark.parametrize("junk", ["", "x", "a.b", "\x00", "é.é", "." * 500, "../..", "mst_00000000_0"])
def test_a_text_that_the_server_has_not_signed_causes_no_query(junk, django_assert_num_queries):
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


@pytest.mark.parametrize("how", ["expired", "revoked", "deleted", "unpublished"])
def test_link_that_has_ended_looks_like_one_that_never_was(client, lobby, how):
    link, text = ShareLink.issue(name="Lobby screen", dashboard=lobby)
    end_link(link, how)
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
    end_link(link, how)
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


def test_a_signed_in_user_sees_shared_dashboards_beside_their_own(client, lobby, other, django_user_model):
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
