"""Tiers: the widths of the buckets of recorded series, and how many buckets a row of the database holds.

Each tier serves charts of a certain length. With 300 points, the tier of 60 s serves 5 hours and more, that of 600 s 50
hours, that of 3,600 s two weeks, and that of 21,600 s three months.
"""

FINEST = 1
"""In seconds. Metrics are folded into this tier; a minute of it is folded into the coarser tiers when it is closed."""

MINUTE = 60
"""In seconds: the span of a row of the finest tier."""

COARSE = (10, 60)
"""Their buckets divide a minute, so a minute that is closed is put into them at once."""

WIDE = (600, 3_600, 21_600)
"""A bucket of these is made of the next finer tier, once it is over; `TestRun.tiers_until` says how far they go."""

TIERS = (FINEST, *COARSE, *WIDE)

_BUCKETS_IN_COARSE_ROW = 180
"""Each wider bucket lies within one row of the next finer tier: 180 x 60 s is 3 h, 180 x 600 s is 30 h."""


def span_seconds(bucket_seconds: int) -> int:
    """Return the seconds that a row of a tier spans."""
    return MINUTE if bucket_seconds == FINEST else bucket_seconds * _BUCKETS_IN_COARSE_ROW


def row_start(bucket_seconds: int, at: float) -> int:
    """Return the start of the row that holds the instant `at`."""
    span = span_seconds(bucket_seconds)
    return int(at // span) * span


def finer_than(bucket_seconds: int) -> int:
    """Return the tier of which a tier's buckets are made."""
    return TIERS[TIERS.index(bucket_seconds) - 1]
