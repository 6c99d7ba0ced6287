"""What pages, programs and admins do stands in the audit log, which staff can search and nobody can change."""

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.test import Client

from metrics_stream.audit import trail
from metrics_stream.models import AccessPolicy, AccessToken, AuditEntry, Dashboard, ShareLink
from tests.support.access import PASSWORD, open_link
from tests.support.recording import record_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_trail(monkeypatch):
    monkeypatch.setattr(trail._Process, "trail", trail.Trail())


def written(action: str):
    trail.flush()
    return list(AuditEntry.objects.filter(action=action).order_by("pk").values_list("who", "what", "address", "result"))


def test_sign_ins_are_noted_without_what_was_typed(client):
    User.objects.create_user("ann", password=PASSWORD)
    client.post("/login/", {"username": "my password", "password": "x"})
    client.post("/login/", {"username": "ann", "password": PASSWORD})
    client.post("/logout/")
    client.post("/logout/")
    assert written("sign_in") == [("", "", "127.0.0.1", "refused"), ("ann", "", "127.0.0.1", "done")]
    assert written("sign_out") == [("ann", "", "127.0.0.1", "done")]


def test_runs_exports_links_and_tokens_are_noted_with_their_address(settings, client):
    settings.ANONYMOUS_READ = False
    run, _ = record_run(3)
    _, text = AccessToken.issue(name="k6", scopes=["subscribe"], metric_types=["all"])
    program = Client(headers={"Authorization": f"Bearer {text}"}, REMOTE_ADDR="10.1.2.3")
    assert program.get(f"/runs/{run.slug}/").status_code == 200
    program.get(f"/runs/{run.slug}/export.csv")
    Client(headers={"Authorization": "Bearer mst_1"}, REMOTE_ADDR="10.1.2.4").get("/runs/anything/")
    _, address = ShareLink.issue(name="Lobby", dashboard=Dashboard.objects.create(title="A", slug="a", published=True))
    open_link(client, address)
    open_link(client, "guess")
    assert written("run") == [("token k6", run.slug, "10.1.2.3", "done")]
    assert written("export") == [("token k6", f"{run.slug}.csv", "10.1.2.3", "done")]
    assert ("", "page run", "10.1.2.4", "refused") in written("token")
    assert written("share_link") == [("", "Lobby", "127.0.0.1", "done"), ("", "", "127.0.0.1", "refused")]


async def test_a_token_at_the_api_is_noted(async_client):

    _, text = await sync_to_async(AccessToken.issue)(name="k6", scopes=["publish"], metric_types=["all"])
    for token in (text, "mst_1"):
        await async_client.post("/api/metrics/", "{}", "application/json", headers={"Authorization": f"Bearer {token}"})
    found = await sync_to_async(written)("token")
    assert found == [("token k6", "publish", "127.0.0.1", "done"), ("", "publish", "127.0.0.1", "refused")]


def test_changes_of_rights_are_noted_with_their_maker(admin_client, admin_user):
    AccessPolicy.objects.create(name="Made by a command")
    data = {"name": "Ops", "metric_types": ["all"], "runs": "none", "users": [admin_user.pk]}
    assert admin_client.post("/admin/metrics_stream/accesspolicy/add/", data).status_code == 302
    token, _ = AccessToken.issue(name="k6", scopes=["publish"])
    token.revoke()
    found = written("rights")
    assert ("admin", "added access policy Ops", "127.0.0.1", "done") in found
    assert ("admin", "changed access policy Ops", "127.0.0.1", "done") in found
    whats = [what for who, what, _, _ in found if who != "admin"]
    assert {"added access policy Made by a command", "revoked access token k6"} <= set(whats)


def test_staff_with_the_permission_search_it_and_nobody_changes_it(client, admin_client):
    trail.note(trail.Action.EXPORT, "ann", "soak.csv", address="10.0.0.1")
    trail.flush()
    address = "/admin/metrics_stream/auditentry/"
    staff = User.objects.create_user("staff", password=PASSWORD, is_staff=True)
    client.force_login(staff)
    assert client.get(address).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_auditentry"))
    page = client.get(address, {"q": "soak", "action": "export"})
    assert page.status_code == 200
    assert "10.0.0.1" in page.text
    pk = AuditEntry.objects.get(action="export").pk
    for browser in (client, admin_client):
        assert browser.get(f"{address}{pk}/change/").status_code == 200
        assert browser.post(f"{address}{pk}/change/", {"who": "x"}).status_code == 403
        assert browser.post(f"{address}{pk}/delete/", {"post": "yes"}).status_code == 403
        assert browser.get(f"{address}add/").status_code == 403
