"""A user model that is not called `User`, with a UUID as key and no user name: everything works with it."""

import asyncio
import contextlib
import json
import secrets

import pytest
import websockets

from metrics_stream.core.metrics.catalogue import BUILTIN_TYPES
from tests.support.stack import Stack
from tests.support.visitor import Visitor

SETTINGS = "tests.projects.custom_user.settings"
PASSWORD = "a-password-of-the-tests"

MAKE_PEOPLE = """
import json
from django.contrib.auth.models import Group
from metrics_stream.models import AccessPolicy, AccessToken, Dashboard, ShareLink
from tests.projects.custom_user.people.models import Person

anna = Person.objects.create_user("anna@example.com", "Anna Arendt", "a-password-of-the-tests")
bert = Person.objects.create_user("bert@example.com", "Bert Brecht", "a-password-of-the-tests")
of_anna = AccessPolicy.objects.create(name="systems of one", metric_types=["system"], sources=["here"])
of_anna.users.add(anna)
of_group = AccessPolicy.objects.create(name="of a group", metric_types=["business"])
of_group.groups.add(Group.objects.create(name="team"))
bert.groups.add(Group.objects.get())
token, text = AccessToken.issue(name="reader", scopes=["subscribe"], metric_types=["all"], created_by=anna)
ShareLink.issue(name="lobby", dashboard=Dashboard.objects.first(), created_by=anna)
assert [str(row.person) for row in of_anna.history.first().users.all()] == ["Anna Arendt"]
print(json.dumps(text))
"""

WALK_THE_ADMIN = """
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from tests.projects.custom_user.people.models import Person

client = Client(headers={"host": "localhost"})
client.force_login(Person.objects.get(is_superuser=True))
walked = 0
for model in admin.site._registry:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    addresses = [f"{reverse(name + '_changelist')}?q=anna"]
    if model._meta.managed:
        for row in model._default_manager.all():
            addresses += [reverse(f"{name}_{page}", args=[row.pk]) for page in ("change", "history")]
    if model._meta.model_name in ("accesspolicy", "accesstoken", "sharelink", "dashboard", "testrun", "person"):
        addresses.append(reverse(name + "_add"))
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200, (address, answer.status_code)
        walked += 1
assert walked > 60, walked
found = client.get(reverse("admin:metrics_stream_accesspolicy_changelist") + "?q=anna@example").text
assert "systems of one" in found and "of a group" not in found
"""

# Rows as they were before the last migrations; `0004` in its first form called the column of the user `user_id`.
ROWS_OF_0007 = """
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

loader = MigrationExecutor(connection).loader
apps = loader.project_state(loader.graph.leaf_nodes(settings.AUTH_USER_MODEL.partition(".")[0]) + [
    ("metrics_stream", "0007_panel_kinds_and_help_texts")
]).apps
model = apps.get_model(settings.AUTH_USER_MODEL)
person = model.objects.create(**{"email": "anna@example.com"})
policy = apps.get_model("metrics_stream.AccessPolicy").objects.create(name="systems", metric_types=["system"])
policy.users.add(person)
version = apps.get_model("metrics_stream.HistoricalAccessPolicy").objects.create(
    id=policy.pk, name="systems", metric_types=["system"], history_date=timezone.now(), history_type="+"
)
rows = apps.get_model("metrics_stream.HistoricalAccessPolicy_users").objects
name = model._meta.model_name
rows.create(**{"id": 1, "accesspolicy_id": policy.pk, "history_id": version.pk, f"{name}_id": person.pk})
if name != "user":
    with connection.cursor() as cursor:
        table = "metrics_stream_historicalaccesspolicy_users"
        cursor.execute(f"ALTER TABLE {table} RENAME COLUMN {name}_id TO user_id")
"""

ROWS_NOW = """
from django.contrib.auth import get_user_model
from metrics_stream.models import AccessPolicy

person = get_user_model().objects.get(email="anna@example.com")
policy = AccessPolicy.objects.get()
assert list(policy.users.all()) == [person]
name = get_user_model()._meta.model_name
[row] = policy.history.get().users.all()
assert getattr(row, name) == person
policy.users.clear()
policy.users.add(person)
assert [getattr(row, name) for row in policy.history.first().users.all()] == [person]
"""


