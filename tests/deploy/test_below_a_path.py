"""The product below a path of another site, through real proxies that leave the path on the address or take it off."""

import json
import os
import re

import httpx
import pytest
import websockets
from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import ARGUMENTS, TELL_REFUSED, chromium
from tests.deploy.conftest import CADDY, DEPLOY, HOST, NGINX, PREPARE, SETTINGS, Proxy, find_program
from tests.support.stack import ROOT, Stack

__all__ = ["chromium"]

pytestmark = pytest.mark.valkey

PATH = "/metrics-stream"

MAKE = """
import json
from metrics_stream.models import AccessToken, Dashboard, ShareLink
from django.urls import reverse
token, text = AccessToken.issue(name="below", scopes=["publish"], metric_types=["system", "hero"])
link, words = ShareLink.issue(name="screen", dashboard=Dashboard.objects.get(slug="operations"))
print(json.dumps({"token": text, "share": reverse("metrics_stream:share", args=[words + "/"])}))
"""

NGINX_SITE = """
server {{
    listen 127.0.0.1:{https} ssl;
    server_name {host};
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location / {{ return 200 "another site"; }}
    include {snippet};
}}
"""
CADDY_SITE = """
{host} {{
	tls {certificate} {key}
	import {snippet}
	respond "another site"
}}
"""


@pytest.fixture(scope="module")
def below(valkey_url, tmp_path_factory):
    """The server as it is deployed, below a path."""
    folder = tmp_path_factory.mktemp("below")
    (folder / "deployed_settings.py").write_text(SETTINGS.format(static=str(folder / "static")))
    stack = Stack(
        folder,
        valkey_url,
        GROUP_PREFIX="below",
        DEBUG="0",
        HTTPS_ONLY="1",
        ANONYMOUS_READ="0",
        FORCE_SCRIPT_NAME=PATH,
        ALLOWED_HOSTS=f"{HOST},127.0.0.1",
        DJANGO_SETTINGS_MODULE="deployed_settings",
        PYTHONPATH=f"{folder}{os.pathsep}{ROOT}",
    )
    stack.manage("shell", "-v", "0", code=PREPARE.format(password=str(folder / "password")))
    stack.made = json.loads(stack.manage("shell", "-v", "0", code=MAKE).splitlines()[-1])
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def program(request):
    return request.param


@pytest.fixture(scope="module", params=[False, True], ids=["left on", "taken off"])
def site(request, program, below, authority, certificate, tmp_path_factory):
    """Another site with the shipped file in it."""
    proxy = Proxy(tmp_path_factory.mktemp(program), authority)
    names = {"host": HOST, "https": proxy.https, "certificate": certificate.certificate, "key": certificate.key}
    snippet = proxy.folder / "snippet"
    own = {"127.0.0.1:8000": f"127.0.0.1:{below.port}"}
    if program == "nginx":
        text = (DEPLOY / "nginx-below-a-path.conf").read_text()
        if request.param:  # as many write it: nginx takes off what the location has
            text = re.sub(r"    location ~ .*?\n    }\n", "", text, flags=re.DOTALL)
            text = text.replace("http://127.0.0.1:8000;", "http://127.0.0.1:8000/;", 1)
            text = text.replace("http://127.0.0.1:8000;", "http://127.0.0.1:8000/share/;", 1)
            text = text.replace("http://127.0.0.1:8000;", "http://127.0.0.1:8000/ws/;", 1)
        site = NGINX_SITE.format(snippet=snippet, **names)
    else:
        text = (DEPLOY / "Caddyfile-below-a-path").read_text()
        if request.param:
            text = text.replace("handle /metrics-stream/*", "handle_path /metrics-stream/*")
            text = text.replace("path /metrics-stream/metrics /metrics-stream/readyz", "path /metrics /readyz")
        head = CADDY.format(http=proxy.http, https=proxy.https, folder=proxy.folder)
        site = head + CADDY_SITE.format(snippet=snippet, **names)
    for old, new in own.items():
        assert old in text
        text = text.replace(old, new)
    snippet.write_text(text)
    config = proxy.folder / "site.conf"
    config.write_text(site)
    if program == "nginx":
        main = proxy.folder / "nginx.conf"
        main.write_text(NGINX.format(folder=proxy.folder, user="user root;" if os.geteuid() == 0 else ""))
        proxy.run(find_program(program), "-p", str(proxy.folder), "-c", str(main), "-e", str(proxy.log))
    else:
        proxy.run(find_program(program), "run", "--adapter", "caddyfile", "--config", str(config))
    yield proxy
    proxy.stop()


