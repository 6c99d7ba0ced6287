"""DDSketch: a summary of many values that gives their percentiles and can be merged with other sketches.

Values are counted in bins whose bounds grow by a constant factor, so that every percentile is within ACCURACY of the
exact one, in whatever order sketches were merged. Bins are numbered as in DDSketch's logarithmic mapping
(https://www.vldb.org/pvldb/vol12/p2195-masson.pdf), for which other languages have libraries.
"""

from __future__ import annotations

import math
import threading
from typing import Annotated, Any

import msgspec

from metrics_stream.core.errors import SketchError
from metrics_stream.core.metrics.percentiles import rank_of

ACCURACY = 0.01

# The natural logarithm of the factor between the bounds of a bin. Bin n holds values over e^(WIDTH * (n - 1)), up to
# and including e^(WIDTH * n).
WIDTH = math.log1p(2 * ACCURACY / (1 - ACCURACY))

# A value up to SMALLEST counts as zero. A value from LARGEST on, or NaN, does not count.
SMALLEST = 1e-9
LARGEST = 1e300

# The default bound of DDSketch. It spans 17 powers of ten, more than any measurement in a test. Beyond it the lowest
# bins are joined, which leaves the high percentiles as they are.
MAX_BINS = 2048

_MAX_BIN = math.ceil(math.log(LARGEST) / WIDTH)
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Bin = Annotated[int, msgspec.Meta(ge=-_MAX_BIN, le=_MAX_BIN)]


class EncodedSketch(msgspec.Struct, frozen=True):
    """A sketch as it is encoded in a metric; `bins` has the count of each bin by its number.

    `max` is the highest value. Without it a percentile can exceed the highest value by up to ACCURACY.
    """

    accuracy: float
    bins: dict[_Bin, _Count]
    zeros: _Count = 0
    max: float | None = None


class Sketch:
    """Counts values and returns their percentiles. Thread-safe."""

    __slots__ = ("_bins", "_lock", "_max", "_zeros")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._bins: dict[int, int] = {}
        self._zeros = 0
        self._max = -math.inf

    def __len__(self) -> int:
        """Return how many values were counted."""
        with self._lock:
            return self._zeros + sum(self._bins.values())

    @property
    def bin_count(self) -> int:
        """The number of bins in use."""
        return len(self._bins)

    def add(self, value: float, *, count: int = 1) -> None:
        """Count a value, such as a duration, that is not negative; `count` equal values at once."""
        if count < 1:
            raise ValueError(f"count is {count}; it must be at least 1")
        number = None
        if SMALLEST < value < LARGEST:
            number = math.ceil(math.log(value) / WIDTH)
        elif not value <= SMALLEST:
            return
        with self._lock:
            if number is None:
                self._zeros += count
            else:
                self._bins[number] = self._bins.get(number, 0) + count
            self._max = max(self._max, value)
            if len(self._bins) > MAX_BINS:
                self._collapse()

    def _collapse(self) -> None:
        numbers = sorted(self._bins)
        lowest = numbers[-MAX_BINS]
        for number in numbers[:-MAX_BINS]:
            self._bins[lowest] += self._bins.pop(number)

    def take(self) -> Sketch:
        """Return a sketch of the values counted so far and start empty; each value is in exactly one of the two."""
        taken = Sketch()
        with self._lock:
            taken._bins, taken._zeros, taken._max = self._bins, self._zeros, self._max
            self._clear()
        return taken

    def merge(self, other: Sketch | EncodedSketch) -> None:
        """Add the counts of another sketch."""
        encoded = other.encode() if isinstance(other, Sketch) else other
        with self._lock:
            bins = self._bins
            for number, count in encoded.bins.items():
                bins[number] = bins.get(number, 0) + count
            self._zeros += encoded.zeros
            if encoded.bins or encoded.zeros:
                self._max = max(self._max, math.inf if encoded.max is None else encoded.max)
            if len(bins) > MAX_BINS:
                self._collapse()

    def quantile(self, share: float) -> float | None:
        """Return the quantile for `share` (0 to 1), or None if no value was counted.

        That is the value with the index `floor(share * count)` among the sorted values, as `rank_of` says.
        """
        with self._lock:
            count = self._zeros + sum(self._bins.values())
            if not count:
                return None
            rank = rank_of(share, count)
            passed, value = self._zeros, 0.0
            for number in sorted(self._bins):
                if passed > rank:
                    break
                passed += self._bins[number]
                # This value has the same relative distance to both bounds of the bin.
                value = math.exp(WIDTH * number) * (1 - ACCURACY)
            # A percentile must not exceed the maximum that is shown beside it.
            return min(value, self._max)

    def encode(self) -> EncodedSketch:
        """Return the sketch as it is sent in a metric under `sketches`."""
        with self._lock:
            known_max = self._max if math.isfinite(self._max) else None
            return EncodedSketch(accuracy=ACCURACY, bins=dict(self._bins), zeros=self._zeros, max=known_max)


def decode_sketch(value: Any) -> EncodedSketch:
    """Return a decoded JSON value as a sketch; raise SketchError if it is malformed or has another accuracy."""
    try:
        encoded = msgspec.convert(value, EncodedSketch, str_keys=True)
    except msgspec.ValidationError as error:
        raise SketchError(f"not a sketch: {error}") from error
    if encoded.accuracy != ACCURACY:
        raise SketchError(f"the sketch has the accuracy {encoded.accuracy}; allowed: {ACCURACY}")
    return encoded
