"""/readyz and /metrics as a load balancer and a Prometheus server see them."""

import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from unittest.mock import ANY

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import AsyncClient, TransactionTestCase, override_settings
from django.utils import timezone

from metrics_stream.broadcast import broadcast
from metrics_stream.bus.bus import declare_server
from metrics_stream.models import RecorderState, TestRun
from metrics_stream.observation.faults import FaultKind, of_process
from metrics_stream.runs import lifecycle as runs
from metrics_stream.runtime.runtime import get_runtime, stop_runtime
from metrics_stream.views import status
from tests.support.exposition import values_of
from tests.support.inbox import Inbox

OK = dict.fromkeys(
    ("channel layer", "latency", "clients", "database", "recorder", "clocks", "sources", "installation"), "ok"
)


def not_ready(**checks):
    checks = {**OK, **checks}
    rest = {"faults": ANY, "recorder_lag_seconds": None, "clock_skew_seconds": {}}
    return 503, {"ready": False, "checks": checks, **rest}


class ReadinessTests(TransactionTestCase):
    """Its database is asked from another thread, so a transaction around the test would hide it."""

    async def ready(self):
        response = await AsyncClient().get("/readyz")
        assert "no-store" in response.headers["Cache-Control"]
        return response.status_code, response.json()

    async def opened(self):
        declare_server()
        runtime = get_runtime()
        await runtime.membership.wait_joined(())
        return runtime

    async def test_a_process_that_can_do_everything_is_ready(self):
        await self.opened()
        assert await self.ready() == (
            200,
            {"ready": True, "checks": OK, "faults": [], "recorder_lag_seconds": None, "clock_skew_seconds": {}},
        )
        await stop_runtime()

    async def test_a_run_that_is_recorded_too_late_is_told(self):
        runtime = await self.opened()
        run = await sync_to_async(runs.start)("soak")
        status, answer = await self.ready()
        assert (status, answer["checks"]) == (200, OK)
        assert 0 <= answer["recorder_lag_seconds"] < 5
        await TestRun.objects.aupdate(started_at=timezone.now() - timedelta(seconds=40))
        status, answer = await self.ready()
        assert (status, answer["checks"]["recorder"]) == (503, "test runs are recorded 40 s behind")

        # Once the recording has begun, what counts is how long the first metric behind its place has been waiting.
        place = await runtime.history.heads(["system"])
        await RecorderState.objects.acreate(pk=1, position={"epoch": place.epoch, "offsets": place.offsets})
        assert (await self.ready())[1]["recorder_lag_seconds"] == 0
        await broadcast("system", {"n": 1})
        status, answer = await self.ready()
        assert 0 <= answer["recorder_lag_seconds"] < 5
        await sync_to_async(runs.stop)(run)
        assert (await self.ready())[1]["recorder_lag_seconds"] is not None, "it has still to reach its end"
        await TestRun.objects.aupdate(recording_ended_at=timezone.now())
        assert (await self.ready())[1]["recorder_lag_seconds"] is None
        await stop_runtime()

    async def test_a_wrong_clock_and_another_installation_are_told_but_keep_no_process_from_its_work(self):
        runtime = await self.opened()
        runtime.clocks.skew_seconds["database"] = 300.04
        of_process.begin(FaultKind.CLOCK, "the clock is wrong")
        of_process.begin(FaultKind.INSTALLATION, "there is another one")
        status, answer = await self.ready()
        assert (status, answer["ready"]) == (200, True)
        assert answer["checks"] == {**OK, "clocks": "the clock is wrong", "installation": "there is another one"}
        assert answer["clock_skew_seconds"] == {"database": 300.04}
        text = (await AsyncClient().get("/metrics")).text
        assert 'metrics_stream_clock_skew_seconds{clock="database"} 300.04' in text
        assert 'metrics_stream_faults{fault="installation"} 1.0' in text
        await stop_runtime()

    async def test_a_silent_channel_layer_is_named(self):
        runtime = await self.opened()
        runtime.bus_watch.judge(time.monotonic() + 60)
        problem = "the channel layer has been silent for more than 4 s"
        assert await self.ready() == not_ready(**{"channel layer": problem})
        await stop_runtime()

    @override_settings(METRICS_STREAM={"MAX_CLIENTS": 1})
    async def test_a_full_process_is_not_ready_for_more(self):
        runtime = await self.opened()
        runtime.hub.add("one", Inbox(), connected_at=0.0)
        assert await self.ready() == not_ready(clients="1 of 1 are connected")
        await stop_runtime()

    async def test_missing_migrations_are_counted(self):
        await self.opened()
        rows = MigrationRecorder.Migration.objects.filter(app="metrics_stream")
        applied = [row async for row in rows]
        await rows.adelete()
        try:
            status, answer = await self.ready()
        finally:  # no test case of Django's restores this table
            await MigrationRecorder.Migration.objects.abulk_create(applied)
        assert status == 503
        assert answer["checks"]["database"].endswith("migrations are not applied; run manage.py migrate")
        await stop_runtime()

    async def test_metrics_are_those_of_this_process(self):
        runtime = await self.opened()
        runtime.hub.add("one", Inbox(), connected_at=0.0)
        response = await AsyncClient().get("/metrics")
        values = values_of(response.content)
        assert (values["workers{}"], values["bus_live{}"]) == (1, 1)
        assert values["clients{}"] >= 1
        assert values["cpu_seconds_total{}"] > 0
        assert values["resident_memory_bytes{}"] > 10_000_000
        await stop_runtime()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="others lock rows, not the database")
def test_a_database_is_away_until_it_can_be_written_to_again():
    with connection.cursor() as cursor, closing(sqlite3.connect(connection.settings_dict["NAME"])) as other:
        other.execute("BEGIN IMMEDIATE")
        assert status._ask_database() == 0, "it still answers what only reads"
        with pytest.raises(OperationalError, match="database is locked"):
            status._ask_again()
        other.rollback()
        assert status._ask_again() == 0
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone() == (10_000,), "other statements wait as before"


async def test_a_database_that_hangs_is_told_in_time(monkeypatch):
    monkeypatch.setattr(status, "DATABASE_SECONDS", 0.05)
    monkeypatch.setattr(status, "_missing_migrations", lambda: time.sleep(0.3))
    assert await status._database_problem(status._missing_migrations) == "the database took more than 0.05 s to answer"


async def test_a_database_that_is_away_is_told(monkeypatch):
    def refuse():
        raise OperationalError("unable to open database file")

    monkeypatch.setattr(status, "_missing_migrations", refuse)
    assert "unable to open" in await status._database_problem(status._missing_migrations)
