"""Test runs are started, changed and ended in code, by a Broadcaster, by commands and in the admin."""

import asyncio
import io
import math
import re

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from metrics_stream.broadcast import Broadcaster, stress_test_run
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import RunError, RunStorageError
from metrics_stream.history import ActiveRun, open_history
from metrics_stream.models import TestRun
from metrics_stream.runs import lifecycle
from tests.support.recording import active_slugs

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_run_is_started_with_all_its_values():
    run = lifecycle.start(
        "Checkout soak", sources=["a", "b", "a"], target_tps=200, tags=("soak", "soak"), notes="new cache"
    )
    stored = TestRun.objects.get()
    assert stored == run
    assert (stored.name, stored.status, stored.target_tps) == ("Checkout soak", "running", 200.0)
    assert (stored.sources, stored.tags, stored.notes) == (["a", "b"], ["soak"], "new cache")
    assert (stored.ended_at, stored.alive_at) == (None, None)
    assert re.fullmatch(rf"checkout-soak-{stored.started_at:%Y%m%d-%H%M%S}-[a-z]{{4}}", stored.slug)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("Größe", "groe-"),
        ("测试", "run-"),
        ("--", "run-"),
        ("a" * 100, "a" * 60 + "-"),
        ("x" * 59 + " y", "x" * 59 + "-"),
    ],
)
def test_every_name_makes_a_readable_slug(name, start):
    slug = lifecycle.start(name).slug
    assert slug.startswith(start)
    assert TestRun.objects.get(slug=slug).name == name


