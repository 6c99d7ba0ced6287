"""The order of dashboards and panels: people drag them (django-admin-sortable2), or type numbers without it."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import Max
from django.http import HttpRequest

CAN_DRAG = apps.is_installed("adminsortable2")

ORDER_FIELDS = [] if CAN_DRAG else ["order"]
"""What lists and forms show of the order."""

if CAN_DRAG:
    from adminsortable2.admin import SortableAdminMixin, SortableStackedInline

    SortedList, SortedInline = SortableAdminMixin, SortableStackedInline
else:
    SortedInline = admin.StackedInline

    class SortedList:  # type: ignore[no-redef]
        """Proposes the number after the last one for a new row."""

        def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
            initial: dict[str, Any] = super().get_changeform_initial_data(request)  # type: ignore[misc]
            return {"order": last_order(self.model) + 1, **initial}  # type: ignore[attr-defined]


def last_order(model: Any) -> int:
    """Return the highest number in the order of a model's rows."""
    return model._default_manager.aggregate(last=Max("order"))["last"] or 0
