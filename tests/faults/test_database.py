"""Another process locks the database: pages that write get 503 with words, others and viewers notice nothing."""

import asyncio
import contextlib
import http.cookiejar
import re
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.faults.conftest import fault_stack
from tests.support.control import Control, Producer
from tests.support.stack import wait_until

pytestmark = [pytest.mark.valkey, pytest.mark.faults]

LOCKED_SECONDS = 20.0
PASSWORD = "a-password-of-the-tests"
MAKE_USER = f"""
from django.contrib.auth.models import User
User.objects.create_superuser("anna", password={PASSWORD!r})
"""


class Page:
    """What a request got, and how long it took."""

    def __init__(self, opener, url, data=None, **headers):
        began = time.monotonic()
        try:
            answer = opener.open(urllib.request.Request(url, data, headers), timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.status, self.text = answer.status, answer.read().decode()
        self.seconds = time.monotonic() - began


@pytest.fixture
def stack(valkey_url, tmp_path_factory):
    own = fault_stack(tmp_path_factory.mktemp("locked"), valkey_url)
    own.make_database()
    own.manage("shell", "-v", "0", code=MAKE_USER)
    own.start()
    yield own
    own.stop()


@contextlib.contextmanager
def locked(stack):
    with contextlib.closing(sqlite3.connect(stack.folder / "db.sqlite3", timeout=10)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def sign_in(stack):
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    form = Page(opener, f"{stack.url}/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)[1]
    content = {"username": "anna", "password": PASSWORD, "csrfmiddlewaretoken": token}
    return Page(opener, f"{stack.url}/login/", urllib.parse.urlencode(content).encode(), Referer=stack.url)


def last_used(stack):
    with contextlib.closing(sqlite3.connect(stack.folder / "db.sqlite3", timeout=10)) as database:
        return database.execute("SELECT last_used_at FROM metrics_stream_accesstoken").fetchone()[0]


async def test_a_database_that_is_locked_for_twenty_seconds(stack):
    token = (await asyncio.to_thread(stack.manage, "create_token", "reader", "--scope", "subscribe")).strip()
    opener = urllib.request.build_opener()

    def read():
        return Page(opener, f"{stack.url}/runs/", Authorization=f"Bearer {token}")

    with Producer(stack):
        async with Control(stack) as control:
            await control.catches_up()
            with locked(stack):
                until = time.monotonic() + LOCKED_SECONDS
                page = await asyncio.to_thread(read)
                assert (page.status, page.seconds < 3) == (200, True), (page.status, page.seconds)
                signed_in = await asyncio.to_thread(sign_in, stack)
                assert signed_in.status == 503
                assert "The database does not answer at the moment" in signed_in.text
                await asyncio.sleep(max(0.0, until - time.monotonic()))
            page = await asyncio.to_thread(read)
            assert page.status == 200
            await asyncio.to_thread(wait_until, lambda: last_used(stack), 10)
            assert (await asyncio.to_thread(sign_in, stack)).status == 200
            await control.assert_undisturbed()
    log = stack.log.read_text()
    assert "Traceback" not in log, log
