"""What viewers and strangers get through the shipped configurations of nginx and Caddy."""

import asyncio
import json
import re

import httpx
import pytest
import uvicorn
import websockets

from tests.deploy.conftest import DEPLOY, HOST
from tests.support.stack import wait_until

pytestmark = pytest.mark.valkey

# Another machine, as far as a proxy on this one can tell.
STRANGER = "127.0.0.2"


def test_pages_come_over_https_with_the_hashed_files_they_name(proxy):
    with proxy.client() as client:
        page = client.get("/")
        assert (page.status_code, "Operations" in page.text) == (200, True)
        assert page.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
        names = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        assert any(name.endswith(".js") for name in names)
        for name in names:
            file = client.get(name)
            assert (name, file.status_code, file.headers.get("content-encoding")) == (name, 200, "gzip")
            assert "max-age=315360000" in file.headers["cache-control"]
            assert file.headers["x-content-type-options"] == "nosniff"
        script = next(name for name in names if name.endswith(".js"))
        assert "javascript" in client.get(script).headers["content-type"]
        assert client.get("/static/nowhere.js").status_code == 404
        without_hash = re.sub(r"\.[0-9a-f]{12}\.", ".", script)
        assert "max-age=3600" in client.get(without_hash).headers["cache-control"]


def test_plain_http_is_sent_to_https(proxy):
    address = f"http://127.0.0.1:{proxy.http}/dashboards/operations/?source=a"
    answer = httpx.get(address, headers={"Host": HOST}, follow_redirects=False)
    assert answer.status_code in {301, 308}
    assert re.fullmatch(
        rf"https://{HOST}(:{proxy.https})?/dashboards/operations/\?source=a", answer.headers["location"]
    )


@pytest.mark.parametrize("path", ["/", "/login/", "/admin/login/", "/nowhere/", "/healthz"])
def test_the_headers_of_the_server_arrive_once(proxy, path):
    with proxy.client() as client:
        headers = client.get(path).headers
    for name, part in {
        "content-security-policy": "default-src 'none'",
        "permissions-policy": "accelerometer=()",
        "strict-transport-security": "max-age=",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }.items():
        [value] = headers.get_list(name)
        assert part in value, (name, value)


def test_past_the_proxy_probes_are_answered_and_pages_sent_to_https(stack):
    with httpx.Client(base_url=stack.url) as client:
        assert {path: client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")} == {
            "/healthz": 200,
            "/readyz": 200,
            "/metrics": 200,
        }
        page = client.get("/login/?next=/runs/")
        assert (page.status_code, page.headers["location"]) == (
            301,
            f"https://127.0.0.1:{stack.port}/login/?next=/runs/",
        )
        # A program on this machine may publish without TLS; a redirect would make it fail.
        assert client.post("/api/metrics/", json={}).json()["error"] == "not_authenticated"
        # What a stranger claims counts only from a proxy; here that is this machine.
        assert client.get("/login/", headers={"X-Forwarded-Proto": "https"}).status_code == 200


