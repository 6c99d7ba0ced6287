"""`/.well-known/security.txt` as RFC 9116 describes it."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

pytestmark = pytest.mark.django_db
ADDRESS = "/.well-known/security.txt"


def test_it_names_the_contacts_and_when_it_expires(settings, client):
    settings.ANONYMOUS_READ = False
    settings.SECURITY_CONTACT = ["security@example.org", " https://example.org/report", ""]
    answer = client.get(ADDRESS)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    first, second, expires, languages, canonical = answer.text.splitlines()
    assert (first, second) == ("Contact: mailto:security@example.org", "Contact: https://example.org/report")
    at = datetime.fromisoformat(expires.removeprefix("Expires: "))
    assert timedelta(days=100) < at - timezone.now() < timedelta(days=365)
    assert (languages, canonical) == ("Preferred-Languages: en", f"Canonical: http://testserver{ADDRESS}")


def test_without_a_contact_there_is_none(settings, client):
    settings.SECURITY_CONTACT = []
    assert client.get(ADDRESS).status_code == 404
