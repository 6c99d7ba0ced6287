"""Thousands of invalid messages: each is answered or closes its own socket, and leaves nothing behind."""

import asyncio
import json

import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect

from metrics_stream.core.protocol import codes
from metrics_stream.core.protocol.messages import CLIENT_MESSAGES, message_name
from tests.support.control import Control, Producer, catch_up, show
from tests.support.stack import eventually

pytestmark = pytest.mark.valkey

# High limits, so that the test does not only reach the limits.
NO_LIMITS = {"MESSAGES_PER_SECOND": 1e6, "MESSAGE_BURST": 10**6, "MAX_ERRORS_PER_MINUTE": 10**6}
MESSAGES_AT_ONCE = 20

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["all", "system", "agent", "latest", "aggregate", "2026-01-31T12:00:00Z", "1:system=4", "mst_1_2"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
keys = st.sampled_from(sorted({field for each in CLIENT_MESSAGES for field in each.__struct_fields__}))
types = st.sampled_from([message_name(each) for each in CLIENT_MESSAGES])
filters = st.dictionaries(st.sampled_from(["agent_ids", "fields", "sources", "x"]), st.lists(st.text()) | values)
objects = st.builds(
    lambda kind, some, narrowed: json.dumps({**some, **narrowed, "type": kind}),
    types,
    st.dictionaries(keys, values, max_size=5),
    st.just({}) | st.builds(lambda found: {"filters": found}, filters),
)
nested = st.integers(1, 3_000).map(lambda depth: '{"type":' + "[" * depth + "]" * depth + "}")
messages = st.one_of(
    *[objects] * 4, values.map(json.dumps), st.text(), st.binary(max_size=200), nested, st.just("NaN"), st.just("1e999")
)


def send_all(stack, sent):
    """Send messages on one socket; return its close code, None when the server still answers."""
    with connect(stack.socket_url, close_timeout=5) as socket:
        socket.recv(10)
        try:
            for message in sent:
                socket.send(message)
            socket.send('{"type":"ping","ref":"the last"}')
            while json.loads(socket.recv(20)).get("ref") != "the last":
                pass
        except websockets.ConnectionClosed:
            return socket.close_code
    return None


@pytest.mark.parametrize("count", [600, pytest.param(20_000, marks=pytest.mark.faults)], ids=["short", "long"])
async def test_invalid_messages_do_not_disturb_other_clients(make_stack, count):
    stack = await asyncio.to_thread(make_stack, **NO_LIMITS)
    ends = []

    # A failure prints its seed and the messages. No deadline, since machines are shared and slow.
    @settings(
        max_examples=count // MESSAGES_AT_ONCE,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(messages, min_size=MESSAGES_AT_ONCE, max_size=MESSAGES_AT_ONCE))
    def fuzz(sent):
        end = send_all(stack, sent)
        ends.append(end)
        # Without 1007: this client cannot send a text that is not UTF-8.
        assert end is None or end in set(codes.CloseCode), end

    with Producer(stack):
        async with Control(stack) as control:
            await catch_up(control)
            before = await show(stack)
            await asyncio.to_thread(fuzz)
            await control.assert_undisturbed()
            assert control.age(0.5) < 0.5
            await eventually(lambda: left_over(stack, before), 20, every_seconds=0.2)
    assert len(ends) * MESSAGES_AT_ONCE >= count
    assert None in ends
    log = stack.log.read_text()
    assert "Traceback" not in log
    assert "[error]" not in log


async def left_over(stack, before):
    after = await show(stack)
    return after["connected_clients"] == 1 and after["tasks"] <= before["tasks"] + 2