def sign_in(client, site, below, path="/login/"):
    page = client.get(f"{PATH}{path}")
    [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    data = {"csrfmiddlewaretoken": token, "username": "admin"}
    data["password"] = (below.folder / "password").read_text().strip()
    return client.post(
        f"{PATH}{path}", data=data, headers={"Origin": site.origin, "Referer": f"{site.origin}{PATH}{path}"}
    )


def test_the_other_site_is_as_before(site):
    with site.client() as client:
        assert client.get("/").text == "another site"
        assert client.get("/static/metrics_stream/css/base.css").text == "another site"
        answer = client.get(PATH, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"].removeprefix(site.origin)) == (308, f"{PATH}/")


def test_every_link_of_every_page_stays_below_the_path(site, below):
    with site.client() as client:
        answer = client.get(f"{PATH}/")
        assert (answer.status_code, answer.headers["location"]) == (302, f"{PATH}/login/?next={PATH}/")
        signed_in = sign_in(client, site, below)
        assert (signed_in.status_code, signed_in.headers["location"]) == (302, f"{PATH}/")
        for cookie in client.cookies.jar:
            assert cookie.path == f"{PATH}/", cookie
        found, seen = {f"{PATH}/", f"{PATH}/dashboards/operations/", f"{PATH}/admin/"}, set()
        while left := sorted(found - seen)[:60]:
            for link in left:
                seen.add(link)
                page = client.get(link)
                assert page.status_code in {200, 302}, (link, page.status_code)
                if "html" not in page.headers.get("content-type", "") or len(seen) > 150:
                    continue
                links = re.findall(r'(?:src|href|action)="(/[^"#?]*)', page.text)
                # Django links to the site as `/metrics-stream`.
                assert [each for each in links if not f"{each}/".startswith(f"{PATH}/")] == [], link
                found |= {each for each in links if each != PATH and "logout" not in each}
            if len(seen) > 150:
                break
        assert any(link.endswith(".js") for link in seen)
        assert client.get(f"{PATH}/nowhere/").status_code == 404
        assert client.get(f"{PATH}/dashboards/operations", follow_redirects=False).headers["location"].startswith(PATH)


def test_a_share_link_opens_its_dashboard(site, below):
    assert below.made["share"].startswith(f"{PATH}/share/")
    with site.client() as client:
        answer = client.get(below.made["share"])
        assert (answer.status_code, answer.headers["location"]) == (302, f"{PATH}/dashboards/operations/")
        page = client.get(answer.headers["location"])
        assert page.status_code == 200
        assert f'"socket_path": "{PATH}/ws/metrics/"' in page.text


async def test_programs_publish_and_watch(site, below):
    url = f"{site.origin}{PATH}"
    with site.client() as client:
        sign_in(client, site, below)
        cookie = "; ".join(f"{each.name}={each.value}" for each in client.cookies.jar)
        wrong = client.get(f"{PATH}/ws/metrics/")
        assert wrong.status_code == 426
        headers = {"Authorization": f"Bearer {below.made['token']}"}
        body = {"metric_type": "hero", "data": {"money_saved": 7}, "source": url}
        async with websockets.connect(
            f"wss://{HOST}:{site.https}{PATH}/ws/metrics/",
            host="127.0.0.1",
            ssl=site.tls,
            origin=site.origin,
            additional_headers={"Cookie": cookie},
        ) as ws:
            assert json.loads(await ws.recv())["type"] == "welcome"
            await ws.send(json.dumps({"type": "set_filters", "filters": {"sources": [url]}}))
            await ws.send('{"type": "subscribe", "metric_types": ["hero"]}')
            answer = client.post(f"{PATH}/api/metrics/", json=body, headers=headers)
            assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
            while "metric" not in (message := json.loads(await ws.recv()))["type"]:
                pass
            assert message["data"]["data"] == {"money_saved": 7}
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(
                f"wss://{HOST}:{site.https}{PATH}/ws/metrics/",
                host="127.0.0.1",
                ssl=site.tls,
                origin="https://evil.test",
            )
        assert refused.value.response.status_code == 403


def test_probes_on_the_machine_itself_need_no_path(below):
    for path in ("", PATH):
        answers = {
            name: httpx.get(f"{below.url}{path}/{name}").status_code for name in ("healthz", "readyz", "metrics")
        }
        assert answers == {"healthz": 200, "readyz": 200, "metrics": 200}


def test_strangers_get_no_readiness(site):
    with site.client("127.0.0.2") as stranger:
        assert stranger.get(f"{PATH}/healthz").status_code == 200
        if (
            "location ~" in (site.folder / "snippet").read_text()
            or "@strangers" in (site.folder / "snippet").read_text()
        ):
            assert {stranger.get(f"{PATH}/{name}").status_code for name in ("readyz", "metrics")} == {403}


@pytest.mark.browser
def test_a_browser_shows_live_metrics_below_the_path(chromium, site, below):
    arguments = [*ARGUMENTS, f"--host-resolver-rules=MAP {HOST} 127.0.0.1", "--ignore-certificate-errors"]
    errors = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        context = browser.new_context(base_url=site.origin)
        context.add_init_script(TELL_REFUSED)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("requestfailed", lambda request: errors.append(request.url))
        page.goto(f"{PATH}/login/?next={PATH}/dashboards/operations/")
        page.get_by_label("User name").fill("admin")
        page.get_by_label("Password").fill((below.folder / "password").read_text().strip())
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        below.publish("stream.broadcast_system_metrics({'throughput_tps': 111})")
        expect(page.get_by_text(re.compile("111")).first).to_be_visible()
        page.goto(f"{PATH}/console/")
        addresses = page.locator("input").evaluate_all("inputs => inputs.map((input) => input.value)")
        assert any(f"{site.https}{PATH}/ws/metrics/" in address for address in addresses), addresses
        browser.close()
    assert errors == []
