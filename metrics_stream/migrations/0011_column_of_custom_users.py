from typing import Any

from django.db import migrations

from metrics_stream.models.changes import changes_are_recorded, user_field_name

TABLE = "metrics_stream_historicalaccesspolicy_users"


def rename_column(apps: Any, schema_editor: Any) -> None:
    """Rename the column of the user: 0004 once called it `user_id`, whatever the user model is called."""
    del apps
    old, new = "user_id", f"{user_field_name()}_id"
    connection = schema_editor.connection
    if old == new or not changes_are_recorded():
        return
    with connection.cursor() as cursor:
        columns = {column.name for column in connection.introspection.get_table_description(cursor, TABLE)}
    if old in columns and new not in columns:
        quote = schema_editor.quote_name
        schema_editor.execute(
            schema_editor.sql_rename_column
            % {"table": quote(TABLE), "old_column": quote(old), "new_column": quote(new), "type": ""}
        )


class Migration(migrations.Migration):

    dependencies = [
        ("metrics_stream", "0010_installation"),
    ]

    operations = [migrations.RunPython(rename_column, migrations.RunPython.noop)]
