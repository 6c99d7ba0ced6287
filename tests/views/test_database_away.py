"""While the database is locked or away, pages and programs get 503 with words."""

import json
import sqlite3
from contextlib import closing

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import clear_script_prefix, set_script_prefix

from metrics_stream.models import AccessToken, ShareLink
from metrics_stream.observation.faults import FaultKind, of_process
from metrics_stream.views import runs
from metrics_stream.views.database_away import SessionMiddleware, answer_away

PASSWORD = "a-password-of-the-tests"


def assert_words(answer):
    headers = answer.headers
    assert (answer.status_code, headers["Retry-After"], headers["Cache-Control"]) == (503, "5", "no-store")
    if answer.headers["Content-Type"] == "application/json":
        assert json.loads(answer.content) == {
            "error": "unavailable",
            "message": "the database is busy or cannot be reached; nothing was changed. Try again in 5 s",
        }
    else:
        assert "The database does not answer at the moment" in answer.text
        assert "nothing was changed. Try again in a few seconds" in answer.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="others lock rows, not the database")
@pytest.mark.parametrize("page", ["/login/", "/admin/login/"])
def test_signing_in_while_another_process_locks_the_database(page, caplog):
    User.objects.create_superuser("anna", password=PASSWORD)
    client = Client()
    with connection.cursor() as cursor, closing(sqlite3.connect(connection.settings_dict["NAME"])) as other:
        cursor.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        try:
            for password in (PASSWORD, "wrong"):
                assert_words(client.post(page, {"username": "anna", "password": password}))
        finally:
            other.rollback()
            cursor.execute("PRAGMA busy_timeout = 10000")
    [fault] = of_process.current()
    assert (fault.kind, fault.message) == (FaultKind.DATABASE, "the database does not answer: database is locked")
    assert fault.costs == {"requests refused": 2}
    assert caplog.text.count("fault database begins") == 1
    assert "Traceback" not in caplog.text
    assert client.post(page, {"username": "anna", "password": PASSWORD}).status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_a_session_that_cannot_be_saved_after_the_view(monkeypatch, kind):
    def fail(*_, **__):
        raise kind("connection already closed")

    def change(request):
        request.session["shares"] = [1]
        return HttpResponse("changed")

    monkeypatch.setattr(SessionStore, "save", fail)
    answer = SessionMiddleware(change)(RequestFactory().get("/share/x/"))
    assert_words(answer)
    assert not answer.cookies


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ({"Accept": "text/html,*/*;q=0.8"}, "text/html; charset=utf-8"),
        ({}, "text/html; charset=utf-8"),
        ({"Accept": "application/json"}, "application/json"),
        ({"Authorization": "Bearer mst_x"}, "application/json"),
    ],
)
def test_a_page_and_a_program_get_it_in_their_form(monkeypatch, headers, content_type):
    def fail(*_, **__):
        raise OperationalError("server closed the connection unexpectedly\n\tThis probably means")

    monkeypatch.setattr(AccessToken, "find", fail)
    monkeypatch.setattr(runs, "search", fail)
    answer = Client().get("/runs/", headers=headers)
    assert_words(answer)
    assert answer.headers["Content-Type"] == content_type
    assert "server closed" not in answer.text


@pytest.mark.django_db
def test_a_share_link_that_cannot_be_looked_up(monkeypatch):
    def fail(*_):
        raise OperationalError("database is locked")

    monkeypatch.setattr(ShareLink, "find", fail)
    assert_words(Client().get("/share/x/"))


@pytest.mark.django_db(transaction=True)
async def test_an_asynchronous_view(monkeypatch):
    def fail(*_):
        raise OperationalError("database is locked")

    monkeypatch.setattr(SessionStore, "load", fail)
    monkeypatch.setattr(SessionStore, "aload", fail)
    client = AsyncClient()
    client.cookies["sessionid"] = "x" * 32
    answer = await client.get("/api/stats/")
    assert_words(answer)
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.django_db
def test_a_wrong_query_is_still_an_error_of_the_server(monkeypatch):
    def fail(*_, **__):
        raise ValueError("no fault of the database")

    monkeypatch.setattr(runs, "search", fail)
    assert Client(raise_request_exception=False).get("/runs/").status_code == 500


@pytest.mark.parametrize("prefix", ["/", "/load/"])
def test_the_page_leads_back_to_the_dashboards_wherever_the_site_is(prefix):
    set_script_prefix(prefix)
    try:
        answer = answer_away(RequestFactory().get("/runs/"), OperationalError("database is locked"))
    finally:
        clear_script_prefix()
    assert_words(answer)
    assert f'href="{prefix}">Back to the dashboards' in answer.text
