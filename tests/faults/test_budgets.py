"""One producer, client or visitor that uses all its limits: a healthy client beside it notices nothing."""

import asyncio
import json
import urllib.error
import urllib.request

import pytest
import websockets

from tests.faults.conftest import MakeStack
from tests.support.control import Control, Producer

pytestmark = [pytest.mark.faults, pytest.mark.valkey]

MAKE_TOKEN = """
from metrics_stream.models import AccessToken
print(AccessToken.issue(name="abuser", scopes=["publish", "subscribe"], metric_types=["all"])[1])
"""


def make_token(stack):
    """Return the text of a token for publishing and subscribing."""
    stack.make_database()
    return stack.manage("shell", "--verbosity", "0", code=MAKE_TOKEN).splitlines()[-1]


def post(stack, text, metrics):
    """Publish metrics over HTTP; return the status."""
    request = urllib.request.Request(
        f"{stack.url}/api/metrics/",
        json.dumps(metrics).encode(),
        {"Authorization": f"Bearer {text}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


async def flood(stack, text, bodies):
    """Publish requests one after the other, again after a refusal for the rate."""
    for metrics in bodies:
        while (status := await asyncio.to_thread(post, stack, text, metrics)) == 429:
            await asyncio.sleep(0.2)
        assert status == 202


async def newest(stack, text):
    """Ask for the newest metrics of `agent`; return how many metrics come."""
    headers = {"Authorization": f"Bearer {text}"}
    async with websockets.connect(stack.socket_url, additional_headers=headers, max_size=None) as socket:
        await socket.send(json.dumps({"type": "get_latest", "metric_types": ["agent"]}))
        count, is_done = 0, False
        while not is_done:
            message = json.loads(await asyncio.wait_for(socket.recv(), 20))
            if message["type"] == "latest":
                count, is_done = count + message["count"], message["done"]
        return count


async def test_ever_new_pairs_of_agents_disturb_nobody(make_stack: MakeStack):
    stack = make_stack()
    text = make_token(stack)
    pairs = [(a, b) for a in range(120) for b in range(a)][:6_000]
    bodies = [
        [
            {"metric_type": "agent", "source": "abuser", "data": [{"agent_id": f"a{n}", "load": 1} for n in pair]}
            for pair in pairs[first : first + 500]
        ]
        for first in range(0, len(pairs), 500)
    ]
    with Producer(stack):
        async with Control(stack) as control:
            await control.catches_up()
            await flood(stack, text, bodies)
            assert set(await asyncio.gather(*(newest(stack, text) for _ in range(40)))) == {1_000}
            await control.assert_undisturbed()
            assert control.age(0.99) < 1.0


async def test_invented_fields_disturb_nobody(make_stack: MakeStack):
    stack = make_stack()
    text = make_token(stack)
    bodies = [
        [{"metric_type": "system", "source": "abuser", "data": {f"f{first}_{n}": n for n in range(500)}}]
        for first in range(15)
    ]
    with Producer(stack):
        async with Control(stack) as control:
            await control.catches_up()
            await flood(stack, text, bodies)
            async with websockets.connect(stack.socket_url, max_size=None) as socket:
                wish = {"type": "subscribe", "metric_types": ["system"], "backfill_seconds": 60}
                await socket.send(json.dumps(wish))
                found, left_out, is_done = set(), None, False
                while not is_done:
                    message = json.loads(await asyncio.wait_for(socket.recv(), 20))
                    if message["type"] == "backfill":
                        found |= {(item["source"], item["field"]) for item in message["series"]}
                        left_out, is_done = message.get("left_out"), message["done"]
            assert ("counter", "n") in found
            assert left_out == ["system"]
            await control.assert_undisturbed()
            assert control.age(0.99) < 1.0


async def send_filters(stack, text, number):
    """Send filters of many names as fast as one client may; return the code with which it is closed."""
    filters = {"sources": [f"{number}-{n}-{'x' * 40}" for n in range(900)]}
    async with websockets.connect(
        stack.socket_url, additional_headers={"Authorization": f"Bearer {text}"}, max_size=None
    ) as socket:
        try:
            while True:
                await socket.send(json.dumps({"type": "set_filters", "filters": filters}))
                await asyncio.sleep(0.12)  # below the limit of one client
        except websockets.ConnectionClosed:
            return socket.close_code


async def test_clients_of_one_token_disturb_nobody_together(make_stack: MakeStack):
    stack = make_stack()
    text = make_token(stack)
    with Producer(stack):
        async with Control(stack) as control:
            await control.catches_up()
            codes = await asyncio.gather(*(send_filters(stack, text, number) for number in range(30)))
            assert set(codes) == {4029}
            await control.assert_undisturbed()
            assert control.age(0.99) < 1.0
