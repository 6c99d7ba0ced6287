"""Build the frames for a window of metrics: a gap for each reason of loss, then the data, as shareable messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from metrics_stream.core.delivery.pending import Item, Loss
from metrics_stream.core.protocol.messages import Gap
from metrics_stream.core.protocol.parsing import encode, encode_metrics
from metrics_stream.core.protocol.prepared_message import CompressionContext, PreparedMessage

# By default, client libraries accept messages of up to 1 MiB.
MAX_FRAME_BYTES = 1_000_000


class Frames(NamedTuple):
    """Messages in order: the last `data_texts` of them hold `metrics` metrics; all have `size` bytes together."""

    texts: tuple[PreparedMessage, ...]
    metrics: int
    data_texts: int
    loss: Loss
    size: int


def build_frames(
    items: list[Item],
    loss: Loss,
    context: CompressionContext | None = None,
    *,
    is_for_many: bool = False,
    position: str | None = None,
    replayed: bool = False,
    singly: bool = False,
) -> Frames:
    """Return a gap for each reason of a loss, then the metrics, whose compression continues at `context`.

    With `singly` each metric has a frame of its own. Only the last frame has the `position`, because a client reaches
    it with the last metric.
    """
    metric_types = tuple(sorted(loss.metric_types))
    gaps = [
        PreparedMessage(encode(Gap(reason=reason, dropped=dropped, metric_types=metric_types)).encode())
        for reason, dropped in loss.counts.items()
    ]
    form = _Form(is_for_many, position, replayed)
    parts = [[item] for item in items] if singly else [items] * bool(items)
    data = list(_texts_of_parts(parts, context, form))
    texts = (*gaps, *data)
    return Frames(texts, len(items), len(data), loss, sum(len(text.data) for text in texts))


class _Form(NamedTuple):
    is_for_many: bool
    position: str | None
    replayed: bool


def _data_texts(items: list[Item], context: CompressionContext | None, form: _Form) -> Iterator[PreparedMessage]:
    """Yield one frame of these metrics, or several if one would be too large for clients."""
    data = encode_metrics([item.body for item in items], position=form.position, replayed=form.replayed)
    half = len(items) // 2
    if len(data) <= MAX_FRAME_BYTES or not half:
        yield PreparedMessage(data, context, is_for_many=form.is_for_many)
        return
    yield from _texts_of_parts([items[:half], items[half:]], context, form)


def _texts_of_parts(
    parts: Sequence[list[Item]], context: CompressionContext | None, form: _Form
) -> Iterator[PreparedMessage]:
    for number, part in enumerate(parts, 1):
        is_last = number == len(parts)
        for text in _data_texts(part, context, form if is_last else form._replace(position=None)):
            context = text.after
            yield text