def test_the_admin_logs_in_with_cookies_for_https_alone(proxy, stack):
    with proxy.client() as client:
        page = client.get("/admin/login/")
        [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        password = (stack.folder / "password").read_text().strip()
        answer = client.post(
            "/admin/login/?next=/admin/",
            data={"csrfmiddlewaretoken": token, "username": "admin", "password": password},
            headers={"Origin": proxy.origin, "Referer": f"{proxy.origin}/admin/login/"},
        )
        assert (answer.status_code, answer.headers["location"]) == (302, "/admin/")
        cookies = page.headers.get_list("set-cookie") + answer.headers.get_list("set-cookie")
        assert len(cookies) == 3
        assert all("; secure" in cookie.lower() for cookie in cookies), cookies
        assert client.get("/api/stats/").status_code == 200


def test_a_form_from_another_site_is_refused(proxy):
    with proxy.client() as client:
        client.get("/admin/login/")
        data = {"csrfmiddlewaretoken": client.cookies["csrftoken"], "username": "admin", "password": "x"}
        for origin in ("https://elsewhere.example.com", f"http://{HOST}:{proxy.https}"):
            assert client.post("/admin/login/", data=data, headers={"Origin": origin}).status_code == 403


async def test_metrics_arrive_through_the_proxy_compressed(proxy, stack):
    async with proxy.socket(origin=proxy.origin) as ws:
        assert [each.name for each in ws.protocol.extensions] == ["permessage-deflate"]
        assert json.loads(await ws.recv())["type"] == "welcome"
        source = f"through-{proxy.https}"  # the stack keeps what other tests have published
        await ws.send(json.dumps({"type": "set_filters", "filters": {"sources": [source]}}))
        assert json.loads(await ws.recv())["type"] == "filters_updated"
        await ws.send('{"type": "subscribe", "metric_types": ["hero"]}')
        assert json.loads(await ws.recv())["type"] == "subscription_confirmed"
        publish = 'stream.broadcast_hero_metrics({"money_saved": 1234.5})'
        await asyncio.to_thread(stack.publish, publish, source=source)
        frame = json.loads(await asyncio.wait_for(ws.recv(), 10))
        assert frame["data"]["data"] == {"money_saved": 1234.5}


async def test_a_page_of_another_site_opens_no_socket(proxy):
    with pytest.raises(websockets.InvalidStatus) as refused:
        await proxy.socket(origin="https://elsewhere.example.com")
    assert refused.value.response.status_code == 403


def test_bodies_over_a_megabyte_are_refused(proxy):
    with proxy.client() as client:
        client.get("/admin/login/")
        data = {"csrfmiddlewaretoken": client.cookies["csrftoken"], "username": "admin", "password": "x"}
        headers = {"Origin": proxy.origin, "Referer": proxy.origin}
        fits = client.post("/admin/login/", data={**data, "more": "x" * 900_000}, headers=headers)
        too_big = client.post("/admin/login/", data={**data, "more": "x" * 1_100_000}, headers=headers)
        assert (fits.status_code, too_big.status_code) == (200, 413)


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
def test_what_the_server_says_of_itself_is_for_this_machine_alone(proxy, path):
    with proxy.client() as here, proxy.client(STRANGER) as stranger:
        assert here.get(path).status_code == 200
        assert stranger.get(path).status_code == 403
        assert stranger.get(path, headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403
        assert stranger.get("/healthz").status_code == 200


# --- when the server does not answer ---


def test_while_the_server_is_away_there_is_a_page_that_says_so_and_static_files_go_on(proxy, stack):
    with proxy.client() as client:
        [script, *_] = re.findall(r'src="(/static/[^"]+)"', client.get("/").text)
        stack.stop()
        try:
            away = client.get("/")
            assert (away.status_code, away.headers["retry-after"], away.headers["cache-control"]) == (
                503,
                "5",
                "no-store",
            )
            assert "The server does not answer" in away.text
            assert away.headers["content-type"].startswith("text/html")
            assert client.get(script).status_code == 200
        finally:
            stack.start()
        wait_until(lambda: client.get("/").status_code == 200, 5)


# --- limits of nginx, made small ---


@pytest.fixture(scope="module")
def tight(run_nginx):
    """An nginx whose limits a test reaches soon."""
    return run_nginx(
        {
            "limit_conn stream_sockets 200;": "limit_conn stream_sockets 2;",
            "zone=stream_pages burst=200 nodelay;": "zone=stream_pages burst=5 nodelay;",
            "rate=20r/s": "rate=1r/s",
            "proxy_read_timeout 75s;": "proxy_read_timeout 1s;",
        }
    )


async def test_sockets_beyond_the_limit_of_an_address_are_refused_until_one_closes(tight):
    async with tight.socket("127.0.0.3"), tight.socket("127.0.0.4"):
        async with tight.socket("127.0.0.3"):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await tight.socket("127.0.0.3")
            assert refused.value.response.status_code == 429
            async with tight.socket("127.0.0.4"):
                pass
        async with tight.socket("127.0.0.3"):
            pass


def test_requests_beyond_the_limit_of_an_address_are_refused_and_static_files_are_not_counted(tight):
    with tight.client("127.0.0.5") as client, tight.client("127.0.0.6") as other:
        codes = [client.get("/healthz").status_code for _ in range(12)]
        assert codes[:6] == [200] * 6
        assert codes[-1] == 429
        assert {client.get("/static/metrics_stream/css/base.css").status_code for _ in range(30)} == {200}
        assert other.get("/healthz").status_code == 200


def test_a_dashboard_that_is_opened_by_many_behind_one_address_stays_within_the_limits(nginx):
    with nginx.client("127.0.0.7") as client:
        assert {client.get("/healthz").status_code for _ in range(150)} == {200}


async def test_pings_keep_a_silent_socket_open_and_a_dead_one_ends(tight):
    async with (
        tight.socket("127.0.0.8", ping_interval=0.2) as kept,
        tight.socket("127.0.0.9", ping_interval=None) as dead,
    ):
        await dead.recv()
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(dead.recv(), 5)
        # It was opened first, so it has been silent for longer than the other one was.
        await asyncio.wait_for(await kept.ping(), 5)


def test_the_timeouts_of_nginx_are_longer_than_the_pings_of_the_server():
    server = uvicorn.Config("unused")
    longest = server.ws_ping_interval + server.ws_ping_timeout
    site = (DEPLOY / "nginx.conf").read_text()
    sockets = re.search(r"location /ws/ \{(.*?)\n    \}", site, re.DOTALL)[1]
    timeouts = [int(seconds) for seconds in re.findall(r"_timeout (\d+)s;", sockets)]
    assert len(timeouts) == 3
    assert min(timeouts) > longest
    assert int(re.search(r"keepalive_timeout (\d+)s;", site)[1]) < server.timeout_keep_alive
    assert int(re.search(r"keepalive (\d+)s", (DEPLOY / "Caddyfile").read_text())[1]) < server.timeout_keep_alive