def test_runs_of_the_same_name_have_slugs_of_their_own():
    assert len({lifecycle.start("soak").slug for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name: This field cannot be blank."),
        ({"name": "x" * 101}, "name: Ensure this value has at most 100 characters (it has 101)."),
        ({"name": "a\x00"}, r"name: 'a\x00' holds the character '\x00'"),
        ({"target_tps": math.nan}, "target_tps: nan is not a finite number"),
        ({"target_tps": -1.0}, "target_tps: Ensure this value is greater than or equal to 0.0."),
        ({"target_tps": "many"}, "target_tps: “many” value must be a float."),
        ({"tags": "soak"}, "tags is 'soak'; it must be a list of texts, such as ['soak']"),
        ({"tags": [""]}, "tags: '' is not a text; allowed: a list of texts that are not empty"),
        ({"sources": [7]}, "sources: 7 is not a text"),
        ({"notes": "x" * 5001}, "notes: the text has 5,001 characters; allowed: at most 5,000"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(options, message):
    with pytest.raises(RunError, match=re.escape(message)):
        lifecycle.start(**{"name": "soak", **options})
    assert not TestRun.objects.exists()


def test_without_a_history_no_run_is_started(settings):
    settings.METRICS_STREAM = {"HISTORY_SECONDS": 0}
    with pytest.raises(RunError, match="set METRICS_STREAM\\['HISTORY_SECONDS'\\] above 0"):
        lifecycle.start("soak")
    assert not TestRun.objects.exists()


def test_the_history_learns_of_every_change():
    first, second = lifecycle.start("first", sources=["a"]), lifecycle.start("second")
    history = open_history(get_settings())
    assert asyncio.run(history.active_runs()) == (ActiveRun(first.slug, ("a",)), ActiveRun(second.slug, ()))
    lifecycle.pause(first)
    assert active_slugs() == [second.slug]
    lifecycle.stop(second)
    assert active_slugs() == []
    lifecycle.resume(first)
    assert active_slugs() == [first.slug]
    lifecycle.cancel(first)
    assert active_slugs() == []


def test_a_run_ends_as_it_is_told():
    for status in ("completed", "failed", "cancelled"):
        ended = lifecycle.stop(lifecycle.start(status), status)
        assert (ended.status, ended.ended_at >= ended.started_at) == (status, True)
    assert lifecycle.current() == []


def test_a_run_cannot_end_as_something_else():
    with pytest.raises(RunError, match="cannot end as 'done'; allowed: completed, failed, cancelled"):
        lifecycle.stop(lifecycle.start("soak"), "done")


def test_a_run_ends_once():
    run = lifecycle.start("soak")
    ended = lifecycle.stop(run)
    for change in (lifecycle.stop, lifecycle.cancel, lifecycle.pause, lifecycle.resume):
        with pytest.raises(RunError, match=f"{run.slug!r} is completed, not "):
            change(run)
    assert TestRun.objects.get().ended_at == ended.ended_at


def test_a_run_that_was_deleted_is_told():
    run = lifecycle.start("soak")
    TestRun.objects.all().delete()
    with pytest.raises(RunError, match="no longer exists"):
        lifecycle.stop(run)


def test_a_paused_run_is_still_current():
    first, second = lifecycle.start("first"), lifecycle.start("second")
    lifecycle.pause(first)
    assert lifecycle.current() == [first, second]


def test_a_note_is_added_without_what_cannot_be_shown():
    run = lifecycle.fail(lifecycle.start("soak", notes="before"), "line\nred \x1b[31m")
    assert run.notes == "before\n\nline\nred  [31m"
    assert len(lifecycle.fail(lifecycle.start("soak", notes="x" * 4_990), "y" * 100).notes) == 5_000


def test_a_database_without_tables_is_told():
    with connection.schema_editor() as editor:
        editor.delete_model(TestRun)
    try:
        with pytest.raises(RunStorageError, match="(no such table|does not exist).*DATABASE_URL.*manage.py migrate"):
            lifecycle.start("soak")
        with pytest.raises(RunStorageError, match="DATABASE_URL"), stress_test_run("soak"):
            pytest.fail("a run that was not started")
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(TestRun)


# --- blocks ---


def test_a_block_is_a_run_that_completes(serving):
    with stress_test_run("soak", tags=["a"], target_tps=5, notes="mine") as run:
        assert active_slugs() == [run.slug]
        running = TestRun.objects.get()
        assert (running.status, running.tags, running.target_tps) == ("running", ["a"], 5.0)
        assert running.alive_at == running.started_at
    assert active_slugs() == []
    ended = TestRun.objects.get()
    assert (ended.status, ended.notes, ended.ended_at) == ("completed", "mine", run.ended_at)


def test_a_block_records_what_its_own_program_publishes(settings):
    settings.METRICS_STREAM = {"SOURCE": "me"}
    with stress_test_run("mine") as run:
        assert run.sources == ["me"]
    with stress_test_run("of all", sources=()) as run:
        assert run.sources == []
    with stress_test_run("of two", sources=("a", "b")) as run:
        assert run.sources == ["a", "b"]


@pytest.mark.parametrize(
    ("raised", "status", "notes"),
    [
        (ValueError("no such shop"), "failed", "ValueError: no such shop"),
        (SystemExit(2), "failed", "SystemExit: 2"),
        (SystemExit(0), "completed", ""),
        (KeyboardInterrupt(), "cancelled", ""),
        (asyncio.CancelledError(), "cancelled", ""),
    ],
)
def test_a_block_ends_as_its_exception_says(raised, status, notes):
    with pytest.raises(type(raised)), stress_test_run("soak"):
        raise raised
    run = TestRun.objects.get()
    assert (run.status, run.notes) == (status, notes)


def test_what_cannot_be_started_raises_before_the_block():
    with pytest.raises(RunError, match="name: This field cannot be blank"), stress_test_run(""):
        pytest.fail("a run that was not started")


def test_a_run_that_somebody_else_has_ended_stays_as_it_is():
    with stress_test_run("soak") as run:
        lifecycle.cancel(run)
    assert TestRun.objects.get().status == "cancelled"


def test_a_block_says_that_it_is_alive(monkeypatch):
    monkeypatch.setattr(lifecycle, "ALIVE_SECONDS", 0.02)
    with stress_test_run("soak") as run:
        from tests.support.stack import wait_until

        wait_until(lambda: TestRun.objects.get().alive_at > run.started_at, 5)


def test_what_was_published_in_the_block_has_left_when_it_ends(serving):
    with Broadcaster() as stream, stress_test_run("soak"):
        stream.broadcast_system_metrics({"n": 1})
    assert stream.published == 1


async def test_blocks_of_asyncio():
    async with stress_test_run("soak") as run:
        assert (await TestRun.objects.aget()).slug == run.slug
    assert (await TestRun.objects.aget()).status == "completed"

    async def forever():
        async with stress_test_run("cancelled"):
            inside.set()
            await asyncio.Event().wait()

    inside = asyncio.Event()
    task = asyncio.create_task(forever())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await TestRun.objects.aget(name="cancelled")).status == "cancelled"


async def test_a_plain_block_works_where_a_loop_runs():
    with stress_test_run("soak") as run:
        pass
    assert run.status == "completed"


# --- commands ---


def call(*args):
    out = io.StringIO()
    call_command(*args, stdout=out)
    return out.getvalue().strip()


def test_commands_start_and_stop_a_run():
    slug = call(
        "start_run", "soak", "--source", "a", "--source", "b", "--tag", "x", "--target-tps", "9", "--notes", "n"
    )
    run = TestRun.objects.get()
    assert (run.slug, run.sources, run.tags, run.target_tps, run.notes) == (slug, ["a", "b"], ["x"], 9.0, "n")
    assert call("stop_run") == f"{slug}: completed after 0:00"
    assert TestRun.objects.get().status == "completed"


def test_stop_run_ends_the_one_that_is_named():
    first, second = call("start_run", "first"), call("start_run", "second")
    assert call("stop_run", second, "--status", "failed") == f"{second}: failed after 0:00"
    assert [run.slug for run in lifecycle.current()] == [first]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["start_run", ""], "name: This field cannot be blank."),
        (["start_run", "x", "--target-tps", "many"], "--target-tps is 'many'; allowed: a number from 0 to 1e+12"),
        (["start_run", "x", "--tag", ""], "tags: '' is not a text"),
        (["stop_run"], "no test run is running"),
        (["stop_run", "nope"], "unknown test run 'nope'; running: none"),
    ],
)
def test_commands_say_what_is_wrong(args, message):
    with pytest.raises(CommandError, match=re.escape(message)):
        call(*args)


def test_stop_run_wants_to_know_which_of_several():
    slugs = [call("start_run", name) for name in ("first", "second")]
    with pytest.raises(CommandError, match=f"2 test runs are running; name one of them: {', '.join(slugs)}"):
        call("stop_run")
    with pytest.raises(CommandError, match="cannot end as 'done'; allowed: completed, failed, cancelled"):
        call("stop_run", slugs[0], "--status", "done")
    call("stop_run", slugs[0])
    with pytest.raises(CommandError, match=f"{slugs[0]!r} is not running: it is completed"):
        call("stop_run", slugs[0])
