"""Access tokens in the admin, which shows each of them once."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.utils import timezone

from metrics_stream.models import AccessPolicy, AccessToken, TokenName

pytestmark = pytest.mark.django_db

LIST = "/admin/metrics_stream/accesstoken/"
TOKEN = re.compile(r"mst_[0-9a-f]{8}_[0-9a-f]{64}")


def form(**changes):
    return {"name": "k6", "scopes": ["publish"], "metric_types": ["all"], "sources": "a\nb", **changes}


def test_the_admin_shows_a_token_once(admin_client):
    answer = admin_client.post(f"{LIST}add/", form())
    [text] = set(TOKEN.findall(answer.content.decode()))
    token = AccessToken.find(text)
    assert (token.name, token.sources, token.created_by.username) == ("k6", ["a", "b"], "admin")
    assert "no-store" in answer["Cache-Control"]
    secret = text.rpartition("_")[2]
    for path in (LIST, f"{LIST}{token.pk}/change/", f"{LIST}{token.pk}/history/", f"{LIST}add/"):
        page = admin_client.get(path).content.decode()
        assert secret not in page, path
        assert token.digest not in page, path
    assert f"mst_{token.prefix}_…" in admin_client.get(f"{LIST}{token.pk}/change/").content.decode()
    assert all(secret not in str(session.get_decoded()) for session in Session.objects.all())
    assert not hasattr(token.history.first(), "digest")


def test_a_token_for_runs_is_shown_with_how_a_run_is_started(admin_client):
    page = admin_client.post(f"{LIST}add/", form(scopes=["publish", "runs"])).content.decode()
    assert AccessToken.objects.get().scopes == ["publish", "runs"]
    assert "curl http://testserver/api/metrics/" in page
    assert "curl http://testserver/api/runs/" in page
    page = admin_client.post(f"{LIST}add/", form(name="publishes")).content.decode()
    assert "/api/runs/" not in page


def test_a_change_leaves_the_secret_as_it_is(admin_client):
    token, text = AccessToken.issue(name="k6", scopes=["publish"], metric_types=["all"])
    answer = admin_client.post(f"{LIST}{token.pk}/change/", form(name="k6 in Oslo", digest="0" * 64, prefix="00000000"))
    assert answer.status_code == 302
    assert AccessToken.find(text).name == "k6 in Oslo"


@pytest.mark.parametrize(
    "changes",
    [
        {"scopes": []},
        {"scopes": ["everything"]},
        {"metric_types": ["nope"]},
        {"sources": "a" * 201},
        {"name": "a\x00b"},
        {"expires_at_0": "2020-01-01", "expires_at_1": "00:00"},
    ],
    ids=str,
)
def test_the_form_names_what_is_wrong(admin_client, changes):
    answer = admin_client.post(f"{LIST}add/", form(**changes))
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert not AccessToken.objects.exists()


def test_the_name_of_a_token_that_has_ended_is_free_again(admin_client):
    token, _ = AccessToken.issue(name="k6", scopes=["publish"])
    refused = admin_client.post(f"{LIST}add/", form())
    assert "already exists" in refused.content.decode()
    token.revoke()
    assert TOKEN.search(admin_client.post(f"{LIST}add/", form()).content.decode())
    assert {each.name for each in AccessToken.objects.all()} == {"k6", f"k6 (former, {token.prefix})"}


def test_the_list_revokes_and_tells_the_state(admin_client):
    tokens = [AccessToken.issue(name=name, scopes=["publish"])[0] for name in ("one", "two", "three")]
    AccessToken.objects.filter(name="three").update(expires_at=timezone.now() - timedelta(days=1))
    data = {"action": "revoke", "_selected_action": [tokens[0].pk]}
    page = admin_client.post(LIST, data, follow=True).content.decode()
    states = re.findall(r'<td class="field-state[^"]*">([^<]+)', page)
    assert sorted(states) == ["expired", "revoked", "valid"]
    assert "Revoked one." in page
    assert [str(change.history_user) for change in tokens[0].history.all()] == ["admin", "None"]


def test_an_old_version_brings_no_revoked_token_back(admin_client):
    token, _ = AccessToken.issue(name="k6", scopes=["publish"], metric_types=["all"])
    token.revoke()
    assert admin_client.post(f"{LIST}{token.pk}/history/{token.history.earliest().pk}/", form()).status_code == 403
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_sources_and_agents_are_shown_and_can_be_forgotten(admin_client, settings):
    settings.METRICS_STREAM = {"INGEST_MAX_SOURCES": 2}
    token, _ = AccessToken.issue(name="k6", scopes=["publish"])
    TokenName.objects.create(token=token, kind="source", name="<b>one</b>")
    TokenName.objects.create(token=token, kind="source", name="two")
    TokenName.objects.create(token=token, kind="agent", name="agent_1")
    page = admin_client.get(f"{LIST}{token.pk}/change/").content.decode()
    assert "2 of 2; no more are taken: &lt;b&gt;one&lt;/b&gt;, two" in page
    assert "1 of 1,000: agent_1" in page
    assert "2 sources, 1 agent" in admin_client.get(LIST).content.decode()
    admin_client.post(LIST, {"action": "forget_names", "_selected_action": [token.pk]})
    assert not TokenName.objects.exists()


def test_an_old_version_does_not_come_back(admin_client):
    token, _ = AccessToken.issue(name="k6", scopes=["publish", "subscribe"], metric_types=["all"])
    version = token.history.first()
    token.revoke()
    path = f"{LIST}{token.pk}/history/{version.pk}/"
    assert admin_client.get(path).status_code == 200
    assert admin_client.post(path, form()).status_code == 403
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_nobody_makes_a_token_that_sees_more_than_they_do(client, django_user_model, settings):
    settings.ANONYMOUS_READ = False
    maker = django_user_model.objects.create_user("maker", is_staff=True)
    maker.user_permissions.add(*Permission.objects.filter(codename__in=["add_accesstoken", "view_accesstoken"]))
    policy = AccessPolicy.objects.create(name="team", metric_types=["system"], sources=["a", "b"])
    policy.users.add(maker)
    client.force_login(maker)
    for narrow, is_made in (
        ({"scopes": ["subscribe"], "metric_types": ["all"]}, False),
        ({"scopes": ["subscribe"], "metric_types": ["system"], "sources": ""}, False),
        ({"scopes": ["subscribe", "publish"], "metric_types": ["system", "hero"]}, False),
        ({"scopes": ["subscribe"], "metric_types": ["system"], "sources": "a"}, True),
        ({"scopes": ["publish"], "metric_types": ["all"], "sources": ""}, True),
    ):
        name = str(narrow)[:90]
        page = client.post(f"{LIST}add/", form(name=name, **narrow)).content.decode()
        assert AccessToken.objects.filter(name=name).exists() == is_made, page
        assert ("more than you may see yourself" in page) != is_made


def test_a_user_who_may_only_view_sees_no_form(client, django_user_model):
    token, _ = AccessToken.issue(name="k6", scopes=["publish"])
    viewer = django_user_model.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_accesstoken"))
    client.force_login(viewer)
    assert client.get(LIST).status_code == 200
    page = client.get(f"{LIST}{token.pk}/change/")
    assert page.status_code == 200
    assert 'name="scopes"' not in page.content.decode()
    assert client.get(f"{LIST}add/").status_code == 403
    client.post(LIST, {"action": "revoke", "_selected_action": [token.pk]})
    token.refresh_from_db()
    assert token.revoked_at is None


def test_only_a_superuser_lets_the_token_of_a_service_do_more(client, django_user_model):
    staff = django_user_model.objects.create_user("ada", "", "x", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="change_accesstoken"))
    AccessPolicy.objects.create(name="Ada", metric_types=["all"]).users.add(staff)
    token, _ = AccessToken.issue(name="k6", scopes=["publish"], metric_types=["system", "hero"])
    address = f"/admin/metrics_stream/accesstoken/{token.pk}/change/"
    post = {"name": "k6", "scopes": ["publish"], "metric_types": ["system"], "sources": ""}
    client.force_login(staff)
    assert client.post(address, post).status_code == 302
    for more in ({"scopes": ["publish", "subscribe"]}, {"metric_types": ["system", "hero"]}):
        assert "only a superuser may let it do more" in client.post(address, post | more).content.decode()
    staff.is_superuser = True
    staff.save()
    assert client.post(address, post | {"scopes": ["publish", "subscribe"]}).status_code == 302


@pytest.mark.parametrize("authorization", ["Basic YTpi", "Bearer mst_12345678_x", "Bearer"])
@pytest.mark.parametrize("page", ["accesstoken", "sharelink", "accesspolicy", "testrun"])
def test_the_admin_ignores_a_header_that_is_meant_for_others(admin_client, page, authorization):
    # A proxy in front of the admin may ask for a password of its own.
    address = f"/admin/metrics_stream/{page}/add/"
    assert admin_client.get(address, HTTP_AUTHORIZATION=authorization).status_code == 200
    assert admin_client.post(address, {}, HTTP_AUTHORIZATION=authorization).status_code == 200
