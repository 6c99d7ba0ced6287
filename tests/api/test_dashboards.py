"""`/api/v1/dashboards/`: documents that are exported and imported, and who may do so."""

import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient

from metrics_stream.core.formats.dashboards import SCHEMA_VERSION, DashboardDocument, PanelDocument
from metrics_stream.defaults.seed import seed
from metrics_stream.models import AccessPolicy, AccessToken, ClientPreset, Dashboard, Panel
from metrics_stream.runtime.runtime import stop_runtime
from tests.support.api import outcome

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/dashboards/"

LINE = {"title": "Load", "kind": "line", "metric_type": "system", "fields": ["throughput_tps"]}
DOCUMENT = {"schema_version": SCHEMA_VERSION, "slug": "load", "title": "Load", "panels": [LINE]}

EDIT = ("add_dashboard", "change_dashboard", "add_panel", "change_panel", "delete_panel")


@pytest.fixture(autouse=True)
async def closed(settings):
    settings.ANONYMOUS_READ = False
    yield
    await stop_runtime()


def make_person(*permissions, is_staff=True, **policy):
    user = User.objects.create_user("ann", "", "x", is_staff=is_staff)
    user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    granted = {"name": "all", "metric_types": ["all"], "all_dashboards": True, **policy}
    AccessPolicy.objects.create(**granted).users.add(user)
    return user


async def signed_in(client, *permissions, **values):
    await client.aforce_login(await sync_to_async(make_person)(*permissions, **values))
    return client


async def send(client, document, path=PATH, *, method="POST", kind="application/json", **headers):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return await client.generic(method, path, body, content_type=kind, headers=named)


async def test_every_seeded_dashboard_comes_back_as_it_was_exported(async_client):
    await sync_to_async(seed)()
    client = await signed_in(async_client, *EDIT)
    for slug in await sync_to_async(list)(Dashboard.objects.values_list("slug", flat=True)):
        exported = (await client.get(f"{PATH}{slug}/")).json()
        copy = {**exported, "slug": f"{slug}-copy"}
        imported = await send(client, copy)
        assert (imported.status_code, imported.json()["panels"]) == (201, len(copy["panels"])), imported.content
        assert (await client.get(f"{PATH}{slug}-copy/")).json() == copy
    listed = (await client.get(PATH)).json()["dashboards"]
    assert listed[-1]["slug"].endswith("-copy")


def test_a_document_has_every_column_that_the_admin_edits():
    panel = {field.name for field in Panel._meta.concrete_fields} - {"id", "dashboard", "order"}
    assert set(PanelDocument.__struct_fields__) == panel
    dashboard = {field.name for field in Dashboard._meta.concrete_fields} - {"id", "order"}
    assert set(DashboardDocument.__struct_fields__) == dashboard | {"schema_version", "panels"}


async def test_an_import_in_place_changes_panels_one_by_one(async_client):
    client = await signed_in(async_client, *EDIT)
    assert (await send(client, {**DOCUMENT, "panels": [LINE, {**LINE, "title": "Second"}]})).status_code == 201
    first = await Panel.objects.aget(title="Load")
    changed = {**DOCUMENT, "title": "Other", "panels": [{**LINE, "title": "Changed"}]}
    response = await send(client, changed, f"{PATH}load/", method="PUT")
    assert (response.status_code, response.json()) == (
        200,
        {"slug": "load", "path": "/dashboards/load/", "panels": 1},
    )
    panel = await Panel.objects.aget()
    assert (panel.pk, panel.title) == (first.pk, "Changed")  # the same row, so share links still show it
    assert (await Dashboard.objects.aget()).title == "Other"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "`schema_version` is 2; allowed: 1."),
        ({"schema_version": None}, "`schema_version` is null; allowed: 1."),
        ({"schema_version": True}, "`schema_version` is true; allowed: 1."),
        ({"schema_version": 7, "widgets": []}, "`schema_version` is 7; allowed: 1."),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"slug": "no slug"}, "`slug`: "),
        ({"title": "a\x00b"}, "`title`: "),
        ({"title": ""}, "`title`: "),
        ({"kind": "poster"}, "`kind`: "),
        ({"preset": "none"}, "`preset` is 'none', which is no preset of this server"),
        ({"panels": [{**LINE, "metric_type": "sytem"}]}, "`panels[0].metric_type`: unknown metric type 'sytem'"),
        ({"panels": [LINE, {**LINE, "kind": "pie"}]}, "`panels[1].kind`: "),
        ({"panels": [{**LINE, "fields": []}]}, "`panels[0].fields`: The panel is of kind 'Line chart' and names no"),
        (
            {"panels": [{**LINE, "options": {"window_seconds": 1}}]},
            "`panels[0].options`: the option window_seconds is 1",
        ),
        ({"panels": [{**LINE, "fields": [1]}]}, "`panels[0].fields[0]`: expected `str`, got `int`"),
        ({"panels": [LINE] * 41}, "`panels` has 41 entries; allowed: at most 40"),
    ],
)
async def test_a_wrong_document_stores_nothing_and_names_the_value(async_client, change, words):
    client = await signed_in(async_client, *EDIT)
    response = await send(client, {**DOCUMENT, **change})
    assert outcome(response) == (422, "invalid_dashboard")
    assert words in response.json()["message"]
    assert not await Dashboard.objects.aexists()


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"{", "application/json", (400, "not_a_document")),
        (b"[" * 5_000, "application/json", (422, "invalid_dashboard")),
        (b"[]", "application/json", (422, "invalid_dashboard")),
        (b'{"schema_version": 1, "slug": "\xff"}', "application/json", (400, "not_a_document")),
        (b"{}", "text/plain", (415, "unsupported")),
    ],
)
async def test_what_is_no_document_is_refused(async_client, body, kind, expected):
    client = await signed_in(async_client, *EDIT)
    assert outcome(await send(client, body, kind=kind)) == expected