@pytest.fixture
def stack(tmp_path):
    stack = Stack(tmp_path, "", DJANGO_SETTINGS_MODULE=SETTINGS, ANONYMOUS_READ="0")
    yield stack
    stack.stop()


def run(stack: Stack, code: str) -> str:
    return stack.manage("shell", "--no-imports", code=code)


async def test_everything_works(stack):
    stack.manage("migrate", "--verbosity", "0")
    assert stack.manage("makemigrations", "--check", "--dry-run", "--no-input") == "No changes detected\n"
    password_file = stack.folder / "password"
    made = stack.manage("ensure_admin", "--password-file", str(password_file))
    assert made == f"Created the superuser 'admin@localhost'; its password is in {password_file}.\n"
    stack.manage("seed_defaults", "--verbosity", "0")
    token = json.loads(run(stack, MAKE_PEOPLE).splitlines()[-1])
    run(stack, WALK_THE_ADMIN)
    await asyncio.to_thread(stack.start)

    admin, anna, bert = (Visitor(stack.url) for _ in range(3))
    refused = anna.sign_in("/login/", "anna@example.com", "wrong")
    assert "The email address or the password is wrong." in refused.text
    assert anna.sign_in("/login/", "anna@example.com", PASSWORD).url == f"{stack.url}/"
    assert "anna@example.com" in anna.get("/").text
    assert bert.sign_in("/login/", "bert@example.com", PASSWORD).url == f"{stack.url}/"
    assert admin.sign_in("/admin/login/", "admin@localhost", password_file.read_text().strip()).status == 200
    assert "anna@example.com" in admin.get("/admin/axes/accessfailurelog/").text
    assert admin.get("/api/stats/").status == 200

    async with contextlib.AsyncExitStack() as opened:

        async def connect(**headers: str) -> list[str]:
            socket = await opened.enter_async_context(
                websockets.connect(stack.socket_url, additional_headers=headers, proxy=None)
            )
            return json.loads(await socket.recv())["metric_types"]

        assert await connect(**anna.socket_headers) == ["system"]
        assert await connect(**bert.socket_headers) == ["business"]
        assert len(await connect(**admin.socket_headers)) == len(BUILTIN_TYPES)
        # It shows at most what its maker may see.
        assert await connect(Authorization=f"Bearer {token}") == ["system"]
        listed = await asyncio.to_thread(admin.get, "/admin/metrics_stream/connection/")
        assert "anna@example.com" in listed.text


def test_more_required_columns_come_from_the_environment(stack):
    stack.manage("migrate", "--verbosity", "0")
    stack.environment["DJANGO_SUPERUSER_FULL_NAME"] = "Head of Operations"
    stack.manage("ensure_admin", "--username", "ops@example.com", "--password-file", str(stack.folder / "password"))
    code = "from django.contrib.auth import get_user_model as g; print(*g().objects.values_list('email', 'full_name'))"
    assert run(stack, code) == "('ops@example.com', 'Head of Operations')\n"


@pytest.mark.parametrize("settings_module", [SETTINGS, "project.settings"])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_databases_of_older_versions_go_on_working(stack, settings_module, database, request):
    stack.environment["DJANGO_SETTINGS_MODULE"] = settings_module
    if database == "postgresql":
        stack.environment["DATABASE_URL"] = request.getfixturevalue("empty_database")
    for app in ([] if settings_module == "project.settings" else ["people"]) + ["contenttypes", "auth"]:
        stack.manage("migrate", "--verbosity", "0", app)
    stack.manage("migrate", "--verbosity", "0", "metrics_stream", "0007")
    run(stack, ROWS_OF_0007)
    stack.manage("migrate", "--verbosity", "0")
    run(stack, ROWS_NOW)
    assert stack.manage("makemigrations", "--check", "--dry-run", "--no-input") == "No changes detected\n"


@pytest.fixture
def empty_database(postgresql_url):
    psycopg = pytest.importorskip("psycopg")
    name = f"empty_{secrets.token_hex(4)}"
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgresql_url.rpartition('/')[0]}/{name}"
