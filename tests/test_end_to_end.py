"""Real processes: a server, producers in their own processes, and clients with the `websockets` library."""

import asyncio
import contextlib
import itertools
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import websockets

from tests.support.exposition import values_of
from tests.support.stack import ROOT, Stack

pytestmark = pytest.mark.valkey

# How long a test waits for what another process does; on a busy machine, starting Django alone takes many seconds.
PATIENCE_SECONDS = 60.0

PRODUCER = """
import sys
import django
django.setup()
from metrics_stream.broadcast import Broadcaster
name, count = sys.argv[1], int(sys.argv[2])
with Broadcaster(source=name) as stream:
    for number in range(count):
        stream.broadcast_system_metrics({"n": number})
assert stream.published == count, stream.last_error
"""


@pytest.fixture(scope="module")
def stack(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), valkey_url)
    stack.make_database()
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture
def own_stack(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """Start a server that a test may kill, on the same Valkey and database."""
    own = Stack(tmp_path, stack.environment["REDIS_URL"], DATABASE_URL=stack.environment["DATABASE_URL"])
    own.start()
    yield own
    if own.server is not None:
        own.stop()


def produce(stack: Stack, name: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PRODUCER, name, str(count)], cwd=ROOT, env=stack.environment)


async def ask(ws, message):
    await ws.send(json.dumps(message))
    return json.loads(await asyncio.wait_for(ws.recv(), 10))


async def subscribe(ws, *metric_types, filters=None):
    welcome = json.loads(await ws.recv())
    assert welcome["type"] == "welcome"
    await ask(ws, {"type": "set_update_interval", "interval_seconds": 0.1})
    if filters:
        await ask(ws, {"type": "set_filters", "filters": filters})
    answer = await ask(ws, {"type": "subscribe", "metric_types": list(metric_types)})
    assert answer["type"] == "subscription_confirmed"
    return welcome["client_id"]


async def collect(ws, count):
    """Return `count` metrics in the order in which they came."""
    metrics = []
    while len(metrics) < count:
        frame = json.loads(await asyncio.wait_for(ws.recv(), PATIENCE_SECONDS))
        assert frame["type"] in {"metric_update", "metric_batch"}, frame
        metrics += frame["data"] if frame["type"] == "metric_batch" else [frame["data"]]
    return metrics


async def test_several_processes_publish_and_programs_receive_all_of_it(stack):
    async with websockets.connect(stack.socket_url) as everything, websockets.connect(stack.socket_url) as one_source:
        await subscribe(everything, "system", filters={"sources": ["p0", "p1", "p2"]})
        await subscribe(one_source, "system", filters={"sources": ["p1"]})
        producers = [produce(stack, f"p{number}", 200) for number in range(3)]
        everything_got, one_got = await asyncio.gather(collect(everything, 600), collect(one_source, 200))
        assert [await asyncio.to_thread(producer.wait, PATIENCE_SECONDS) for producer in producers] == [0, 0, 0]
    for name in ("p0", "p1", "p2"):
        assert [metric["data"]["n"] for metric in everything_got if metric["source"] == name] == list(range(200))
    assert [metric["data"]["n"] for metric in one_got] == list(range(200))


async def test_publishing_from_a_second_terminal(stack):
    async with websockets.connect(stack.socket_url) as ws:
        await subscribe(ws, "hero", filters={"sources": ["terminal"]})
        code = (
            "from metrics_stream.broadcast import Broadcaster\n"
            "with Broadcaster(source='terminal') as stream:\n"
            "    stream.broadcast_hero_metrics({'money_saved': 1234.5})\n"
        )
        publishing = asyncio.create_task(asyncio.to_thread(stack.manage, "shell", "-v", "0", code=code + "\n"))
        [metric] = await collect(ws, 1)
        await publishing
    assert metric["data"] == {"money_saved": 1234.5}


async def test_statistics_of_the_running_server_by_command(stack):
    async with websockets.connect(stack.socket_url) as ws:
        await subscribe(ws, "hero")
        answers = json.loads(await asyncio.to_thread(stack.manage, "stream_stats", "--json"))
        text = await asyncio.to_thread(stack.manage, "stream_stats")
    [stats] = [answer for answer in answers if answer["process"].endswith(f":{stack.server.pid}")]
    assert any(client["subscription"]["metric_types"] == ["hero"] for client in stats["clients"])
    assert stats["process"] in text


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
async def test_a_stop_closes_clients_with_a_code_that_lets_them_come_back(own_stack, how):
    async with websockets.connect(own_stack.socket_url) as ws:
        await subscribe(ws, "system")
        before = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(own_stack.stop, how))
        # The newest metrics of the history may come first.
        while (farewell := json.loads(await asyncio.wait_for(ws.recv(), 15)))["type"].startswith("metric_"):
            pass
        await asyncio.wait_for(ws.wait_closed(), 15)
        await stopping
        assert time.monotonic() - before < 15
    assert farewell == {"type": "error", "code": "going_away", "message": "the server stops; come back in a moment"}
    assert (ws.close_code, ws.close_reason) == (4001, farewell["message"])
    assert "Traceback" not in own_stack.log.read_text()


