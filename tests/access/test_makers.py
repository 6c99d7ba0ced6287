"""Tokens and share links that a person has made: they show at most what this person may see now."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from metrics_stream.access.credentials import BrowserSession
from metrics_stream.access.grants import resolve
from metrics_stream.models import AccessPolicy, AccessToken, ClientPreset, Dashboard, Panel, ShareLink, TestRun
from tests.support.access import open_link
from tests.support.recording import Recording, metric, start_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("closed")]

PAGES = ["/dashboards/lobby/", "/dashboards/other/", "/runs/ours/", "/runs/both/", "/runs/both/export.csv"]


@pytest.fixture
def ann(lobby, other):
    """A person who may see `system` of one source, one of two dashboards, and one of two runs."""
    user = User.objects.create_user("ann", "", "x", is_staff=True)
    policy = AccessPolicy.objects.create(name="ann", metric_types=["system"], sources=["ours"], runs="sources")
    policy.users.add(user)
    policy.dashboards.add(lobby)
    for slug, sources in (("ours", ["ours"]), ("both", ["ours", "theirs"])):
        run, recording = start_run(slug, sources=sources), Recording(slug)
        recording.record(*(metric(number, source=source) for number, source in enumerate(sources)))
        recording.end(run)
    return user


def token_of(maker, **columns):
    """Return the headers of a token for everything of `system`."""
    values = {"name": "probe", "scopes": ["subscribe"], "metric_types": ["system"], "created_by": maker}
    return {"Authorization": f"Bearer {AccessToken.issue(**values | columns)[1]}"}


def statuses(client, headers=None):
    return [client.get(address, headers=headers).status_code for address in PAGES]


# --- tokens ---


def test_token_opens_what_its_maker_may_open(client, ann):
    client.force_login(ann)
    assert statuses(client) == [200, 404, 200, 404, 404]
    headers = token_of(ann)
    assert statuses(Client(), headers) == [200, 404, 200, 404, 404]
    assert [row.run.slug for row in Client().get("/runs/", headers=headers).context["rows"]] == ["ours"]


def test_token_opens_what_its_maker_may_open_and_what_it_was_made_for(ann):
    AccessPolicy.objects.update(metric_types=["all"], sources=[], runs="all", all_dashboards=True)
    assert statuses(Client(), token_of(ann, sources=["ours"])) == [200, 200, 200, 404, 404]


@pytest.mark.parametrize(
    ("narrow", "expected"),
    [
        (lambda ann: AccessPolicy.objects.update(runs="none"), [200, 404, 404, 404, 404]),
        (lambda ann: AccessPolicy.objects.update(metric_types=["hero"]), [404] * 5),
        (lambda ann: AccessPolicy.objects.get().users.clear(), [404] * 5),
        (lambda ann: User.objects.update(is_active=False), [401] * 5),
        (lambda ann: ann.delete(), [401] * 5),
    ],
)
def test_token_narrows_with_its_maker(ann, narrow, expected):
    headers = token_of(ann)
    narrow(ann)
    assert statuses(Client(), headers) == expected


@pytest.mark.parametrize("is_of_superuser", [True, False])
def test_token_of_a_service_outlives_every_account(ann, is_of_superuser):
    root = User.objects.create_superuser("root") if is_of_superuser else None
    headers = token_of(root)
    User.objects.update(is_active=False, is_superuser=False)
    assert statuses(Client(), headers) == [200] * 5
    User.objects.all().delete()
    assert statuses(Client(), headers) == [200] * 5


def test_token_without_metric_types_opens_nothing(ann):
    for maker in (None, ann):
        headers = token_of(maker, name=str(maker), metric_types=[])
        assert statuses(Client(), headers) == [401] * 5
        refused = Client().get("/runs/", headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (401, "forbidden")
        assert "names no metric types" in refused.json()["message"]


# --- share links ---


def guest_of(link_and_text):
    browser = Client()
    open_link(browser, link_and_text[1])
    return browser


def shown_to(guest, slug="lobby"):
    """Return the type and fields of each panel on a page, and its filters."""
    page = guest.get(f"/dashboards/{slug}/")
    if page.status_code != 200:
        return page.status_code
    panels = page.context["page"]["panels"]
    return [(panel["metric_type"], [field["path"] for field in panel["fields"]]) for panel in panels]


def change_type(lobby):
    Panel.objects.filter(title="Load").update(metric_type="business", fields=["money_saved"])


def add_field(lobby):
    Panel.objects.filter(title="Load").update(fields=["throughput_tps", "error_rate"])


def add_panel(lobby):
    Panel.objects.create(dashboard=lobby, title="Again", metric_type="system", fields=["throughput_tps"])
    Panel.objects.create(dashboard=lobby, title="Words", kind="text", options={"text": "new"})


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (change_type, [("agent", [])]),
        (add_field, [("system", ["throughput_tps"]), ("agent", [])]),
        (add_panel, [("system", ["throughput_tps"]), ("agent", [])]),
    ],
)
@pytest.mark.parametrize("is_of_superuser", [True, False])
def test_an_edit_of_the_dashboard_widens_no_link(lobby, ann, edit, expected, is_of_superuser):
    AccessPolicy.objects.update(metric_types=["all"], sources=[])
    maker = User.objects.create_superuser("root") if is_of_superuser else ann
    guest = guest_of(ShareLink.issue(name="x", dashboard=lobby, created_by=maker))
    assert shown_to(guest) == [("system", ["throughput_tps"]), ("agent", [])]
    edit(lobby)
    assert shown_to(guest) == expected


def test_a_wider_preset_widens_no_link(lobby):
    lobby.preset = ClientPreset.objects.create(name="East", slug="east", sources=["east"])
    lobby.save()
    guest = guest_of(ShareLink.issue(name="x", dashboard=lobby))
    before = access_in(guest).live_permit
    assert {grant.sources for grant in before.grants} == {frozenset({"east"})}
    lobby.preset.sources = ["east", "west"]
    lobby.preset.save()
    assert access_in(guest).live_permit == before
    Dashboard.objects.update(preset=ClientPreset.objects.create(name="All", slug="all"))
    assert access_in(guest).live_permit == before
    lobby.preset.delete()
    assert access_in(guest).live_permit == before


def access_in(guest):
    return resolve(BrowserSession(guest.session.session_key))


def test_link_narrows_with_its_maker(lobby, ann):
    AccessPolicy.objects.update(metric_types=["all"], sources=[])
    guest = guest_of(ShareLink.issue(name="x", dashboard=lobby, created_by=ann))
    AccessPolicy.objects.update(metric_types=["agent"])
    assert shown_to(guest) == [("agent", [])]
    AccessPolicy.objects.update(metric_types=["all"], fields=["status"])
    assert shown_to(guest) == [("agent", [])]
    AccessPolicy.objects.update(fields=[], sources=["ours"])
    assert {grant.sources for grant in access_in(guest).live_permit.grants} == {frozenset({"ours"})}


@pytest.mark.parametrize(
    "narrow",
    [
        lambda ann: AccessPolicy.objects.get().dashboards.clear(),
        lambda ann: AccessPolicy.objects.all().delete(),
        lambda ann: User.objects.update(is_active=False),
        lambda ann: ann.delete(),
    ],
)
def test_link_ends_when_its_maker_may_not_open_its_page(lobby, ann, narrow):
    link = ShareLink.issue(name="x", dashboard=lobby, created_by=ann)
    guest = guest_of(link)
    assert guest.get("/dashboards/lobby/").status_code == 200
    narrow(ann)
    assert guest.get("/dashboards/lobby/").status_code == 302
    assert open_link(Client(), link[1]).headers["Location"] == "/share/"


def test_link_of_a_run_ends_when_its_maker_may_not_see_the_run(lobby, ann):
    guest = guest_of(ShareLink.issue(name="x", dashboard=lobby, created_by=ann, run=TestRun.objects.get(slug="ours")))
    assert guest.get("/dashboards/lobby/?run=ours").status_code == 200
    AccessPolicy.objects.update(runs="none")
    assert guest.get("/dashboards/lobby/?run=ours").status_code == 302


def test_what_a_link_shares_live_opens_no_more_of_the_runs_of_a_user(client, ann, lobby):
    group = Group.objects.create(name="team")
    bob = User.objects.create_user("bob", "", "x")
    bob.groups.add(group)
    AccessPolicy.objects.create(name="bob", metric_types=["hero"], runs="all").groups.add(group)
    client.force_login(bob)
    open_link(client, ShareLink.issue(name="x", dashboard=lobby)[1])
    assert client.get("/dashboards/lobby/").status_code == 200
    assert client.get("/runs/both/").context["groups"] == []
