"""Sign-outs, sign-ins and test runs without end: a healthy client beside them notices nothing."""

import asyncio
import contextlib
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar

import psutil
import pytest
import websockets

from tests.faults.conftest import MakeStack
from tests.support.control import Control, Producer, wait_for_clients

pytestmark = [pytest.mark.faults, pytest.mark.valkey]

SESSIONS = 100
SECONDS = 5.0

# Prints the key of a session of each of so many users, who may see everything.
MAKE_SESSIONS = """
import json
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
keys = []
for number in range({count}):
    user = get_user_model().objects.create(username=f"viewer-{{number}}", is_superuser=True, is_staff=True)
    user.set_unusable_password()
    user.save()
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    keys.append(session.session_key)
print(json.dumps(keys))
"""

# Runs that have ended, all of one name, as a token may start them over the years.
MAKE_RUNS = """
from datetime import timedelta
from django.utils import timezone
from metrics_stream.models import TestRun
now = timezone.now()
at = [now - timedelta(minutes=number + 2) for number in range({count})]
TestRun.objects.bulk_create(
    [
        TestRun(
            slug=f"old-{{number}}", name="Old", status="completed", sources=["counter"], started_at=begin,
            ended_at=begin + timedelta(minutes=1), recording_ended_at=begin + timedelta(minutes=1),
        )
        for number, begin in enumerate(at)
    ],
    batch_size=2_000,
)
"""

MAKE_USER = """
from django.contrib.auth import get_user_model
get_user_model().objects.create_superuser("owner", "", "the right one")
"""


DEACTIVATE = """
from django.contrib.auth import get_user_model
user = get_user_model().objects.get(username="viewer-0")
user.is_active = False
user.save()
"""


def last_line(stack, code):
    """Run code in the shell of a server; return the last line that it prints."""
    return stack.manage("shell", "--verbosity", "0", code=code, timeout=180).splitlines()[-1]


def make_token(stack, name, *scopes):
    """Return the headers of a new token."""
    words = [word for scope in scopes for word in ("--scope", scope)]
    return {"Authorization": f"Bearer {stack.manage('create_token', name, *words).strip()}"}