async def read_to_the_end(ws):
    while True:  # the newest metrics of the history may come first
        await ws.recv()


async def test_a_killed_server_comes_back_and_clients_with_it(own_stack):
    async with websockets.connect(own_stack.socket_url) as ws:
        await subscribe(ws, "system")
        await asyncio.to_thread(own_stack.stop, signal.SIGKILL)
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(read_to_the_end(ws), 10)
    await asyncio.to_thread(own_stack.start)
    async with websockets.connect(own_stack.socket_url) as ws:
        await subscribe(ws, "system", filters={"sources": ["again"]})
        producer = produce(own_stack, "again", 3)
        assert [metric["data"]["n"] for metric in await collect(ws, 3)] == [0, 1, 2]
        await asyncio.to_thread(producer.wait, PATIENCE_SECONDS)


async def test_a_client_that_comes_back_to_another_server_misses_nothing_and_gets_nothing_twice(stack, own_stack):
    async def come(address, position=None):
        ws = await websockets.connect(address)
        await ws.recv()
        await ask(ws, {"type": "set_update_interval", "interval_seconds": 0.1})
        await ask(ws, {"type": "set_filters", "filters": {"sources": ["wandering"]}})
        answer = await ask(ws, {"type": "subscribe", "metric_types": ["system", "hero"], "resume_from": position})
        assert answer.get("recovered") is True
        return ws

    addresses = [stack.socket_url, own_stack.socket_url]
    async with websockets.connect(stack.socket_url) as ws:
        await ws.recv()
        position = (await ask(ws, {"type": "subscribe", "metric_types": ["system", "hero"]}))["position"]
    producer = produce(stack, "wandering", 2_000)
    numbers = []
    for visit in itertools.count():
        ws = await come(addresses[visit % 2], position)
        before = len(numbers)
        while len(numbers) < min(before + 100, 2_000):
            frame = json.loads(await asyncio.wait_for(ws.recv(), PATIENCE_SECONDS))
            data = frame["data"] if frame["type"] == "metric_batch" else [frame["data"]]
            numbers += [metric["data"]["n"] for metric in data]
            position = frame["position"]
        await ws.close()
        if len(numbers) >= 2_000:
            break
    assert numbers == list(range(2_000))
    assert await asyncio.to_thread(producer.wait, PATIENCE_SECONDS) == 0


async def test_a_message_that_is_too_big_is_answered_before_the_close(stack):
    async with websockets.connect(stack.socket_url) as ws:
        await ws.recv()
        answer = await ask(ws, {"type": "ping", "ref": "x" * 65_536})
        assert answer["code"] == "message_too_big"
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 10)
    assert (ws.close_code, ws.close_reason[:11]) == (4509, "the message")


