"""The examples of the README run against a real server."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import websockets

from tests.support.documents import README, ROOT, code_blocks
from tests.support.stack import Stack


def readme_program(word: str) -> str:
    [found] = [block for block in code_blocks(README, "python") if word in block]
    return found


@pytest.fixture(scope="module")
def stack(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), valkey_url)
    stack.start()
    yield stack
    stack.stop()


@pytest.mark.valkey
def test_the_examples_of_the_readme_publish_and_receive(stack):
    receive = readme_program("websockets.sync.client").replace("ws://127.0.0.1:8000/ws/metrics/", stack.socket_url)
    assert stack.socket_url in receive
    receive = receive.replace('["hero"]', '["hero", "system"]')
    # A deadline of its own, so that no fault can leave it behind.
    program = f"import signal\nsignal.alarm(30)\n{receive}"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", program], cwd=ROOT, env=stack.environment, stdout=subprocess.PIPE, text=True
    ) as receiver:
        try:
            assert "welcome" in receiver.stdout.readline()
            assert "subscription_confirmed" in receiver.stdout.readline()
            stack.manage("shell", "-v", "0", code=readme_program('source="my-test"'))
            # What other tests published comes first, as the newest there is.
            line = next(line for line in receiver.stdout if line.startswith("my-test"))
            assert line.split(" ", 1) == [
                "my-test",
                "{'total_transactions': 1250, 'money_saved': 98000.0, 'uptime_percentage': 99.95, "
                "'transactions_per_second': 420.0}\n",
            ]
            script = readme_program("load-generator-1")
            done = subprocess.run(
                [sys.executable, "-c", script], cwd=ROOT, env=stack.environment, check=False, timeout=30
            )
            assert done.returncode == 0
            assert receiver.stdout.readline() == "load-generator-1 {'throughput_tps': 950.0, 'error_rate': 0.002}\n"
        finally:
            receiver.kill()


@pytest.mark.valkey
async def test_the_asynchronous_example_of_the_readme_publishes(stack, valkey_layer):
    namespace: dict[str, Any] = {}
    exec(compile(readme_program("async def report"), "README.md", "exec"), namespace)
    async with websockets.connect(stack.socket_url) as client, asyncio.timeout(20):
        await client.recv()
        await client.send('{"type": "subscribe", "metric_types": ["agent"]}')
        await client.recv()
        await namespace["report"]([{"agent_id": "agent_1", "current_load": 0.4}])
        # What other tests published comes first, as the newest there is.
        while (frame := json.loads(await client.recv())).get("replayed"):
            pass
    assert frame["data"]["data"] == [{"agent_id": "agent_1", "current_load": 0.4}]
