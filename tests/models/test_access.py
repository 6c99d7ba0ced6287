"""Access tokens in the database."""

import re
import sqlite3
from contextlib import closing

import pytest
from django.db import connection

from metrics_stream.models import AccessToken

LIST = "/admin/metrics_stream/accesstoken/"
TOKEN = re.compile(r"mst_[0-9a-f]{8}_[0-9a-f]{64}")


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="others lock rows, not the database")
def test_a_database_that_is_locked_keeps_no_token_out(caplog):
    _, text = AccessToken.issue(name="k6", scopes=["publish"])
    token = AccessToken.find(text)
    with connection.cursor() as cursor, closing(sqlite3.connect(connection.settings_dict["NAME"])) as other:
        cursor.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        token.note_use()
        assert AccessToken.find(text).last_used_at is None
        assert "uses cannot be noted yet: database is locked" in caplog.text
        other.rollback()
        token.note_use()
        cursor.execute("PRAGMA busy_timeout = 10000")
    assert AccessToken.find(text).last_used_at is not None
