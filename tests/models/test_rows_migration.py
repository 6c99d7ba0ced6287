"""Series that were recorded before rows had keys of their own."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from metrics_stream.models import SeriesGroup, TierChunk

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE, AFTER = [("metrics_stream", "0016_presets_of_the_original")], [("metrics_stream", "0017_keys_of_rows")]


def test_agents_become_rows_and_back():
    executor = MigrationExecutor(connection)
    newest = executor.loader.graph.leaf_nodes()
    executor.migrate(BEFORE)
    try:
        old = executor.loader.project_state(BEFORE).apps
        run = old.get_model("metrics_stream", "TestRun").objects.create(slug="a", name="a", started_at=timezone.now())
        groups = old.get_model("metrics_stream", "SeriesGroup").objects
        for agent_id in ("", "a1", "a=2"):
            groups.create(run=run, metric_type="agent", source="s", agent_id=agent_id, fields=["n"])
        MigrationExecutor(connection).migrate(AFTER)
        found = list(SeriesGroup.objects.values_list("row", flat=True))
        row = SeriesGroup.objects.create(run_id=run.pk, metric_type="request", source="s", row="name=/\x1fmethod=GET")
        TierChunk.objects.create(run_id=run.pk, group=row, bucket_seconds=1, starts_at=0, payload=b"")
        MigrationExecutor(connection).migrate(BEFORE)
        back = sorted(groups.values_list("agent_id", flat=True))
    finally:
        MigrationExecutor(connection).migrate(newest)
    assert found == ["", "agent_id=a1", "agent_id=a=2"]
    assert back == ["", "a1", "a=2"]
