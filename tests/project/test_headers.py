"""The security headers of every response, and that our templates need no exception from them."""

import re

import pytest
from django.test import Client

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


def check_all(headers) -> None:
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
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
