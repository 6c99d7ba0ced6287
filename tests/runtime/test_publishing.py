"""Publishing that Redis refuses, for whatever reason, is a fault that is said once and everywhere."""

import asyncio
import time

import pytest
import redis

from metrics_stream.core.errors import BusError
from metrics_stream.core.metrics.catalogue import SYSTEM
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.observation.faults import FaultKind
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runtime.runtime import get_runtime
from tests.support.redis_faults import ON_VALKEY_AND_REDIS, hurry, told, viewer_on
from tests.support.redis_process import RedisProcess
from tests.support.stack import eventually, wait_until

pytestmark = pytest.mark.valkey


SET = ["CONFIG", "SET"]
ACL = ["ACL", "SETUSER", "default"]

# A file that is a folder cannot be replaced by the saved data.
SAVING = ["--save", "3600 1000000", "--dbfilename", "saved"]


@pytest.fixture(params=ON_VALKEY_AND_REDIS)
def own_redis(request, tmp_path, monkeypatch):
    hurry(monkeypatch)
    with RedisProcess(tmp_path, *SAVING, flavour=request.param) as running:
        yield running


class Saves:
    """What happens when Redis cannot save its data, and when it can again."""

    @staticmethod
    def break_it(redis_process, folder):
        (folder / "saved").mkdir()
        redis_process.command("BGSAVE")
        wait_until(lambda: redis_process.command("INFO", "persistence")["rdb_last_bgsave_status"] == "err", 10)

    @staticmethod
    def mend_it(redis_process, folder):
        (folder / "saved").rmdir()
        redis_process.command("BGSAVE")
        wait_until(lambda: redis_process.command("INFO", "persistence")["rdb_last_bgsave_status"] == "ok", 10)


def run(change, redis_process, folder):
    """Run a command on Redis, several of them, or a function."""
    if callable(change):
        change(redis_process, folder)
    else:
        for command in change:
            redis_process.command(*command)


def system_metric():
    return encode_metric(SYSTEM, {"n": 1}, timestamp=time.time(), source="here", max_bytes=1_000)


async def publish_until_refused():
    """Publish as HTTP does; a Redis without memory still takes some calls."""
    for _ in range(50):
        try:
            await get_runtime().publishing.publish([system_metric()] * 7)
        except BusError:
            return
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize(
    ("break_it", "mend_it", "reason"),
    [
        ([[*SET, "maxmemory", "1"]], [[*SET, "maxmemory", "0"]], "Redis has no memory left"),
        ([["REPLICAOF", "127.0.0.1", "1"]], [["REPLICAOF", "NO", "ONE"]], "a replica"),
        (
            [[*SET, "replica-serve-stale-data", "no"], ["REPLICAOF", "127.0.0.1", "1"]],
            [["REPLICAOF", "NO", "ONE"]],
            "a replica",
        ),
        ([[*SET, "min-replicas-to-write", "1"]], [[*SET, "min-replicas-to-write", "0"]], "replicas"),
        (Saves.break_it, Saves.mend_it, "cannot save its data"),
        ([[*ACL, "-zadd"]], [[*ACL, "+zadd"]], "forbids"),
        ([[*ACL, "-@scripting"]], [[*ACL, "+@all"]], "forbids"),
        ([[*ACL, "resetkeys"]], [[*ACL, "allkeys"]], "forbids"),
    ],
)
async def test_what_redis_refuses_is_told_by_log_readiness_health_and_to_viewers(
    settings, caplog, own_redis, tmp_path, break_it, mend_it, reason
):
    async with viewer_on(settings, own_redis.url, "stream") as viewer:
        await eventually(lambda: viewer.metrics and not viewer.metrics[-1]["faults"], 5)
        await asyncio.to_thread(run, break_it, own_redis, tmp_path)
        await eventually(lambda: faults.has(FaultKind.PUBLISHING), 5)
        [fault] = [fault for fault in faults.current() if fault.kind == FaultKind.PUBLISHING]
        assert reason in fault.message
        await publish_until_refused()
        # Stream health tells it although it travels by the same Redis.
        await eventually(lambda: "publishing" in (viewer.metrics[-1]["faults"] or ""), 5)
        assert reason in viewer.metrics[-1]["faults"]
        assert viewer.metrics[-1]["status"] == "degraded"
        if reason != "Redis has no memory left":  # which still takes a part of what is published
            await eventually(lambda: viewer.statuses == ["stale"], 5)
        await asyncio.to_thread(run, mend_it, own_redis, tmp_path)
        await eventually(lambda: not faults.current() and get_runtime().bus_watch.state == "live", 5)
        assert viewer.statuses in ([], ["stale", "live"])
        begin, end = told(caplog, "publishing")
        assert begin.startswith("fault publishing begins: ")
        assert end == "fault publishing ends after N s; metrics refused: N"


