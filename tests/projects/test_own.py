"""The recipe of docs/settings.md for an own Django project, run: the site keeps its pages beside those of the app."""

import asyncio
import json
import re
import shutil

import pytest
import websockets

from tests.support.documents import SETTINGS, code_blocks
from tests.support.stack import ROOT, Stack
from tests.support.visitor import Visitor

PROJECT = ROOT / "tests" / "projects" / "own"

# Installed here for the shipped project; this site must do without them.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"simple_history", "adminsortable2", "axes", "csp", "environ"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""

MAKE = """
import json
from metrics_stream.models import AccessToken
print(json.dumps(AccessToken.issue(name="producer", scopes=["publish"], metric_types=["all"])[1]))
"""

WALK_THE_ADMIN = """
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from metrics_stream.models import AccessPolicy, Dashboard

policy = AccessPolicy.objects.create(name="systems", metric_types=["system"])
policy.users.add(get_user_model().objects.get())
policy.name = "all systems"
policy.save()
client = Client(headers={"host": "127.0.0.1"})
client.force_login(get_user_model().objects.get())
for model in admin.site._registry:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    addresses = [reverse(f"{name}_changelist")]
    if model._meta.managed:
        for row in model._default_manager.all():
            addresses += [reverse(f"{name}_{page}", args=[row.pk]) for page in ("change", "history")]
    if model._meta.model_name in ("accesspolicy", "accesstoken", "sharelink", "dashboard", "testrun", "user"):
        addresses.append(reverse(name + "_add"))
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200, (address, answer.status_code)
"""

ORDER_BY_NUMBERS = """
address = reverse("admin:metrics_stream_dashboard_changelist")
page = client.get(address).text
assert 'name="form-0-order"' in page
rows = list(Dashboard.objects.order_by("order", "pk"))
form = {"form-TOTAL_FORMS": len(rows), "form-INITIAL_FORMS": len(rows), "_save": "Save"}
for number, row in enumerate(rows):
    form |= {f"form-{number}-id": row.pk, f"form-{number}-order": len(rows) - number}
assert client.post(address, form).status_code == 302
assert list(Dashboard.objects.order_by("order", "pk")) == rows[::-1]
assert f'name="order" value="{len(rows) + 1}"' in client.get(reverse("admin:metrics_stream_dashboard_add")).text
change = client.get(reverse("admin:metrics_stream_dashboard_change", args=[rows[0].pk])).text
assert 'name="panels-0-order"' in change and "panel-order" not in change
"""


class Site(Stack):
    """The own project, copied to a folder of its own, on a real Redis."""

    first_page = "/load/"

    def __init__(self, folder, redis_url, **environment):
        variables = {"PYTHONPATH": f"{folder / 'without'}:{ROOT}", "DJANGO_SETTINGS_MODULE": "mysite.settings"}
        super().__init__(folder, redis_url, **{**variables, **environment})
        self.root = folder / "site"
        shutil.copytree(PROJECT, self.root, ignore=shutil.ignore_patterns("__pycache__"))
        settings = self.root / "mysite" / "settings.py"
        text = settings.read_text()
        assert "redis://127.0.0.1:6379/0" in text
        settings.write_text(text.replace("redis://127.0.0.1:6379/0", redis_url))
        (folder / "without").mkdir()
        (folder / "without" / "sitecustomize.py").write_text(WITHOUT)

    def shell(self, code: str) -> str:
        return self.manage("shell", "--no-imports", code=code)


@pytest.fixture
def site(tmp_path, valkey_url):
    site = Site(tmp_path, f"{valkey_url}/7")
    yield site
    site.stop()


def test_the_blocks_of_the_recipe_are_those_of_the_project():
    recipe = SETTINGS.read_text().partition("## In your own Django project")[2]
    files = {path.name: path.read_text() for path in (PROJECT / "mysite").glob("*.py")}
    blocks = [block for block in code_blocks(SETTINGS, "python") if block in recipe]
    assert len(blocks) == 4
    for block in blocks:
        head, _, code = block.partition("\n")
        name = re.fullmatch(r"# mysite/(\w+\.py).*", head)[1]
        assert code.strip() in files[name], name


async def test_the_site_runs_with_the_app_in_it(site):
    async with asyncio.timeout(120):
        await run_the_site(site)


