import asyncio
from types import SimpleNamespace

from metrics_stream.core.shared_text import SharedText
from metrics_stream.outlet import SocketOutlet


async def test_the_log_says_which_client_a_frame_could_not_be_written_to(caplog):
    async def fail(message):
        raise ValueError("a fault of the server")

    removed = asyncio.Queue()
    outlet = SocketOutlet(fail, {}, SimpleNamespace(remove=removed.put_nowait, written=None))
    outlet.client = client = SimpleNamespace(id="the client")
    assert not outlet.write([SharedText(b"{}")])
    assert await asyncio.wait_for(removed.get(), 5) is client
    (told,) = caplog.records
    assert (told.getMessage(), told.client_id) == ("a frame could not be written", "the client")
