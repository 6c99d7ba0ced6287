"""Sign-ins end on time, for pages and for open WebSockets; keys are rotated without signing anybody out."""

from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from metrics_stream.access import sessions
from metrics_stream.access.credentials import BrowserSession
from metrics_stream.access.grants import resolve
from metrics_stream.core.protocol.codes import CloseCode
from metrics_stream.models import AccessToken, Dashboard, ShareLink
from tests.support.access import PASSWORD, make_viewer, open_link, page_of, socket

pytestmark = pytest.mark.django_db(transaction=True)

OLD = "the-old-key-is-long-enough-not-to-be-refused-0123456789"
NEW = "the-new-key-is-long-enough-not-to-be-refused-9876543210"


@pytest.fixture(autouse=True)
def closed(settings):
    settings.ANONYMOUS_READ = False
    settings.METRICS_STREAM = {"SESSION_IDLE_MINUTES": 30, "SESSION_MAX_HOURS": 8, "RECHECK_SECONDS": 0.05}


@pytest.fixture
def clock(monkeypatch):
    """Return a function that moves the time of everything that asks Django for it."""
    now = [timezone.now()]
    monkeypatch.setattr(timezone, "now", lambda: now[0])

    def move(**ahead):
        now[0] += timedelta(**ahead)

    return move


def signed_in() -> Client:
    User.objects.create_user("ann", password=PASSWORD)
    return again()


def again() -> Client:
    browser = Client()
    assert browser.post("/login/", {"username": "ann", "password": PASSWORD}).status_code == 302
    return browser


def test_a_sign_in_that_is_used_goes_on_until_its_longest_time(clock):
    browser = signed_in()
    for _ in range(19):
        clock(minutes=25)
        assert browser.get("/").status_code == 200
    clock(minutes=25)
    answer = browser.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login/?next=/")


def test_a_sign_in_that_is_not_used_ends(clock):
    browser = signed_in()
    clock(minutes=31)
    assert browser.get("/").status_code == 302


def test_not_every_page_writes_the_session(django_assert_num_queries, clock):
    browser = signed_in()
    clock(seconds=30)
    with django_assert_num_queries(1):
        browser.get("/healthz")


async def test_an_open_socket_of_a_session_that_has_ended_is_closed_with_4005():
    _, browser = await make_viewer(metric_types=["all"])
    async with socket(*page_of(browser)) as client:
        assert (await client.hear())["type"] == "welcome"
        await Session.objects.aupdate(expire_date=timezone.now() - timedelta(seconds=1))
        assert (await client.hear())["code"] == "expired"
        assert await client.closed() == CloseCode.AUTHENTICATION_EXPIRED


def test_a_session_of_before_has_its_time_from_now_on(client, clock):
    client.force_login(User.objects.create_user("ann"))
    session = client.session
    del session[sessions._SIGNED_IN_AT]
    session.save()
    assert client.get("/").status_code == 200
    clock(hours=9)
    assert client.get("/").status_code == 302


def test_an_absurd_setting_is_no_error(settings):
    settings.METRICS_STREAM = {"SESSION_IDLE_MINUTES": 1e9, "SESSION_MAX_HOURS": 1e9, "TOKEN_MAX_DAYS": 1e9}
    assert signed_in().get("/").status_code == 200
    with pytest.raises(ValidationError):
        AccessToken.issue(name="new", scopes=["publish"])


# --- keys ---


def test_old_sessions_and_links_work_while_the_old_key_is_a_fallback_and_end_with_it(settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    browser, second = signed_in(), again()
    dashboard = Dashboard.objects.create(title="A", slug="a", published=True)
    _, address = ShareLink.issue(name="Lobby", dashboard=dashboard)

    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    # The look-up of a WebSocket leaves the session as it is: nobody could tell the browser a new key.
    assert resolve(BrowserSession(browser.cookies["sessionid"].value)).who == "ann"
    assert browser.get("/").status_code == 200
    assert open_link(Client(), address).headers["Location"] == "/dashboards/a/"

    settings.SECRET_KEY_FALLBACKS = []
    assert browser.get("/").status_code == 200  # it was signed anew
    assert second.get("/").status_code == 302
    assert open_link(Client(), address).headers["Location"] == "/share/"


# --- tokens and links ---


def test_a_token_or_link_that_would_last_too_long_is_refused_and_an_old_one_is_cut(settings):
    dashboard = Dashboard.objects.create(title="A", slug="a", published=True)
    token, text = AccessToken.issue(name="old", scopes=["publish"])
    link, _ = ShareLink.issue(name="old", dashboard=dashboard)
    settings.METRICS_STREAM = {"TOKEN_MAX_DAYS": 90, "SHARE_LINK_MAX_DAYS": 30}
    late = timezone.now() + timedelta(days=91)
    for expires_at in (None, late):
        with pytest.raises(ValidationError, match=r"is too late; allowed: until .*, 90 days after it is created"):
            AccessToken.issue(name="new", scopes=["publish"], expires_at=expires_at)
        with pytest.raises(ValidationError, match="30 days after it is created"):
            ShareLink.issue(name="new", dashboard=dashboard, expires_at=expires_at)
    with pytest.raises(CommandError, match=r"expires_at: .* is too late"):
        call_command("create_token", "new", "--scope", "publish", "--expires-in-days", "91")
    call_command("create_token", "new", "--scope", "publish")
    assert AccessToken.objects.get(name="new").expires_at < late

    for each in (token, link):
        assert each.is_valid
        type(each).objects.filter(pk=each.pk).update(created_at=timezone.now() - timedelta(days=100))
    link.refresh_from_db()
    assert (AccessToken.find(text).is_valid, link.is_valid) == (False, False)


def test_the_admin_says_what_is_too_long(settings, admin_client):
    settings.METRICS_STREAM = {"TOKEN_MAX_DAYS": 10}
    page = "/admin/metrics_stream/accesstoken/add/"
    initial = admin_client.get(page).context["adminform"].form.initial["expires_at"]
    assert initial - timezone.now() < timedelta(days=10)
    values = {"name": "k6", "scopes": ["publish"], "metric_types": ["all"]}
    assert "allowed: until" in admin_client.post(page, values).text


async def test_a_token_that_was_cut_cannot_publish(settings, async_client):
    token, text = await sync_to_async(AccessToken.issue)(name="old", scopes=["publish"], metric_types=["all"])
    await AccessToken.objects.filter(pk=token.pk).aupdate(created_at=timezone.now() - timedelta(days=100))
    settings.METRICS_STREAM = {"TOKEN_MAX_DAYS": 90}
    headers = {"Authorization": f"Bearer {text}"}
    answer = await async_client.post("/api/metrics/", "{}", "application/json", headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (401, "the token has expired")
