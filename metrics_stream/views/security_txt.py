"""`/.well-known/security.txt` (RFC 9116): whom people tell of a hole."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

# The standard recommends less than a year.
VALID_FOR = timedelta(days=180)


@require_safe
@cache_control(public=True, max_age=3_600)
def security_txt(request: HttpRequest) -> HttpResponse:
    """Return the contact of the setting SECURITY_CONTACT, 404 without one."""
    contacts = [contact for item in getattr(settings, "SECURITY_CONTACT", []) if (contact := item.strip())]
    if not contacts:
        raise Http404("SECURITY_CONTACT is not set.")
    lines = [f"Contact: {_address(contact)}" for contact in contacts]
    lines += [f"Expires: {timezone.now() + VALID_FOR:%Y-%m-%dT00:00:00Z}", "Preferred-Languages: en"]
    lines.append(f"Canonical: {request.build_absolute_uri(request.path)}")
    return HttpResponse("\n".join([*lines, ""]), content_type="text/plain; charset=utf-8")


def _address(contact: str) -> str:
    """Return a contact as an address, as the standard wants it."""
    return contact if ":" in contact else f"mailto:{contact}"
