"""A broadcast server on the `websockets` library with a batch for each client: `batch_server PORT FEED COMPRESSION`.

It reads metrics as lines from the port FEED. Every 0.1 s it sends each client the metrics since its last batch.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Any

import websockets
from websockets.asyncio.server import ServerConnection, serve

INTERVAL_SECONDS = 0.1

queues: set[asyncio.Queue[Any]] = set()


async def handle(connection: ServerConnection) -> None:
    """Serve one client."""
    queue: asyncio.Queue[Any] = asyncio.Queue()
    queues.add(queue)
    try:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            batch = []
            while not queue.empty():
                batch.append(queue.get_nowait())
            if batch:
                await connection.send(json.dumps({"type": "metric_batch", "count": len(batch), "data": batch}))
    except websockets.ConnectionClosed:
        pass
    finally:
        queues.discard(queue)


async def feed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Put each line of a producer into every client's queue."""
    async for line in reader:
        metric = json.loads(line)
        for queue in queues:
            queue.put_nowait(metric)
    writer.close()


async def main(port: int, feed_port: int, compression: str | None) -> None:
    """Serve until the process ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    async with (
        await asyncio.start_server(feed, "127.0.0.1", feed_port),
        serve(handle, "127.0.0.1", port, compression=compression, max_size=None),
    ):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), "deflate" if sys.argv[3] == "deflate" else None))
