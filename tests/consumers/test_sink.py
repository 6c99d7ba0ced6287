import asyncio
from types import SimpleNamespace

from metrics_stream.consumers.sink import SocketSink
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from tests.support.hub import HubHarness


async def test_the_log_says_which_client_a_frame_could_not_be_written_to(caplog):
    async def fail(message):
        raise ValueError("a fault of the server")

    removed = asyncio.Queue()
    sink = SocketSink(fail, {}, SimpleNamespace(remove=removed.put_nowait, written=None))
    sink.client = client = SimpleNamespace(id="the client")
    assert not sink.write([PreparedMessage(b"{}")])
    assert await asyncio.wait_for(removed.get(), 5) is client
    (told,) = caplog.records
    assert (told.getMessage(), told.client_id) == ("a frame could not be written", "the client")


async def test_what_is_still_written_to_a_socket_that_closes_makes_no_slow_client_of_it():
    harness = HubHarness()
    sink = SocketSink(_take, {}, harness.hub)
    sink.client = client = harness.hub.add("the client", sink, connected_at=0.0)
    harness.hub.close(client.id, CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN, "closed by an admin")
    harness.hub.write_text(client, PreparedMessage(b"{}"))
    harness.clock.advance(20.0)
    assert harness.telemetry.slow_clients_closed == 0
    assert harness.telemetry.closes_by_code == {CloseCode.FORBIDDEN: 1}


async def _take(_):
    """Take a message at once."""
