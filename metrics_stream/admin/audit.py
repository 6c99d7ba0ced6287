"""The audit log in the Django admin: staff with the permission search it, and nobody changes it."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from metrics_stream.admin.base import ReadOnly
from metrics_stream.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # Django's own class takes no argument at run time
    list_display = ["last_at", "action", "who", "what", "address", "result", "times"]
    list_filter = ["action", "result", "last_at"]
    search_fields = ["who", "what", "address"]
    list_per_page = 100
    # Counting all rows of a long log takes longer than showing a page of it.
    show_full_result_count = False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> AuditEntry | None:
        # As in the base class of the other admins.
        return super().get_object(request, object_id, from_field or None)
