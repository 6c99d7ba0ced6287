"""What is not for this server is refused before the application, with what would allow it in the log."""

from collections import Counter

import pytest

from metrics_stream.server import refusals
from metrics_stream.server.gates import KnownHosts, RootPath, SameOrigin, refuse_socket, with_upgrade_hint
from metrics_stream.telemetry import of_process


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    """Count only the refusals of this test, and log its first."""
    monkeypatch.setattr(of_process, "refused_by_reason", Counter())
    monkeypatch.setattr(refusals, "_due_at", {})
    return of_process.refused_by_reason


class Inner:
    """An application that notes what reaches it."""

    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)


async def call(application, *, kind="http", path="/", headers=(), **more):
    """Call an application, and return what it sent."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "path": path, "headers": [*headers], "client": ("192.0.2.7", 1), **more}
    await application(scope, None, send)
    return sent


@pytest.mark.parametrize(
    ("origin", "scheme", "remedy"),
    [
        (
            b"https://portal.example",
            "wss",
            "if pages of that origin may, add https://portal.example to ALLOWED_ORIGINS",
        ),
        (b"https://here:8443", "wss", "the server is https://here; if pages of that origin may, add https://here:8443"),
        (b"https://here", "ws", "if a proxy terminates TLS, it must set X-Forwarded-Proto, and FORWARDED_ALLOW_IPS"),
        (b"null", "wss", "this is no origin that can be allowed; allowed: scheme://host[:port]"),
        (b"https://user@here", "wss", "this is no origin that can be allowed"),
    ],
)
async def test_a_refused_origin_is_logged_with_what_would_allow_it(origin, scheme, remedy, counted, caplog):
    inner = Inner()
    application = SameOrigin(inner, hosts=["here"], origins=[])
    headers = [(b"host", b"here"), (b"origin", origin)]
    assert await call(application, kind="websocket", scheme=scheme, headers=headers) == [{"type": "websocket.close"}]
    assert counted == {"foreign_origin": 1}
    assert f"a page of '{origin.decode()}' may not open a WebSocket here (client 192.0.2.7): " in caplog.text
    assert remedy in caplog.text
    for _ in range(50):
        await call(application, kind="websocket", scheme=scheme, headers=headers)
    assert (counted["foreign_origin"], len(caplog.records), inner.scopes) == (51, 1, [])


async def test_a_page_of_a_name_that_is_none_of_the_server_is_refused_and_the_setting_named(caplog):
    headers = [(b"host", b"there"), (b"origin", b"http://there")]
    sent = await call(SameOrigin(Inner(), hosts=["here"], origins=[]), kind="websocket", scheme="ws", headers=headers)
    assert sent == [{"type": "websocket.close"}]
    assert "add there to ALLOWED_HOSTS" in caplog.text


async def test_two_origins_are_none():
    headers = [(b"host", b"here"), (b"origin", b"http://here"), (b"origin", b"http://evil")]
    sent = await call(SameOrigin(Inner(), hosts=["here"], origins=[]), kind="websocket", scheme="ws", headers=headers)
    assert sent == [{"type": "websocket.close"}]


async def test_a_socket_at_an_unknown_path_is_refused_and_counted(counted):
    assert await call(refuse_socket, kind="websocket") == [{"type": "websocket.close"}]
    assert counted == {"unknown_socket": 1}


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        (b"here", "/", None),
        (b"here:8000", "/", None),
        (b"sub.near", "/", None),
        (None, "/", None),
        (b"10.0.0.7:8000", "/", 400),
        (b"10.0.0.7:8000", "/healthz", None),
        (b"10.0.0.7:8000", "/healthz/", 400),
        (b"10.0.0.7:8000", "/metrics", 400),
        (b"\xff", "/healthz", None),
        (b"", "/healthz", None),
        (b"", "/", 400),
        (b"here, there", "/", 400),
    ],
)
async def test_pages_are_for_the_names_of_the_server_and_health_for_all(host, path, status, counted, caplog):
    inner = Inner()
    application = KnownHosts(inner, hosts=["here", ".near"], open_paths=lambda: {"/healthz"})
    sent = await call(application, path=path, headers=[] if host is None else [(b"host", host)])
    assert (sent[0]["status"] if sent else None) == status
    assert len(inner.scopes) == (status is None)
    if path == "/healthz":
        assert inner.scopes[0]["headers"] == [(b"host", b"here")]
    assert counted == ({"foreign_host": 1} if status else {})
    assert ("ALLOWED_HOSTS" in caplog.text) == bool(status)


@pytest.mark.parametrize(
    ("path", "root_path", "status"), [("/ws/metrics/", "", 426), ("/m/ws/metrics/", "/m", 426), ("/ws/", "", None)]
)
async def test_a_request_without_an_upgrade_is_told_of_proxies(path, root_path, status, counted):
    inner = Inner()
    sent = await call(with_upgrade_hint(inner, "/ws/metrics/"), path=path, root_path=root_path, method="GET")
    if status is None:
        assert (sent, len(inner.scopes)) == ([], 1)
        return
    assert sent[0]["status"] == 426
    assert dict(sent[0]["headers"])[b"Upgrade"] == b"websocket"
    assert dict(sent[0]["headers"])[b"connection"] == b"Upgrade, close"
    assert b"a proxy in between must pass the headers Upgrade and Connection" in sent[1]["body"]
    assert counted == {"no_upgrade": 1}


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("root", "of_server", "path", "headers", "seen"),
    [
        ("", "", "/runs/", [], "/runs/"),
        # The proxy leaves the root path on, or takes it off; or the server puts it there.
        ("/m", "", "/m/runs/", [], "/m/runs/"),
        ("/m", "", "/runs/", [], "/m/runs/"),
        ("/m", "/m", "/m/runs/", [], "/m/runs/"),
        ("/m", "/m", "/m/m/runs/", [], "/m/runs/"),
        ("/m", "", "/m", [], "/m/"),
        ("/m", "", "/more/", [], "/m/more/"),
        # daphne takes the root path from the client, and does not put it before the path.
        ("", "/ws", "/ws/metrics/", [(b"daphne-root-path", b"/ws")], "/ws/metrics/"),
        ("/m", "/x", "/x/metrics", [(b"daphne-root-path", b"/x")], "/m/x/metrics"),
    ],
)
async def test_the_application_is_below_its_root_path(root, of_server, path, headers, seen, kind):
    inner = Inner()
    await call(RootPath(inner, root), kind=kind, path=path, root_path=of_server, headers=headers)
    [scope] = inner.scopes
    assert (scope["root_path"], scope["path"]) == (root, seen)


@pytest.mark.parametrize("root", ["", "/other"])
async def test_a_server_with_another_root_path_answers_503_and_says_once_what_to_set(root, caplog):
    inner = Inner()
    application = RootPath(inner, root)
    for _ in range(3):
        start, body = await call(application, path="/m/", root_path="/m")
        assert start["status"] == 503
        assert b"set FORCE_SCRIPT_NAME=/m, too" in body["body"]
        sent = await call(application, kind="websocket", path="/m/ws/metrics/", root_path="/m")
        assert sent == [{"type": "websocket.close"}]
    assert (inner.scopes, len(caplog.records)) == ([], 1)
