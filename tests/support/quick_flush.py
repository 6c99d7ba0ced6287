"""Empty the tables after a test that committed, quicker than Django's `flush`.

`flush` truncates every table and then makes all permissions and content types anew, which takes longer than most tests.
Here their rows stay, which no test changes, and the rows of the other tables are deleted: in a test database, few.
"""

from functools import cache
from typing import Any

from django.db import connections, transaction
from django.test import TransactionTestCase

KEPT = {"django_migrations", "django_content_type", "auth_permission"}


@cache
def _tables(alias: str) -> list[str]:
    names = connections[alias].introspection.django_table_names(only_existing=True, include_views=False)
    return sorted(set(names) - KEPT)


def _empty(case: Any) -> None:
    for alias in case._databases_names(include_mirrors=False):
        connection = connections[alias]
        tables = _tables(alias)
        # In one transaction: a row may go before those that refer to it.
        with transaction.atomic(using=alias), connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


def empty_quickly() -> None:
    """Let all tests with `transaction=True` be followed by this."""
    TransactionTestCase._fixture_teardown = _empty
