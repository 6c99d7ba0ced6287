"""What pages and files show to visitors, users with policies, and programs."""

import gzip
import json
import re

import pytest
from django.contrib.auth.models import Group, User

from metrics_stream.models import AccessPolicy, AccessToken, Dashboard, Panel
from tests.support.recording import Recording, metric, start_run
from tests.support.responses import body_of

pytestmark = pytest.mark.django_db

PAGES = ["/", "/dashboards/ours/", "/console/", "/runs/", "/runs/soak/", "/runs/soak/export.csv"]


@pytest.fixture(autouse=True)
def closed(settings):
    settings.ANONYMOUS_READ = False


@pytest.fixture(autouse=True)
def content():
    """Two dashboards, and a run with metrics of two sources."""
    for slug in ("ours", "theirs"):
        dashboard = Dashboard.objects.create(title=slug.title(), slug=slug)
        Panel.objects.create(dashboard=dashboard, title="A", kind="line", metric_type="system", fields=["n"])
    run, recording = start_run(sources=["ours", "theirs"]), Recording("soak")
    recording.record(metric(0, {"n": 1, "secret": 7}, source="ours"), metric(1, {"n": 2}, source="theirs"))
    recording.record(
        metric(2, [{"agent_id": "a1", "n": 3}, {"agent_id": "a2", "n": 4}], metric_type="agent", source="ours")
    )
    recording.end(run)


def policy(user=None, **columns):
    made = AccessPolicy.objects.create(
        name=f"policy {AccessPolicy.objects.count()}", **{"metric_types": ["system", "agent"], **columns}
    )
    if user is not None:
        made.users.add(user)
    return made


@pytest.fixture
def ann(client):
    user = User.objects.create_user("ann", password="x")
    client.force_login(user)
    return user


def exported(client, slug="soak"):
    answer = client.get(f"/runs/{slug}/export.ndjson.gz")
    assert answer.status_code == 200
    text = gzip.decompress(body_of(answer)).decode()
    return [(item["source"], item["data"]) for item in map(json.loads, text.splitlines())]


@pytest.mark.parametrize("address", PAGES)
def test_a_visitor_is_asked_to_sign_in_whatever_the_page(client, address):
    answer = client.get(address)
    assert answer.status_code == 302
    assert answer["Location"] == f"/login/?next={address}"
    nowhere = client.get("/runs/no-such-run/")
    assert nowhere.status_code == 302


@pytest.mark.parametrize("address", PAGES)
def test_a_program_with_a_wrong_token_is_told_so(client, address):
    answer = client.get(address, headers={"Authorization": "Bearer mst_12345678_x"})
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["error"] == "forbidden"


def test_a_user_without_a_policy_sees_no_dashboard_and_no_run(client, ann):
    assert list(client.get("/").context["dashboards"]) == []
    assert [client.get(address).status_code for address in PAGES[1:]] == [404, 200, 200, 404, 404]
    assert client.get("/runs/").context["rows"] == []


def test_a_policy_opens_its_dashboards_only(client, ann):
    policy(ann).dashboards.add(Dashboard.objects.get(slug="ours"))
    assert [item.slug for item in client.get("/").context["dashboards"]] == ["ours"]
    assert client.get("/dashboards/ours/").status_code == 200
    missing, hidden = client.get("/dashboards/nothing/"), client.get("/dashboards/theirs/")
    assert (missing.status_code, hidden.status_code) == (404, 404)
    pages = [re.sub('value="[^"]*"', "", answer.content.decode()) for answer in (hidden, missing)]  # CSRF tokens
    assert pages[0].replace("theirs", "nothing") == pages[1]


def test_dashboards_that_are_not_published_are_for_staff(client, ann):
    Dashboard.objects.update(published=False)
    policy(ann, all_dashboards=True)
    assert client.get("/dashboards/ours/").status_code == 404
    ann.is_staff = True
    ann.save()
    assert client.get("/dashboards/ours/").status_code == 200


def test_policies_of_groups_count_and_several_add_up(client, ann):
    group = Group.objects.create(name="team")
    ann.groups.add(group)
    policy().groups.add(group)
    policy(ann, metric_types=["system"], sources=["ours"], fields=["n"], runs="all")
    policy(ann, metric_types=["system"], sources=["theirs"])
    AccessPolicy.objects.filter(name="policy 0").update(metric_types=["hero"])
    assert exported(client) == [("ours", {"n": 1}), ("theirs", {"n": 2})]


def test_runs_of_a_policys_sources_only(client, ann):
    start_run("small", sources=["ours"])
    start_run("everybody", sources=[])
    made = policy(ann, sources=["ours"], runs="sources")
    assert [row.run.slug for row in client.get("/runs/").context["rows"]] == ["small"]
    assert client.get("/runs/soak/").status_code == 404
    assert client.get("/runs/?q=soak").context["rows"] == []
    made.sources = ["theirs", "ours", "third"]
    made.save()
    assert {row.run.slug for row in client.get("/runs/").context["rows"]} == {"small", "soak"}
    made.sources = []
    made.save()
    assert len(client.get("/runs/").context["rows"]) == 3


def test_the_page_and_the_files_of_a_run_show_permitted_metrics_only(client, ann):
    policy(ann, sources=["ours"], fields=["n"], agent_ids=["a1"], runs="all")
    page = client.get("/runs/soak/")
    rows = {(group.slug, group.source, group.row, row.path) for group in page.context["groups"] for row in group.rows}
    assert rows == {("system", "ours", "", "n"), ("agent", "ours", "a1", "n")}
    assert exported(client) == [("ours", {"n": 1}), ("ours", [{"agent_id": "a1", "n": 3}])]
    table = body_of(client.get("/runs/soak/export.csv")).decode()
    assert "theirs" not in table
    assert "secret" not in table
    assert "a2" not in table


def test_the_picture_of_a_run_shows_permitted_series_only(client, ann):
    made = policy(ann, metric_types=["system"], sources=["theirs"], runs="all")
    [row] = client.get("/runs/").context["rows"]
    assert row.picture.label
    made.metric_types = ["hero"]
    made.save()
    [row] = client.get("/runs/").context["rows"]
    assert row.picture is None


def test_a_superuser_sees_everything(client):
    client.force_login(User.objects.create_superuser("root"))
    assert [client.get(address).status_code for address in PAGES] == [200] * 6
    assert len(exported(client)) == 3


def test_a_token_exports_what_it_may_see(client):
    _, text = AccessToken.issue(name="probe", scopes=["subscribe"], metric_types=["all"], sources=["theirs"])
    headers = {"Authorization": f"Bearer {text}"}
    assert client.get("/runs/soak/export.ndjson.gz", headers=headers).status_code == 404
    start = start_run("mine", sources=["theirs"])
    recording = Recording("mine")
    recording.record(metric(0, {"n": 9}, source="theirs"))
    recording.end(start)
    answer = client.get("/runs/mine/export.csv", headers=headers)
    assert (answer.status_code, body_of(answer).count(b"\n")) == (200, 2)


def test_statistics_are_for_staff(client, ann):
    policy(ann, metric_types=["all"])
    assert client.get("/api/stats/").status_code == 403
