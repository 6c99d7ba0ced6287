"""What a Redis lacks or forbids is said at the start, in one line; under the documented rights everything works."""

import asyncio
import re

import pytest

from metrics_stream.broadcast import Broadcaster
from metrics_stream.bus.redis_needs import DATA_COMMANDS, RedisNeeds
from metrics_stream.history import redis as history_redis
from metrics_stream.observation.faults import FaultKind
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runtime.runtime import get_runtime
from tests.support.documents import DOCS, FENCE
from tests.support.redis_faults import ON_VALKEY_AND_REDIS, hurry, told, viewer_on
from tests.support.redis_process import RedisProcess
from tests.support.stack import eventually, free_port

# As `redis_needs` calls them.
CHANNEL_COMMANDS = ("PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "PING")

RULE = re.compile(r"ACL SETUSER metrics (.*)")


def documented_rule():
    """Return the words of the least ACL in docs/deployment.md."""
    text = (DOCS / "deployment.md").read_text().replace("\\\n", " ")
    [rule] = [found[1] for _, block in FENCE.findall(text) if (found := RULE.search(block))]
    return rule.split()


def test_the_documented_rights_are_those_that_are_looked_for():
    commands = {str(command[0]) for command in DATA_COMMANDS} | set(CHANNEL_COMMANDS)
    in_script = set(re.findall(r'redis\.call\("([A-Z]+)"', history_redis._SCRIPT))
    assert in_script <= commands
    allowed = {word[1:].upper() for word in documented_rule() if word.startswith("+")}
    assert allowed == commands | {"EXISTS", "INFO"}


@pytest.fixture(params=ON_VALKEY_AND_REDIS)
def make_redis(request, tmp_path, monkeypatch):
    hurry(monkeypatch)
    made = []

    def make(*options):
        made.append(RedisProcess(tmp_path, *options, flavour=request.param))
        made[-1].start()
        return made[-1]

    yield make
    for redis in made:
        redis.kill()


def restricted(redis, *rule):
    """Make a user with the documented rights, changed by `rule`; return the URL that signs in as it."""
    words = [word if not word.startswith(">") else ">secret" for word in documented_rule()]
    # Redis 7.0 does not know the command.
    introduces = ["+client|setinfo"] if redis.flavour == "valkey" else []
    redis.command("ACL", "SETUSER", "metrics", *words, *introduces, *rule)
    return redis.url.replace("//", "//metrics:secret@")


@pytest.mark.valkey
@pytest.mark.parametrize(
    ("options", "rule", "words"),
    [
        ((), ["-@scripting"], "Redis forbids the command EVAL, the command EVALSHA;"),
        ((), ["-zadd", "-xadd"], "Redis forbids the command ZADD, the command XADD;"),
        ((), ["resetkeys", "~other*"], "Redis forbids the keys metrics_stream.history*;"),
        ((), ["resetchannels"], "Redis forbids the channels asgi*;"),
        ((), ["-subscribe"], "Redis forbids the command SUBSCRIBE;"),
        ((), ["-publish"], "Redis forbids the command PUBLISH;"),
        (("--rename-command", "EVAL", ""), [], "Redis forbids the command EVAL;"),
        (("--cluster-enabled", "yes", "--cluster-port", str(free_port())), [], "this Redis is a cluster"),
    ],
)
async def test_what_is_missing_is_said_at_the_start_and_to_viewers(settings, caplog, make_redis, options, rule, words):
    url = restricted(make_redis(*options), *rule)
    async with viewer_on(settings, url, "system") as viewer:
        await eventually(lambda: faults.has(FaultKind.REDIS), 5)
        [fault] = [fault for fault in faults.current() if fault.kind == FaultKind.REDIS]
        assert fault.message.startswith(words)
        await eventually(lambda: viewer.statuses == ["stale"], 5)
        assert get_runtime().bus_watch.state == "stale"
        [line] = told(caplog, "redis")
        assert line.startswith("fault redis begins: ")


@pytest.mark.valkey
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "noeviction"])
async def test_a_policy_that_drops_accepted_metrics_is_said_at_the_start(settings, caplog, make_redis, policy):
    url = restricted(make_redis("--maxmemory-policy", policy))
    looks = []
    find = RedisNeeds.find_missing

    async def look(*args, **options):
        looks.append(options)
        return await find(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RedisNeeds, "find_missing", look)
        async with viewer_on(settings, url, "system"):
            await eventually(lambda: len(looks) > 2, 5)
    warnings = [record.getMessage() for record in caplog.records if "maxmemory-policy" in record.getMessage()]
    assert [f"maxmemory-policy is {policy};" in warning for warning in warnings] == [True] * (policy != "noeviction")


@pytest.mark.valkey
async def test_everything_works_under_the_documented_rights(settings, caplog, make_redis):
    redis = make_redis()
    async with viewer_on(settings, restricted(redis), "system") as viewer:
        runtime = get_runtime()
        await runtime.membership.wait_joined(("system",))
        with Broadcaster(source="producer") as stream:
            stream.broadcast_system_metrics({"n": 1})
            await eventually(lambda: viewer.metrics == [{"n": 1}], 5)
        assert runtime.history is not None
        [batch] = await runtime.history.newest(["system"])
        assert [metric.source for metric in batch.metrics] == ["producer"]
        assert await runtime.history.active_runs() is None
        await runtime.history.set_active_runs([])
        assert await runtime.bus.gather_stats(wait_seconds=0.2)
        await eventually(lambda: runtime.bus_watch.find_problem() is None, 5)
        assert not faults.current()
        denied = await asyncio.to_thread(redis.command, "ACL", "LOG")
        assert not denied, denied