async def test_a_slug_that_is_taken_is_a_conflict(async_client):
    client = await signed_in(async_client, *EDIT)
    await send(client, DOCUMENT)
    response = await send(client, DOCUMENT)
    assert outcome(response) == (409, "conflict")
    assert "there is a dashboard 'load' already" in response.json()["message"]
    await send(client, {**DOCUMENT, "slug": "other"})
    renamed = await send(client, {**DOCUMENT, "slug": "other"}, f"{PATH}load/", method="PUT")
    assert outcome(renamed) == (422, "invalid_dashboard")
    assert outcome(await send(client, DOCUMENT, f"{PATH}none/", method="PUT")) == (404, "not_found")


# --- who may ---


@pytest.mark.parametrize("missing", ["add_dashboard", "add_panel"])
async def test_an_import_needs_the_permissions_of_the_admin(async_client, missing):
    client = await signed_in(async_client, *(name for name in EDIT if name != missing))
    response = await send(client, DOCUMENT)
    assert outcome(response) == (403, "forbidden")
    assert missing in response.json()["message"]


async def test_permissions_without_the_admin_are_not_enough(async_client):
    client = await signed_in(async_client, *EDIT, is_staff=False)
    assert outcome(await send(client, DOCUMENT)) == (403, "forbidden")


async def test_a_session_that_writes_needs_the_token_of_a_form(closed):
    client = await signed_in(AsyncClient(enforce_csrf_checks=True), *EDIT)
    response = await send(client, DOCUMENT)
    assert outcome(response) == (403, "csrf")
    assert "X-CSRFToken" in response.json()["message"]
    page = (await client.get("/api/v1/docs/")).content.decode()
    token = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    assert (await send(client, DOCUMENT, x_csrftoken=token)).status_code == 201


async def test_a_token_imports_nothing(async_client):
    _, text = await sync_to_async(AccessToken.issue)(name="x", scopes=["subscribe"], metric_types=["all"])
    response = await send(async_client, DOCUMENT, authorization=f"Bearer {text}")
    assert outcome(response) == (403, "forbidden")
    assert "people change this, not tokens" in response.json()["message"]


async def test_a_viewer_exports_what_the_page_shows_and_an_editor_all_of_it(async_client):
    preset = await ClientPreset.objects.acreate(name="One", slug="one", sources=["a"])
    board = await Dashboard.objects.acreate(title="Load", slug="load", preset=preset)
    for kind in ("system", "hero"):
        await Panel.objects.acreate(dashboard=board, title=kind, metric_type=kind, fields=["transactions_per_second"])
    await Dashboard.objects.acreate(title="Draft", slug="draft", published=False)
    client = await signed_in(async_client, metric_types=["hero"], sources=["b"])
    document = (await client.get(f"{PATH}load/")).json()
    assert [panel["title"] for panel in document["panels"]] == []
    await AccessPolicy.objects.aupdate(sources=[])
    document = (await client.get(f"{PATH}load/")).json()
    assert ([panel["title"] for panel in document["panels"]], document["preset"]) == (["hero"], "one")
    user = await User.objects.aget()
    await user.user_permissions.aadd(await Permission.objects.aget(codename="change_dashboard"))
    document = (await client.get(f"{PATH}load/")).json()
    assert [panel["title"] for panel in document["panels"]] == ["system", "hero"]
    assert (await client.get(f"{PATH}draft/")).json()["published"] is False
