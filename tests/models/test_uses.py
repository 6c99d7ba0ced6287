"""The uses of tokens and links are written in the background, the newest of each."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError

from metrics_stream.models import AccessToken
from metrics_stream.models.uses import Uses

pytestmark = pytest.mark.django_db

AT = datetime(2027, 1, 15, 8, tzinfo=UTC)


@pytest.fixture
def works():
    """The functions that were started in the background; the test runs them."""
    return []


@pytest.fixture
def uses(works):
    return Uses(works.append)


@pytest.fixture
def token():
    return AccessToken.issue(name="k6", scopes=["publish"])[0]


def last_used(token):
    return AccessToken.objects.get(pk=token.pk).last_used_at


def test_noting_a_use_writes_nothing_itself(uses, works, token, django_assert_num_queries):
    with django_assert_num_queries(0):
        uses.note((AccessToken, token.pk), AT)
        uses.note((AccessToken, token.pk), AT + timedelta(minutes=2))
    assert last_used(token) is None
    [work] = works
    work()
    assert last_used(token) == AT + timedelta(minutes=2)


def test_what_could_not_be_written_is_written_with_the_next_use(uses, works, token, monkeypatch, caplog):
    other, _ = AccessToken.issue(name="locust", scopes=["publish"])

    def fail(**_):
        raise OperationalError("database is locked")

    uses.note((AccessToken, token.pk), AT)
    with monkeypatch.context() as broken:
        broken.setattr(AccessToken._default_manager, "filter", fail)
        works.pop()()
    assert "uses cannot be noted yet: database is locked" in caplog.text
    uses.note((AccessToken, other.pk), AT)
    works.pop()()
    assert (last_used(token), last_used(other)) == (AT, AT)


def test_a_use_during_the_write_is_written_by_the_same_thread(uses, works, token):
    uses.note((AccessToken, token.pk), AT)
    [work] = works
    take, later = uses._pending, AT + timedelta(minutes=5)
    assert list(take) == [(AccessToken, token.pk)]
    uses.note((AccessToken, token.pk), later)
    work()
    assert works == [work]
    assert last_used(token) == later


def test_a_token_that_was_used_a_moment_ago_is_not_written_again(token, monkeypatch):
    noted = []
    monkeypatch.setattr("metrics_stream.models.uses.of_process", Uses(noted.append))
    for _ in range(2):
        token.note_use()
    assert len(noted) == 1
    noted[0]()
    token.refresh_from_db()
    token.note_use()
    assert len(noted) == 1
