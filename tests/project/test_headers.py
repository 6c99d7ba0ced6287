"""The security headers of every response, and that our templates need no exception from them."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLResolver, get_resolver

from metrics_stream.runtime import runtime
from tests.support.stack import ROOT

pytestmark = pytest.mark.django_db

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "font-src 'self'",
    "connect-src 'self'",
    "manifest-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
}

# An example of each kind of response: pages, redirects, errors, JSON, plain text.
ADDRESSES = {
    "/": 200,
    "/console/": 200,
    "/runs/": 200,
    "/login/": 200,
    "/logout/": 405,
    "/admin/": 302,
    "/admin/login/": 200,
    "/favicon.ico": 302,
    "/healthz": 200,
    "/metrics": 200,
    "/api/stats/": 403,
    "/runs/nowhere/": 404,
    "/nowhere/": 404,
}


def check(headers) -> None:
    assert set(headers["Content-Security-Policy"].split("; ")) == POLICY
    assert headers["X-Frame-Options"] == "DENY"


def check_all(headers, referrer: str = "same-origin") -> None:
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == referrer
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert {"camera=()", "microphone=()", "geolocation=()", "fullscreen=(self)"} <= set(
        headers["Permissions-Policy"].split(", ")
    )


@pytest.mark.parametrize(("address", "status"), ADDRESSES.items())
def test_every_response_has_the_strict_headers(client, address, status):
    answer = client.get(address)
    assert answer.status_code == status
    check(answer.headers)
    check_all(answer.headers)
    assert "Strict-Transport-Security" not in answer.headers


VALUES = {"slug": "nothing", "text": "nothing", "content_type_id": 1, "object_id": 1, "app_label": "auth", "path": "x"}


def every_address(resolver=None, before="/"):
    """Yield an address of each URL of the site, with values for its parts; an id stands for what does not exist."""
    for entry in (resolver or get_resolver()).url_patterns:
        route = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from every_address(entry, route)
        else:
            plain = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(VALUES.get(found[1], 1)), route)
            yield (
                re.sub(r"\(\?P<\w+>\w+(?:\|\w+)*\)", "auth", plain).replace("$", "").replace("^", "").replace("\\Z", "")
            )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", ["anybody", "admin"])
def test_every_address_has_the_strict_headers(who, client, admin_client):
    browser = admin_client if who == "admin" else client
    addresses = sorted(set(every_address()))
    assert {"/", "/api/metrics/", "/admin/metrics_stream/auditentry/", "/.well-known/security.txt"} <= set(addresses)
    for address in addresses:
        for method in ("get", "post"):
            answer = getattr(browser, method)(address)
            # Only a server that speaks ASGI sends events: 501, not implemented.
            assert answer.status_code < 500 or (answer.status_code, address) == (501, "/api/v1/stream/"), method
            check(answer.headers)
            check_all(
                answer.headers,
                referrer="no-referrer"
                if address.startswith("/share/") and answer.status_code != 405
                else "same-origin",
            )
            for name, cookie in answer.cookies.items():
                assert cookie["httponly"] or not cookie.value, (address, name)
                assert cookie["samesite"] == "Lax", (address, name)
        if address.startswith("/admin/") and "logout" in address:
            browser.force_login(User.objects.get_or_create(username="again", is_staff=True, is_superuser=True)[0])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("address", "status"), [("/login/", 200), ("/metrics", 200), ("/nowhere/", 404)])
async def test_they_are_the_same_under_asgi(async_client, address, status):
    answer = await async_client.get(address)
    assert answer.status_code == status
    check(answer.headers)
    check_all(answer.headers)


def test_static_files_have_those_that_concern_them(client):
    answer = client.get("/static/metrics_stream/css/base.css")
    assert answer.status_code == 200
    check_all(answer.headers)
    answer.close()


def test_a_page_that_could_not_be_built_has_them_too(client, monkeypatch):
    client.raise_request_exception = False
    monkeypatch.setattr(runtime, "samples", lambda: 1 / 0)
    answer = client.get("/metrics")
    assert answer.status_code == 500
    check(answer.headers)
    check_all(answer.headers)


def test_a_form_that_is_refused_is_answered_in_the_look_of_the_site():
    answer = Client(enforce_csrf_checks=True).post("/login/", {"username": "a", "password": "b"})
    assert answer.status_code == 403
    assert "The form was not accepted" in answer.text
    check(answer.headers)


def test_over_https_browsers_are_told_to_insist_and_cookies_go_over_https_alone(client, settings):
    settings.SECURE_SSL_REDIRECT = settings.CSRF_COOKIE_SECURE = True
    settings.SECURE_HSTS_SECONDS = 31_536_000
    assert client.get("/login/").headers["Location"] == "https://testserver/login/"
    assert client.get("/healthz").status_code == 200
    answer = client.get("/login/", secure=True)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    cookie = answer.cookies["csrftoken"]
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")


def test_no_template_holds_a_script_a_style_or_a_handler():
    templates = sorted(
        path for folder in ("templates", "project/templates") for path in (ROOT / folder).rglob("*.html")
    )
    assert len(templates) > 30
    inline = re.compile(
        r"\sstyle\s*=|<style|\son[a-z]+\s*=\s*[\"']|<script(?![^>]*\bsrc=)[^>]*>|javascript:|\|safe\b|autoescape off"
    )
    for template in templates:
        found = inline.search(template.read_text())
        assert not found, f"{template.relative_to(ROOT)}: {found[0] if found else ''}"
