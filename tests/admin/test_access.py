"""Policies and share links in the admin: what a person can do, what is shown once, and what the history keeps."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.messages import get_messages
from django.urls import reverse
from django.utils import timezone

from metrics_stream.core.formatting import NO_VALUE
from metrics_stream.models import AccessPolicy, ClientPreset, Dashboard, Panel, ShareLink
from tests.support.recording import start_run

POLICIES = "/admin/metrics_stream/accesspolicy/"
LINKS = "/admin/metrics_stream/sharelink/"

POLICY = {
    "name": "QA",
    "metric_types": ["system", "agent"],
    "sources": "east\n east \nwest",
    "agent_ids": "",
    "fields": "error_rate, throughput_tps",
    "runs": "sources",
}


@pytest.fixture(autouse=True)
def closed(settings):
    settings.ANONYMOUS_READ = False


@pytest.fixture
def lobby(db):
    dashboard = Dashboard.objects.create(title="Lobby", slug="lobby")
    Panel.objects.create(dashboard=dashboard, title="Load", metric_type="system", fields=["throughput_tps"])
    return dashboard


def link_post(dashboard, expires_at=None, **values):
    day, time = (f"{expires_at:%Y-%m-%d %H:%M:%S}".split(" ")) if expires_at else ("", "")
    return {
        "name": "Lobby screen",
        "dashboard": dashboard.pk,
        "run": "",
        "expires_at_0": day,
        "expires_at_1": time,
    } | values


def errors(answer):
    return " ".join(re.findall(r'class="errorlist[^"]*"[^>]*>(.*?)</ul>', answer.content.decode(), re.DOTALL))


# --- policies ---


def test_policy_is_made_from_boxes_and_lines(admin_client, admin_user, lobby):
    group = Group.objects.create(name="QA")
    post = POLICY | {"users": [admin_user.pk], "groups": [group.pk], "dashboards": [lobby.pk]}
    assert admin_client.post(f"{POLICIES}add/", post).status_code == 302
    policy = AccessPolicy.objects.get()
    assert (policy.metric_types, policy.sources) == (["system", "agent"], ["east", "west"])
    assert (policy.agent_ids, policy.fields) == ([], ["error_rate", "throughput_tps"])
    assert (list(policy.users.all()), list(policy.groups.all())) == ([admin_user], [group])
    assert list(policy.dashboards.all()) == [lobby]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("metric_types", ["gone"], "Select a valid choice. gone is not one of the available choices."),
        ("runs", "some", "Select a valid choice. some is not one of the available choices."),
        ("sources", "a\x00b", "holds the character"),
        ("fields", "x" * 201, "allowed: at most 200 for each entry"),
        ("name", "", "This field is required."),
    ],
)
def test_policy_that_makes_no_sense_is_an_error_in_words(admin_client, column, value, message):
    answer = admin_client.post(f"{POLICIES}add/", POLICY | {column: value})
    assert answer.status_code == 200
    assert message in errors(answer)


def test_list_says_who_sees_what(admin_client, django_user_model, lobby):
    policy = AccessPolicy.objects.create(name="QA", metric_types=["system"], sources=["east"], fields=["error_rate"])
    policy.users.set(django_user_model.objects.create_user(f"user-{number}", "", "x") for number in range(6))
    policy.dashboards.add(lobby)
    AccessPolicy.objects.create(name="All", metric_types=["all"], all_dashboards=True, runs="all")
    AccessPolicy.objects.create(name="None")
    page = admin_client.get(POLICIES).content.decode()
    rows = [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd] class=\"field-.*?</t[hd]>", row)]
        for row in page.split("<tr>")
        if 'class="field-name"' in row
    ]
    none = NO_VALUE
    assert rows == [
        ["All", none, none, "every type", "every source", "every one", "every one"],
        ["None", none, none, "nothing", "every source", none, none],
        ["QA", "user-0, user-1, user-2, user-3 and 2 more", none, "system, some fields only", "east", "Lobby", none],
    ]


def test_history_of_a_policy_tells_and_brings_nothing_back(admin_client, admin_user):
    policy = AccessPolicy.objects.create(name="QA", metric_types=["all"])
    address = reverse("admin:metrics_stream_accesspolicy_change", args=[policy.pk])
    admin_client.post(address, POLICY | {"users": [admin_user.pk]})
    newest, first = policy.history.latest(), policy.history.earliest()
    assert (newest.history_user, [row.user for row in newest.users.all()]) == (admin_user, [admin_user])
    old = reverse("admin:metrics_stream_accesspolicy_simple_history", args=[policy.pk, first.history_id])
    assert admin_client.get(old).status_code == 200
    admin_client.post(old, POLICY | {"metric_types": ["all"]})
    policy.refresh_from_db()
    assert policy.metric_types == ["system", "agent"]


# --- share links ---


def test_address_of_a_link_is_shown_once(admin_client, client, admin_user, lobby):
    answer = admin_client.post(f"{LINKS}add/", link_post(lobby))
    [address] = re.findall(r'value="(http://testserver/share/[^"]+/)"', answer.content.decode())
    link = ShareLink.objects.get()
    assert (link.name, link.dashboard, link.created_by) == ("Lobby screen", lobby, admin_user)
    assert link.history.get().history_user == admin_user
    assert "no-store" in answer.headers["Cache-Control"]
    secret = address.split("/")[4].partition(".")[0]
    kept = [*get_messages(answer.wsgi_request), admin_client.cookies.output(), *admin_client.session.items()]
    assert not any(secret in str(each) for each in kept)
    for page in (LINKS, f"{LINKS}{link.pk}/change/", f"{LINKS}{link.pk}/history/", "/admin/"):
        assert secret not in admin_client.get(page).content.decode()
    client.logout()
    assert client.get(address, follow=True).request["PATH_INFO"] == "/dashboards/lobby/"


def test_link_expires_in_thirty_days_unless_somebody_says_otherwise(admin_client, lobby):
    initial = admin_client.get(f"{LINKS}add/?dashboard={lobby.pk}").context["adminform"].form.initial
    assert initial["dashboard"] == str(lobby.pk)
    assert abs(initial["expires_at"] - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    answer = admin_client.post(f"{LINKS}add/", link_post(lobby, timezone.now() - timedelta(days=1)))
    assert "is in the past; allowed: a time in the future, or none" in errors(answer)


def test_made_link_changes_its_name_and_its_end_only(admin_client, lobby):
    link, _ = ShareLink.issue(name="x", dashboard=lobby)
    other = Dashboard.objects.create(title="Other", slug="other")
    ends_at = timezone.now() - timedelta(minutes=1)
    post = link_post(other, ends_at, name="Lobby, left", run=start_run("soak").pk)
    assert admin_client.post(f"{LINKS}{link.pk}/change/", post).status_code == 302
    link.refresh_from_db()
    assert (link.name, link.dashboard, link.run, link.state) == ("Lobby, left", lobby, None, "expired")


def test_revoked_link_stays_revoked(admin_client, lobby):
    link, text = ShareLink.issue(name="x", dashboard=lobby)
    answer = admin_client.post(LINKS, {"action": "revoke", "_selected_action": [link.pk]}, follow=True)
    assert "Revoked x." in answer.content.decode()
    assert not ShareLink.find(text).is_valid
    change = link.history.latest()
    assert (change.history_user.username, change.history_change_reason) == ("admin", "revoked")
    first = reverse("admin:metrics_stream_sharelink_simple_history", args=[link.pk, link.history.earliest().history_id])
    admin_client.post(first, link_post(lobby))
    assert not ShareLink.find(text).is_valid


def test_nobody_shares_more_than_he_sees(client, django_user_model, lobby):
    staff = django_user_model.objects.create_user("ada", "", "x", is_staff=True)
    staff.user_permissions.add(*Permission.objects.filter(codename__in=["add_sharelink", "view_sharelink"]))
    client.force_login(staff)
    assert "Select a valid choice" in errors(client.post(f"{LINKS}add/", link_post(lobby)))
    policy = AccessPolicy.objects.create(name="Ada", metric_types=["system"], sources=["east"])
    policy.users.add(staff)
    policy.dashboards.add(lobby)
    refused = errors(client.post(f"{LINKS}add/", link_post(lobby)))
    assert "shows more of system than you may see yourself" in refused
    AccessPolicy.objects.update(sources=[])
    run = start_run("soak")
    assert "Select a valid choice" in errors(client.post(f"{LINKS}add/", link_post(lobby, run=run.pk)))
    assert client.post(f"{LINKS}add/", link_post(lobby)).status_code == 200
    assert ShareLink.objects.get().created_by == staff


def test_dashboard_leads_to_a_new_link(admin_client, client, lobby, django_user_model):
    dashboards = "/admin/metrics_stream/dashboard/"
    post = {"action": "share", "_selected_action": [lobby.pk]}
    assert admin_client.post(dashboards, post).headers["Location"] == f"{LINKS}add/?dashboard={lobby.pk}"
    other = Dashboard.objects.create(title="Other", slug="other")
    post["_selected_action"].append(other.pk)
    assert "select one" in admin_client.post(dashboards, post, follow=True).content.decode()
    staff = django_user_model.objects.create_user("ada", "", "x", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="change_dashboard"))
    client.force_login(staff)
    assert "Make a share link" not in client.get(dashboards).content.decode()


@pytest.mark.parametrize("address", [POLICIES, LINKS, f"{POLICIES}add/", f"{LINKS}add/"])
def test_pages_are_for_those_with_the_permission(client, django_user_model, address):
    assert client.get(address).status_code == 302
    client.force_login(django_user_model.objects.create_user("ada", "", "x", is_staff=True))
    assert client.get(address).status_code == 403


def test_who_may_only_look_changes_nothing(client, django_user_model, lobby):
    staff = django_user_model.objects.create_user("ada", "", "x", is_staff=True)
    staff.user_permissions.add(*Permission.objects.filter(codename__in=["view_sharelink", "view_accesspolicy"]))
    client.force_login(staff)
    link, _ = ShareLink.issue(name="x", dashboard=lobby)
    policy = AccessPolicy.objects.create(name="QA")
    addresses = [f"{LINKS}{link.pk}/change/", f"{POLICIES}{policy.pk}/change/"]
    assert [client.get(address).status_code for address in (LINKS, POLICIES, *addresses)] == [200] * 4
    assert [client.post(address, POLICY).status_code for address in addresses] == [403] * 2
    client.post(LINKS, {"action": "revoke", "_selected_action": [link.pk]})
    link.refresh_from_db()
    assert link.revoked_at is None


def test_editor_of_a_shared_dashboard_is_told_of_its_links(admin_client, client, django_user_model, lobby):
    lobby.preset = ClientPreset.objects.create(name="East", slug="east")
    lobby.save()
    panel = lobby.panels.get()
    pages = [
        reverse(f"admin:metrics_stream_{model}_change", args=[pk])
        for model, pk in (("dashboard", lobby.pk), ("panel", panel.pk), ("clientpreset", lobby.preset.pk))
    ]
    words = "Share links show this"
    assert not any(words in admin_client.get(page).content.decode() for page in pages)
    link, _ = ShareLink.issue(name="Lobby screen", dashboard=lobby)
    for page in pages:
        assert f"{words}: 1 (Lobby screen)." in " ".join(admin_client.get(page).content.decode().split())
    staff = django_user_model.objects.create_user("ada", "", "x", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="change_dashboard"))
    client.force_login(staff)
    content = client.get(pages[0]).content.decode()
    assert words in content
    assert "Lobby screen" not in content
    link.revoke()
    assert not any(words in admin_client.get(page).content.decode() for page in pages)


def test_default_preset_tells_of_links_to_dashboards_without_one(admin_client, lobby):
    preset = ClientPreset.objects.create(name="East", slug="east", is_default=True)
    ShareLink.issue(name="Lobby screen", dashboard=lobby)
    page = admin_client.get(reverse("admin:metrics_stream_clientpreset_change", args=[preset.pk]))
    assert "(Lobby screen)" in page.content.decode()