async def run_the_site(site):
    assert "System check identified no issues" in site.manage("check")
    assert site.manage("makemigrations", "--check", "--dry-run", "--no-input") == "No changes detected\n"
    site.manage("migrate", "--verbosity", "0")
    site.manage("seed_defaults", "--verbosity", "0")
    site.manage("collectstatic", "--no-input", "--verbosity", "0")
    password_file = site.folder / "password"
    site.manage("ensure_admin", "--password-file", str(password_file))
    token = json.loads(site.shell(MAKE).splitlines()[-1])
    await asyncio.to_thread(site.start)

    stranger, person = Visitor(site.url), Visitor(site.url)
    assert stranger.get("/").text == "The home page of the site"
    for path in ("/nothing/", "/load/nothing/", "/load/runs/nothing/"):
        assert person.get(path).status in (200, 404)
    assert "The 404 page of the site" in stranger.get("/nothing/").text
    assert "The 404 page of the site" in stranger.get("/load/nothing/").text
    broken = stranger.get("/broken/")
    assert (broken.status, "The 500 page of the site" in broken.text) == (500, True)
    assert "<title>Log in | Django site admin</title>" in stranger.get("/admin/").text
    assert stranger.get("/load/").url == f"{site.url}/load/login/?next=/load/"

    assert person.sign_in("/load/login/", "admin", password_file.read_text().strip()).url == f"{site.url}/load/"
    pages = ["/load/", "/load/runs/", "/load/console/"]
    pages += sorted(set(re.findall(r'href="(/load/dashboards/[\w-]+/)"', person.get("/load/").text)))
    assert len(pages) > 5
    for page in pages:
        answer = person.get(page)
        assert answer.status == 200, page
        for address in re.findall(r'(?:href|src|action)="(/[^"]*)"', answer.text):
            assert address.startswith(("/load/", "/static/metrics_stream/", "/admin/")), (page, address)
            if address.startswith("/static/"):
                assert person.get(address).status == 200, address
        if "page-config" in answer.text:
            assert '"socket_path": "/load/ws/metrics/"' in answer.text
            assert '"sign_in_path": "/load/login/"' in answer.text
    assert "The 404 page of the site" in person.get("/load/runs/nothing/").text
    assert person.get("/load/readyz").status == 200

    # Sockets: ours, and the site's own beside it.
    host = f"ws://127.0.0.1:{site.port}"
    async with websockets.connect(f"{host}/ws/echo/", additional_headers=person.socket_headers, proxy=None) as echo:
        await echo.send("hello")
        assert await echo.recv() == "hello"
    with pytest.raises(websockets.InvalidStatus, match="403"):
        await websockets.connect(f"{host}/ws/metrics/", proxy=None)
    address = f"{host}/load/ws/metrics/"
    with pytest.raises(websockets.InvalidStatus, match="403"):
        await websockets.connect(address, additional_headers={"Origin": "https://elsewhere.example"}, proxy=None)
    async with websockets.connect(address, additional_headers=person.socket_headers, proxy=None) as socket:
        assert json.loads(await socket.recv())["type"] == "welcome"
        await socket.send('{"type": "subscribe", "metric_types": ["system"]}')
        while json.loads(await socket.recv())["type"] != "subscription_confirmed":
            pass
        await asyncio.to_thread(publish, f"{site.url}/load/", token)
        while (message := json.loads(await socket.recv()))["type"] != "metric_update":
            pass
        assert message["data"]["data"] == {"throughput_tps": 950}

    # The admin without history and dragging, and what the options add to a database in use.
    await asyncio.to_thread(site.shell, WALK_THE_ADMIN + ORDER_BY_NUMBERS)


def publish(url: str, token: str) -> None:
    from metrics_stream.broadcast import Broadcaster

    with Broadcaster(url=url, token=token) as stream:
        stream.broadcast_system_metrics({"throughput_tps": 950})
        assert stream.flush(timeout=10), stream.last_error


def test_the_options_can_come_later(site):
    site.manage("migrate", "--verbosity", "0")
    site.manage("seed_defaults", "--verbosity", "0")
    site.manage("ensure_admin", "--password-file", str(site.folder / "password"))
    site.environment |= {"DJANGO_SETTINGS_MODULE": "mysite.settings_with_options", "PYTHONPATH": str(ROOT)}
    site.manage("migrate", "--verbosity", "0")
    assert site.manage("makemigrations", "--check", "--dry-run", "--no-input") == "No changes detected\n"
    assert "System check identified no issues" in site.manage("check")
    site.shell(WALK_THE_ADMIN + "assert [entry.name for entry in policy.history.all()][0] == 'all systems'")
    # A second time, there is nothing to complete.
    site.manage("migrate", "--verbosity", "0")