def ask(stack, path, body=None, *, headers=()):
    """Return the status and the content of an answer."""
    content = None if body is None else json.dumps(body).encode()
    given = {**dict(headers), "Content-Type": "application/json"}
    request = urllib.request.Request(f"{stack.url}{path}", content, given)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class Browser:
    """A browser at an address, which a proxy of the server's machine names."""

    def __init__(self, stack, address):
        self._stack = stack
        self._headers = {"X-Forwarded-For": address}
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path):
        return self._open(path, None)

    def post(self, path, **fields):
        """Send a form, with the token of the page for signing in; return the status."""
        _, page = self.get("/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        fields = {"csrfmiddlewaretoken": token, **fields}
        return self._open(path, urllib.parse.urlencode(fields).encode())[0]

    def _open(self, path, body):
        request = urllib.request.Request(f"{self._stack.url}{path}", body, self._headers)
        try:
            with self._opener.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def sign_in(self, name, password):
        """Return whether it could sign in, and the status of the answer."""
        status = self.post("/login/", username=name, password=password)
        return "sessionid" in {cookie.name for cookie in self._cookies}, status

    @property
    def _cookies(self):
        [jar] = [item.cookiejar for item in self._opener.handlers if hasattr(item, "cookiejar")]
        return jar


async def open_sessions(stack, clients, keys):
    """Connect a socket with each session; return them."""
    sockets = []
    for key in keys:
        headers = {"Cookie": f"sessionid={key}"}
        socket = await clients.enter_async_context(
            websockets.connect(stack.socket_url, origin=stack.url, additional_headers=headers, compression=None)
        )
        assert json.loads(await socket.recv())["type"] == "welcome"
        sockets.append(socket)
    return sockets


async def test_sign_outs_of_nobody_have_nobody_looked_up_again(make_stack: MakeStack):
    stack = await asyncio.to_thread(make_stack, ANONYMOUS_READ=False)
    await asyncio.to_thread(stack.make_database)
    keys = json.loads(await asyncio.to_thread(last_line, stack, MAKE_SESSIONS.format(count=SESSIONS)))
    token = await asyncio.to_thread(make_token, stack, "control", "subscribe")
    server = psutil.Process(stack.server.pid)
    with Producer(stack):
        async with Control(stack, additional_headers=token) as control, contextlib.AsyncExitStack() as clients:
            await control.catches_up()
            sockets = await open_sessions(stack, clients, keys)
            browser = Browser(stack, "203.0.113.5")
            assert await asyncio.to_thread(browser.post, "/logout/") == 200
            began, before, signed_out = time.monotonic(), sum(server.cpu_times()[:2]), 0
            while time.monotonic() - began < SECONDS:
                assert await asyncio.to_thread(browser.post, "/logout/") == 200
                signed_out += 1
                await asyncio.sleep(0.3)
            # Each time to look all of them up again would take more than all of this time.
            assert signed_out > 5
            assert sum(server.cpu_times()[:2]) - before < 0.35 * SECONDS
            await control.assert_undisturbed()
            assert control.age(0.99) < 1.0
            # The change of one user closes that user's client, and no other.
            await asyncio.to_thread(stack.manage, "shell", code=DEACTIVATE)
            await asyncio.wait_for(sockets[0].wait_closed(), 10)
            assert sockets[0].close_code == 4503
            await wait_for_clients(stack, SESSIONS, 5)


async def test_runs_without_end_are_limited_and_disturb_nobody(make_stack: MakeStack):
    stack = await asyncio.to_thread(make_stack)
    await asyncio.to_thread(stack.make_database)
    token = await asyncio.to_thread(make_token, stack, "starter", "runs")

    def start_and_stop():
        for _ in range(200):
            status, content = ask(stack, "/api/runs/", {"name": "Short"}, headers=token.items())
            if status != 201:
                return status
            slug = json.loads(content)["slug"]
            assert ask(stack, f"/api/runs/{slug}/stop/", {}, headers=token.items())[0] == 200
        return status

    with Producer(stack):
        async with Control(stack) as control:
            await control.catches_up()
            assert await asyncio.to_thread(start_and_stop) == 429
            await control.assert_undisturbed()
            assert control.age(0.99) < 1.0


async def test_eighty_thousand_ended_runs_hold_up_nobody(make_stack: MakeStack):
    stack = await asyncio.to_thread(make_stack)
    await asyncio.to_thread(stack.make_database)
    await asyncio.to_thread(stack.manage, "shell", code=MAKE_RUNS.format(count=80_000), timeout=180)
    reader = ["--scope", "subscribe", "--metric-type", "system", "--source", "counter"]
    text = (await asyncio.to_thread(stack.manage, "create_token", "reader", *reader)).strip()
    headers = {"Authorization": f"Bearer {text}"}
    with Producer(stack):
        async with Control(stack) as control, Control(stack, additional_headers=headers) as narrowed:
            await control.catches_up()
            # A run without any metric of the token's sources is none of its own.
            for path, expected in (("/runs/", 200), ("/runs/?q=old", 200), ("/runs/old-79999/", 404), ("/", 200)):
                began = time.monotonic()
                status, _ = await asyncio.to_thread(ask, stack, path, headers=headers.items())
                assert (path, status) == (path, expected)
                assert time.monotonic() - began < 5, path
            await control.assert_undisturbed()
            await narrowed.assert_undisturbed()
            assert control.age(0.99) < 1.0


async def test_an_account_that_many_addresses_try_is_locked_for_them_and_not_for_its_owner(make_stack: MakeStack):
    stack = await asyncio.to_thread(make_stack)
    await asyncio.to_thread(stack.make_database)
    await asyncio.to_thread(stack.manage, "shell", code=MAKE_USER)
    assert await asyncio.to_thread(Browser(stack, "203.0.113.1").sign_in, "owner", "the right one") == (True, 200)

    def guess(number):
        return Browser(stack, f"198.51.100.{number}").sign_in("owner", f"wrong {number}")

    with Producer(stack):
        async with Control(stack) as control:
            await control.catches_up()
            with ThreadPoolExecutor(4) as threads:
                loop = asyncio.get_running_loop()
                tries = await asyncio.gather(*(loop.run_in_executor(threads, guess, number) for number in range(60)))
            assert not any(is_signed_in for is_signed_in, _ in tries)
            refused = [status for _, status in tries if status == 429]
            assert len(refused) >= 30
            # The right password is refused as well: a guess that succeeds must not be told.
            stranger = Browser(stack, "192.0.2.99")
            assert await asyncio.to_thread(stranger.sign_in, "owner", "the right one") == (False, 429)
            at_home = Browser(stack, "203.0.113.1")
            assert await asyncio.to_thread(at_home.sign_in, "owner", "the right one") == (True, 200)
            await control.assert_undisturbed()
            assert control.age(0.99) < 1.0
