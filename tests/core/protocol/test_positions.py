import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.errors import ProtocolError
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.positions import (
    MAX_OFFSET,
    MAX_POSITION_LENGTH,
    HistoryBatch,
    Position,
    parse_position,
    position_text,
    tag_runs,
)

EPOCHS = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=32)
TYPES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=40).filter(lambda text: text[0].isalpha())
OFFSETS = st.dictionaries(TYPES, st.integers(0, MAX_OFFSET), max_size=20)


@given(EPOCHS, OFFSETS)
def test_a_position_survives_its_text(epoch, offsets):
    position = Position(epoch, offsets)
    assert parse_position(position.text()) == position
    assert position_text(epoch, offsets) == position.text()


def test_the_text_of_a_position():
    assert Position("e1", {"system": 5, "hero": 0}).text() == "e1:system=5,hero=0"
    assert parse_position("e1:") == Position("e1", {})


@pytest.mark.parametrize(
    "text",
    [
        *("", "e", ":", ":system=1", "E:system=1", "e e:system=1", f"{'e' * 33}:system=1", "é:system=1"),
        *("e:system", "e:system=", "e:=1", "e:system=1,", "e:,system=1", "e:system=1;hero=2", "e:system=1,hero"),
        *("e:system=-1", "e:system=+1", "e:system=1.0", "e:system= 1", "e:system=1_0", "e:system=1e3", "e:system=٣"),
        *("e:System=1", "e:1system=1", "e:sys-tem=1", f"e:{'s' * 41}=1"),
        *(f"e:system={MAX_OFFSET + 1}", f"e:system={'0' * 17}", f"e:system={'1' * 5000}"),
        "e:" + ",".join(f"t{number}=1" for number in range(MAX_POSITION_LENGTH // 4)),
    ],
)
def test_a_malformed_position_is_quoted(text):
    with pytest.raises(ProtocolError, match="must be a `position` as the server sent it") as raised:
        parse_position(text)
    assert len(str(raised.value)) < 300


@given(st.text(max_size=60) | st.from_regex(r"[0-9a-z]{1,4}:([a-z]{1,3}=[0-9]{1,17},?){0,3}"))
def test_a_text_is_a_position_or_a_protocol_error(text):
    try:
        position = parse_position(text)
    except ProtocolError:
        return
    assert parse_position(position.text()) == position


def metric(number: int, source: str = "a") -> Metric:
    return Metric("system", source, float(number), (), b'{"data":{"n":%d}}' % number)


def batch(count: int, first: int = 10, **fields) -> HistoryBatch:
    return HistoryBatch(
        "system", "e", first, 1, 0.0, [metric(number) for number in range(first, first + count)], **fields
    )


@given(st.integers(0, 5), st.integers(0, 20), st.integers(0, 20))
def test_a_batch_is_cut_between_two_offsets(count, offset, until):
    whole = batch(count)
    assert whole.end == 10 + count
    for part, numbers in (
        (whole.after(offset), range(max(10, offset), 10 + count)),
        (whole.before(until), range(10, min(until, 10 + count))),
        (whole.after(offset).before(until), range(max(10, offset), min(until, 10 + count))),
    ):
        assert [int(item.timestamp) for item in part.metrics] == list(numbers)
        if numbers:
            assert (part.first, part.end) == (numbers[0], numbers[-1] + 1)
    assert whole.after(10) is whole
    assert whole.before(10 + count) is whole


def test_a_batch_survives_msgpack():
    whole = batch(3, runs={"a": ("r1", "r2")})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(whole), type=HistoryBatch) == whole


def test_a_batch_without_runs_keeps_its_metrics():
    whole = batch(3)
    assert tag_runs(whole) is whole.metrics


def test_metrics_get_the_run_of_their_source_that_was_started_last():
    metrics = [metric(1), metric(2, "b"), metric(3, "c")]
    runs = {"a": ("r1",), "b": ("r1", 'r"2')}
    tagged = tag_runs(HistoryBatch("system", "e", 0, 1, 0.0, metrics, runs))
    assert [item.body for item in tagged] == [
        b'{"data":{"n":1},"run":"r1"}',
        b'{"data":{"n":2},"run":"r\\"2"}',
        b'{"data":{"n":3}}',
    ]
    assert tagged[2] is metrics[2]
    assert [item.key for item in tagged] == [item.key for item in metrics]
    assert metrics[0] == metric(1)
