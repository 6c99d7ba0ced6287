"""The base classes of the admin of all models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import ModelMultipleChoiceField, Script
from django.http import Http404, HttpRequest, HttpResponse

from metrics_stream.access.grants import Access, access_of_user
from metrics_stream.conf import get_settings
from metrics_stream.models import ShareLink
from metrics_stream.models.changes import changes_are_recorded
from metrics_stream.models.panel_kinds import PANEL_KINDS

if changes_are_recorded():
    from simple_history.admin import SimpleHistoryAdmin as ChangesAdmin
else:
    ChangesAdmin = admin.ModelAdmin


def access_of_editor(request: HttpRequest) -> Access:
    """Return the access of who uses the admin, which only a session opens: headers with tokens are for other pages."""
    return access_of_user(cast(AbstractBaseUser, request.user))


class ReadOnly:
    """Part of an admin in which nobody adds, changes or deletes anything."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class KeysField(ModelMultipleChoiceField):  # type: ignore[type-arg]  # it takes none at run time
    """Objects chosen by their keys; a number that no column can hold is an invalid choice, as is any unknown key."""

    def _check_values(self, value: Any) -> Any:
        try:
            return super()._check_values(value)  # type: ignore[misc]  # the stubs lack it
        except OverflowError as error:
            chosen = {"value": ", ".join(map(str, value))[:100]}
            raise ValidationError(
                self.error_messages["invalid_choice"], code="invalid_choice", params=chosen
            ) from error


class StreamAdmin(ChangesAdmin):  # type: ignore[misc]  # the library is untyped
    """An admin with a history of changes where it is installed, and with the data for the scripts of forms."""

    save_on_top = True
    history_list_per_page = 50
    object_history_list_template = "admin/metrics_stream/_history_list.html"

    class Media:
        css = {"all": ["metrics_stream/admin/editor.css"]}
        js = [Script("metrics_stream/admin/editor.js", type="module")]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return super().formfield_for_manytomany(db_field, request, **{"form_class": KeysField, **kwargs})

    def response_action(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        try:
            response: HttpResponse | None = super().response_action(request, queryset)
        except OverflowError:  # a selected key is a number that no column can hold
            self.message_user(request, "Nothing was changed: what was selected does not exist.", messages.WARNING)
            return None
        return response

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        context["catalogue"] = get_settings().catalogue().describe()
        context["panel_kinds"] = {
            kind.slug: {"options": kind.options, "shows_metrics": kind.shows_metrics} for kind in PANEL_KINDS.values()
        }
        if kwargs.get("obj") is not None:
            context["share_links"] = self.share_links_of(kwargs["obj"])
            context["may_see_links"] = request.user.has_perm("metrics_stream.view_sharelink")
        response: HttpResponse = super().render_change_form(request, context, **kwargs)
        return response

    def share_links_of(self, obj: Any) -> list[ShareLink]:
        """Return the links that can be opened and show the object, of which the form tells the editor."""
        return []

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        # Django looks for a column without a name when the address ends in `?_to_field=`.
        return super().get_object(request, object_id, from_field or None)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return _or_404(super().history_view, request, object_id, extra_context)

    def history_form_view(
        self, request: HttpRequest, object_id: str, version_id: str, extra_context: Any = None
    ) -> HttpResponse:
        return _or_404(super().history_form_view, request, object_id, version_id, extra_context)


class AuditedAdmin(StreamAdmin):
    """An admin with a read-only history: restoring an old version could restore a grant that was withdrawn."""

    def revert_disabled(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def history_form_view(
        self, request: HttpRequest, object_id: str, version_id: str, extra_context: Any = None
    ) -> HttpResponse:
        # The library hides the button, but accepts its request all the same.
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        return super().history_form_view(request, object_id, version_id, extra_context)


def _or_404(view: Callable[..., HttpResponse], request: HttpRequest, *args: Any) -> HttpResponse:
    """Call a view of simple_history, which takes ids from the address without checking that they are numbers."""
    try:
        return view(request, *args)
    except (ValueError, OverflowError) as error:
        raise Http404("There is no such version.") from error
