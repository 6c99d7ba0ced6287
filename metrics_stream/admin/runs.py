"""The Django admin of test runs: adding one starts it, actions end it, deleting it deletes its recording.

A run that is added with a start and an end is that of a test that is over.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from metrics_stream.admin.base import StreamAdmin
from metrics_stream.admin.run_forms import RunPhaseFormSet, TestRunForm
from metrics_stream.core.errors import RunError
from metrics_stream.core.formatting import NO_VALUE, format_duration
from metrics_stream.models import RunPhase, TestRun
from metrics_stream.runs import lifecycle as runs
from metrics_stream.runs.clock import database_now

if TYPE_CHECKING:
    TabularInline = admin.TabularInline[RunPhase, TestRun]
else:
    TabularInline = admin.TabularInline

# After this time without a metric the list says so: a run that people forget to end stays active.
QUIET_AFTER = timedelta(minutes=2)


class RunPhaseInline(TabularInline):
    """The phases of a run; who may change the run may change them."""

    model = RunPhase
    formset = RunPhaseFormSet
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("metrics_stream.view_testrun") or self._may_change(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may_change(request) or request.user.has_perm("metrics_stream.add_testrun")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may_change(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may_change(request)

    def _may_change(self, request: HttpRequest) -> bool:
        return request.user.has_perm("metrics_stream.change_testrun")


@admin.register(TestRun)
class TestRunAdmin(StreamAdmin):
    form = TestRunForm
    inlines = [RunPhaseInline]
    list_display = ["name", "test", "state", "started_at", "duration", "recorded", "missing", "tag_list"]
    list_filter = ["status", "started_at"]
    search_fields = ["name", "slug", "test", "tags", "parameters", "notes"]
    actions = ["complete", "cancel", "pause", "resume"]
    readonly_fields = [
        "slug",
        "state",
        "started_by",
        "started_at",
        "ended_at",
        "duration",
        "source_list",
        "recorded",
        "missing",
    ]

    def get_fieldsets(self, request: HttpRequest, obj: TestRun | None = None) -> Any:
        if obj is None:
            text = "The run starts when you save. Metrics that are published from then on belong to it."
            fields = ["name", "test", "sources", ("target_tps", "tags"), "parameters", "notes"]
            past = "Fill in both for a test that is over: its results are recorded afterwards, with their own times."
            return [
                (None, {"description": text, "fields": fields}),
                ("Start and end", {"description": past, "fields": [("started_at", "ended_at")]}),
            ]
        facts = ["slug", "state", ("started_at", "ended_at", "duration"), "started_by", "source_list"]
        facts += [("recorded", "missing")]
        return [
            (None, {"fields": ["name", "test", ("target_tps", "tags"), "parameters", "notes"]}),
            ("State and recording", {"fields": facts}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: TestRun | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is not None else [name for name in fields if name not in ("started_at", "ended_at")]

    def save_model(self, request: HttpRequest, obj: TestRun, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        names = ("sources", "target_tps", "tags", "notes", "parameters", "started_at", "ended_at")
        values = {name: getattr(obj, name) for name in names}
        started = runs.start(obj.name, test=obj.test or None, **values)
        obj.pk = started.pk
        obj.refresh_from_db()

    # --- deleting ---

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        deleted, counts, needed, protected = super().get_deleted_objects(objs, request)
        recorded = sum(run.metrics_recorded for run in objs)
        return deleted, {**counts, "recorded metrics": f"{recorded:,}"}, needed, protected

    def delete_model(self, request: HttpRequest, obj: TestRun) -> None:
        super().delete_model(request, obj)
        transaction.on_commit(runs.tell_history)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[TestRun]) -> None:
        super().delete_queryset(request, queryset)
        transaction.on_commit(runs.tell_history)

    # --- columns ---

    @admin.display(description="status", ordering="status")
    def state(self, run: TestRun) -> str:
        silence = database_now() - (run.last_at or run.started_at or run.created_at)
        if run.status == runs.Status.RUNNING and silence > QUIET_AFTER:
            return f"Running, nothing new for {silence // timedelta(minutes=1):,} min"
        return run.get_status_display()

    @admin.display(description="duration")
    def duration(self, run: TestRun) -> str:
        if run.started_at is None:
            return NO_VALUE
        return format_duration(((run.ended_at or database_now()) - run.started_at).total_seconds())

    @admin.display(description="metrics", ordering="metrics_recorded")
    def recorded(self, run: TestRun) -> str:
        is_late = run.status in runs.ENDED and run.recording_ended_at is None
        return f"{run.metrics_recorded:,}{', more follow' if is_late else ''}"

    @admin.display(description="lost")
    def missing(self, run: TestRun) -> str:
        if not run.lost:
            return NO_VALUE
        known = sum(hole.get("count") or 0 for hole in run.lost)
        least = "at least " if any(hole.get("count") is None for hole in run.lost) else ""
        return f"{least}{known:,}" if known else "an unknown number"

    @admin.display(description="sources")
    def source_list(self, run: TestRun) -> str:
        return ", ".join(map(str, run.sources)) or "every source"

    @admin.display(description="tags")
    def tag_list(self, run: TestRun) -> str:
        return ", ".join(map(str, run.tags)) or NO_VALUE

    # --- actions ---

    @admin.action(description="End selected runs as completed", permissions=["change"])
    def complete(self, request: HttpRequest, queryset: QuerySet[TestRun]) -> None:
        self._each(request, queryset, runs.stop, "Ended")

    @admin.action(description="Cancel selected runs", permissions=["change"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[TestRun]) -> None:
        self._each(request, queryset, runs.cancel, "Cancelled")

    @admin.action(description="Pause selected runs", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[TestRun]) -> None:
        self._each(request, queryset, runs.pause, "Paused")

    @admin.action(description="Resume selected runs", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[TestRun]) -> None:
        self._each(request, queryset, runs.resume, "Resumed")

    def _each(
        self, request: HttpRequest, queryset: QuerySet[TestRun], change: Callable[[TestRun], TestRun], verb: str
    ) -> None:
        changed = []
        for run in queryset:
            try:
                changed.append(change(run))
            except RunError as error:
                self.message_user(request, f"{str(error)[:1].upper()}{str(error)[1:]}.", messages.WARNING)
        if changed:
            self.message_user(request, f"{verb} {', '.join(map(str, changed))}.", messages.SUCCESS)
