"""The history of changes (django-simple-history), which a host may leave out: its tables exist only with the app.

Without `simple_history` in INSTALLED_APPS, models record no change, and migrations skip the operations on the tables of
the history. A later `migrate` with the app adds what those tables lack.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db import connections, models
from django.db.migrations.operations.base import Operation

# Models of the history are called so, and nothing else is.
_HISTORICAL = "historical"


def changes_are_recorded() -> bool:
    """Return whether the app of the history is installed."""
    return any(entry.partition(".")[0] == "simple_history" for entry in settings.INSTALLED_APPS)


def record_changes(**options: Any) -> Any:
    """Return the attribute `history` of a model; None without the app. Options are those of HistoricalRecords."""
    if not changes_are_recorded():
        return None
    from simple_history.models import HistoricalRecords

    class ChangeRecords(HistoricalRecords):  # type: ignore[misc]  # the library is untyped
        # The same columns in every installation, whatever SIMPLE_HISTORY_… says: the migrations create them.
        _date_indexing = True

        def _get_history_id_field(self) -> models.AutoField[Any, Any]:
            return models.AutoField(primary_key=True)

    return ChangeRecords(history_change_reason_field=models.CharField(max_length=100, null=True), **options)


# --- for migrations ---


def historical_bases() -> tuple[type, ...]:
    """Return the base classes of a model of the history."""
    if not changes_are_recorded():
        return (models.Model,)
    from simple_history.models import HistoricalChanges

    return (HistoricalChanges, models.Model)


def installed_only(operations: Iterable[Operation]) -> list[Operation]:
    """Return the operations, without those on tables of a history that is not installed."""
    recorded = changes_are_recorded()
    return [operation for operation in operations if recorded or not _is_historical(operation)]


def _is_historical(operation: Operation) -> bool:
    # Operations on fields have both names.
    name = getattr(operation, "model_name", "") or getattr(operation, "name", "")
    return str(name).lower().startswith(_HISTORICAL)


def user_field_name() -> str:
    """Return the name that Django gives to the field of the user in a table of many users: that of their model."""
    return settings.AUTH_USER_MODEL.rpartition(".")[2].lower()


def complete_history(*, using: str, apps: Any = None, **_: Any) -> None:
    """Add tables and columns of the history that the database lacks, since it was migrated without `simple_history`.

    A receiver of `post_migrate`; `apps` is the state that the migrations have reached.
    """
    if apps is None or not changes_are_recorded():
        return
    connection = connections[using]
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
    for model in apps.get_models():
        if model._meta.app_label != "metrics_stream" or not model._meta.model_name.startswith(_HISTORICAL):
            continue
        table = model._meta.db_table
        with connection.schema_editor() as editor:
            if table not in tables:
                editor.create_model(model)
                continue
        with connection.cursor() as cursor:
            columns = {column.name for column in connection.introspection.get_table_description(cursor, table)}
        with connection.schema_editor() as editor:
            for field in model._meta.local_concrete_fields:
                if field.column not in columns:
                    editor.add_field(model, field)
