"""Make any text fit as a part of the key of a row."""

from __future__ import annotations

import re
import zlib

from metrics_stream.core.metrics.metric import MAX_TERM_LENGTH

# Control characters, halves of surrogate pairs, and spaces of all kinds.
_UNPRINTABLE = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def key_part(text: object, *, empty: str = "(none)") -> str:
    """Return a text as a part of a row's key: on one line, at most MAX_TERM_LENGTH characters, and never empty.

    A longer text ends with a checksum, so that texts with the same beginning stay apart.
    """
    tidy = _UNPRINTABLE.sub(" ", str(text)).strip()
    if len(tidy) > MAX_TERM_LENGTH:
        ending = f"… {zlib.crc32(tidy.encode()):08x}"
        return tidy[: MAX_TERM_LENGTH - len(ending)] + ending
    return tidy or empty