async def test_a_redis_that_is_away_takes_two_lines_also_when_nobody_is_connected(settings, caplog, own_redis):
    async with viewer_on(settings, own_redis.url):
        runtime = get_runtime()
        await eventually(lambda: runtime.bus_watch.find_problem() is None, 5)
        caplog.clear()
        await asyncio.to_thread(own_redis.kill)
        await eventually(lambda: runtime.bus_watch.state == "stale", 5)
        # Several attempts of each task, and of channels_redis, which logs one a second.
        failures = runtime.telemetry.bus_failures
        await eventually(lambda: runtime.telemetry.bus_failures > failures + 20, 10)
        await asyncio.to_thread(own_redis.start)
        await eventually(lambda: not faults.current(), 10)
    lines = [record for record in caplog.records if record.name.startswith(("metrics_stream", "channels_redis"))]
    assert len(told(caplog, "channel_layer")) == len(lines) == 2, [record.getMessage() for record in lines]


@pytest.mark.parametrize(
    ("break_it", "mend_it", "reason"),
    [
        (["ACL", "SETUSER", "default", "resetpass", ">other"], None, "does not accept the user or password"),
        (["CONFIG", "SET", "maxclients", "1"], ["CONFIG", "SET", "maxclients", "10000"], "maxclients"),
    ],
)
async def test_a_redis_that_accepts_no_connection_says_why(settings, caplog, own_redis, break_it, mend_it, reason):
    # One connection for both commands: later ones are not accepted.
    with redis.Redis.from_url(own_redis.url, single_connection_client=True) as admin:
        admin.execute_command(*break_it)
        async with viewer_on(settings, own_redis.url, "system") as viewer:
            await eventually(lambda: faults.has(FaultKind.CHANNEL_LAYER), 5)
            await eventually(lambda: reason in " ".join(fault.message for fault in faults.current()), 5)
            await eventually(lambda: viewer.statuses == ["stale"], 5)
            if mend_it:
                admin.execute_command(*mend_it)
                await eventually(lambda: not faults.current(), 10)
                assert len(told(caplog, "channel_layer")) == 2


async def test_a_redis_that_loads_its_data_is_waited_for(settings, caplog, own_redis, tmp_path):
    # It answers between two parts of its data, so there must be many.
    own_redis.command("CONFIG", "SET", "rdbcompression", "no")
    own_redis.command("EVAL", "for n = 1, 3000 do redis.call('SET', n, string.rep('x', 200)) end", "0")
    await asyncio.to_thread(own_redis.command, "SAVE")
    own_redis.add_options("--loading-process-events-interval-bytes", "1024", "--key-load-delay", "1000")
    await asyncio.to_thread(own_redis.kill)
    own_redis.launch()
    async with viewer_on(settings, own_redis.url, "stream") as viewer:
        await eventually(lambda: "loading its data" in " ".join(fault.message for fault in faults.current()), 10)
        await eventually(lambda: not faults.current() and get_runtime().bus_watch.state == "live", 15)
        await eventually(lambda: viewer.metrics and not viewer.metrics[-1]["faults"], 5)
    # Which of the two is first depends on what the server asks for first.
    for kind in ("channel_layer", "publishing"):
        assert len(told(caplog, kind)) in (0, 2), told(caplog, kind)
