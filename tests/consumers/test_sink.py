import asyncio
from types import SimpleNamespace

from metrics_stream.consumers.sink import SocketSink
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.core.protocol.prepared_message import PreparedMessage
from tests.hub.test_hub import House


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
    house = House()
    sink = SocketSink(_take, {}, house.hub)
    sink.client = client = house.hub.add("the client", sink, connected_at=0.0)
    house.hub.close(client.id, CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN, "closed by an admin")
    house.hub.write_text(client, PreparedMessage(b"{}"))
    house.clock.advance(20.0)
    assert house.telemetry.slow_clients_closed == 0
    assert house.telemetry.closes_by_code == {CloseCode.FORBIDDEN: 1}


async def _take(_):
    """Take a message at once."""