async def test_two_workers_give_each_client_everything_once(stack, tmp_path):
    pair = Stack(tmp_path, stack.environment["REDIS_URL"], workers=2, DATABASE_URL=stack.environment["DATABASE_URL"])
    await asyncio.to_thread(pair.start)
    try:
        async with contextlib.AsyncExitStack() as clients:
            # The kernel distributes connections to the workers; with twelve, hardly ever does a worker get none.
            sockets = [await clients.enter_async_context(websockets.connect(pair.socket_url)) for _ in range(12)]
            for ws in sockets:
                await subscribe(ws, "system", filters={"sources": ["pair"]})
            producer = produce(pair, "pair", 100)
            received = await asyncio.gather(*(collect(ws, 100) for ws in sockets))
            await asyncio.to_thread(producer.wait, PATIENCE_SECONDS)
            answers = json.loads(await asyncio.to_thread(pair.manage, "stream_stats", "--json"))
            # Each worker writes its sample once a second; after that, each can report the counters of all.
            for _ in range(8):
                await until(lambda: scrape(pair)["clients{}"] == 12)
            assert scrape(pair)["workers{}"] == 2
        for metrics in received:
            assert [metric["data"]["n"] for metric in metrics] == list(range(100))
        children = psutil.Process(pair.server.pid).children(recursive=True)
        pids = {str(child.pid) for child in children}
        workers = [answer for answer in answers if answer["process"].rpartition(":")[2] in pids]
        assert len(workers) == 2
        assert sum(worker["connected_clients"] for worker in workers) == 12
        # The counters of a worker that dies stay in the sum when another takes its place.
        busiest = max(workers, key=lambda worker: worker["metrics_sent"])
        killed = int(busiest["process"].rpartition(":")[2])
        sent = scrape(pair)["metrics_sent_total{}"]
        assert sent >= 1200
        psutil.Process(killed).kill()
        await until(lambda: len(pair.worker_pids() - {killed}) == 2)
        await until(lambda: scrape(pair)["workers{}"] == 2)
        assert scrape(pair)["metrics_sent_total{}"] == sent
        # So do the counters of its last second, if it ends in order.
        async with contextlib.AsyncExitStack() as clients:
            sockets = [await clients.enter_async_context(websockets.connect(pair.socket_url)) for _ in range(6)]
            for ws in sockets:
                await subscribe(ws, "system", filters={"sources": ["last words"]})
            producer = produce(pair, "last words", 20)
            await asyncio.gather(*(collect(ws, 20) for ws in sockets))
            stopped = max(pair.worker_pids())
            psutil.Process(stopped).terminate()
            await asyncio.to_thread(producer.wait, PATIENCE_SECONDS)
            await until(lambda: len(pair.worker_pids() - {stopped}) == 2)
            await until(lambda: scrape(pair)["workers{}"] == 2)
            assert scrape(pair)["metrics_sent_total{}"] == sent + 6 * 20
    finally:
        await asyncio.to_thread(pair.stop)
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=10)
    assert not alive


async def test_a_client_that_never_reads_is_cut_and_the_others_notice_nothing(stack, tmp_path):
    settings = tmp_path / "impatient_settings.py"
    settings.write_text(
        "from project.settings import *\nMETRICS_STREAM |= {'SLOW_CLIENT_SECONDS': 1, 'GROUP_PREFIX': 'impatient'}\n"
    )
    impatient = Stack(
        tmp_path,
        stack.environment["REDIS_URL"],
        DATABASE_URL=stack.environment["DATABASE_URL"],
        DJANGO_SETTINGS_MODULE="impatient_settings",
        PYTHONPATH=f"{tmp_path}:{ROOT}",
        LOG_FORMAT="json",
    )
    await asyncio.to_thread(impatient.start)
    flood = """
import django
django.setup()
import time
from metrics_stream.broadcast import Broadcaster
with Broadcaster(source="flood") as stream:
    for number in range(600):
        stream.broadcast_system_metrics({"n": number, "padding": "x" * 40_000})
        time.sleep(0.01)
"""
    try:
        # compression=None: padding would shrink to nothing. max_queue=1 without recv: the socket's buffers fill up.
        async with (
            websockets.connect(impatient.socket_url, compression=None) as healthy,
            websockets.connect(impatient.socket_url, compression=None, max_queue=1, ping_interval=None) as stalled,
        ):
            stalled_id = await subscribe(stalled, "system")
            await subscribe(healthy, "system")
            producer = subprocess.Popen([sys.executable, "-c", flood], cwd=ROOT, env=impatient.environment)
            got = await collect(healthy, 600)
            await asyncio.to_thread(producer.wait, PATIENCE_SECONDS)
            server = psutil.Process(impatient.server.pid)
            await until(lambda: len(established(server)) == 1, 15)
            stalled.transport.abort()
        assert [metric["data"]["n"] for metric in got] == list(range(600))
        lines = map(json.loads, impatient.log.read_text().splitlines())
        [line] = [line for line in lines if "ANONYMOUS_READ" not in line["event"]]
        assert line["level"] == "warning"
        assert re.fullmatch(r"a client took nothing for [1-9] s and is closed", line["event"])
        assert line["client_id"] == stalled_id
    finally:
        await asyncio.to_thread(impatient.stop)


def scrape(stack: Stack) -> dict[str, float]:
    """Return the values of /metrics, from any of the workers."""
    with urllib.request.urlopen(f"{stack.url}/metrics", timeout=10) as response:
        return values_of(response.read())


async def until(condition, seconds: float = PATIENCE_SECONDS):
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


def established(server: psutil.Process) -> list[object]:
    """Return the connections of clients that the server still holds, without its own to Redis."""
    port = next(each.laddr.port for each in server.net_connections("tcp") if each.status == "LISTEN")
    return [each for each in server.net_connections("tcp") if each.status == "ESTABLISHED" and each.laddr.port == port]
