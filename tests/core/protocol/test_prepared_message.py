import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from metrics_stream.core.protocol.prepared_message import CONTEXT_BYTES, MIN_COMPRESSED_BYTES, PreparedMessage

LONG = b'{"text":"' + b"naive \xc3\xa9 " * 1000 + b'"}'


def parse(wire: bytes, *extensions: PerMessageDeflate) -> Frame:
    reader = StreamReader()
    reader.feed_data(wire)
    parsing = Frame.parse(reader.read_exact, mask=False, extensions=extensions)
    with pytest.raises(StopIteration) as stopped:
        next(parsing)
    return stopped.value.value


@pytest.mark.parametrize("data", [b"{}", b"x" * 125, b"x" * 126, b"x" * 70_000])
def test_uncompressed_it_is_one_text_frame(data):
    frame = parse(PreparedMessage(data).wire(None))
    assert (frame.opcode, bytes(frame.data), frame.fin, frame.rsv1) == (Opcode.TEXT, data, True, False)


@pytest.mark.parametrize("window_bits", [9, 12, 15])
def test_compressed_it_inflates_without_context(window_bits):
    wire = PreparedMessage(LONG).wire(window_bits)
    assert len(wire) < len(LONG) / 10
    # A receiver that keeps its context across messages inflates it in any order among others.
    receiver = PerMessageDeflate(False, True, window_bits, 15)
    other = PreparedMessage(b"another " * 100).wire(window_bits)
    for message, data in ((wire, LONG), (other, b"another " * 100), (wire, LONG)):
        assert bytes(parse(message, receiver).data) == data


def frames(count):
    return [
        b'{"type":"metric_update","data":{"throughput_tps":%d,"error_rate":0.%d}}' % (n * 17, n) * 2
        for n in range(count)
    ]


@pytest.mark.parametrize("window_bits", [9, 12, 15])
def test_in_context_it_is_smaller_and_inflates_for_receivers_of_the_sequence(window_bits):
    receiver = PerMessageDeflate(False, True, window_bits, 15)
    context, alone, together = None, 0, 0
    for data in frames(200):
        message = PreparedMessage(data, context)
        wire = message.wire(window_bits, in_context=context is not None)
        assert bytes(parse(wire, receiver).data) == data
        context = message.after
        alone += len(message.wire(window_bits))
        together += len(wire)
    assert together < alone / 2
    assert len(context.tail) == CONTEXT_BYTES


def test_an_uncompressed_message_does_not_change_the_context():
    first = PreparedMessage(LONG)
    short = PreparedMessage(b"{}", first.after)
    assert short.after is first.after
    assert short.wire(15, in_context=True) == PreparedMessage(b"{}").wire(None)


def test_a_long_message_is_all_that_is_remembered():
    message = PreparedMessage(LONG, PreparedMessage(b"x" * 500).after)
    assert message.after.tail == LONG[-CONTEXT_BYTES:]


def test_a_short_message_is_not_compressed():
    short = PreparedMessage(b"x" * (MIN_COMPRESSED_BYTES - 1))
    assert short.wire(15) == short.wire(None)


def test_each_form_is_built_once():
    shared = PreparedMessage(LONG)
    assert shared.wire(15) is shared.wire(15)
    assert shared.wire(None) is shared.wire(None)
    assert shared.text is shared.text
    assert shared.text.encode() == LONG
