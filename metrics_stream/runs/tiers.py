"""Tiers: the widths of the buckets of recorded series, and how many buckets a row of the database holds."""

FINEST = 1
"""In seconds. Metrics are folded into this tier; a minute of it is folded into the coarser tiers when it is closed."""

MINUTE = 60
"""In seconds: the span of a row of the finest tier. Every bucket width divides it, so that buckets end with minutes."""

COARSE = (10, 60)
TIERS = (FINEST, *COARSE)

_BUCKETS_IN_COARSE_ROW = 180


def span_seconds(bucket_seconds: int) -> int:
    """Return the seconds that a row of a tier spans."""
    return MINUTE if bucket_seconds == FINEST else bucket_seconds * _BUCKETS_IN_COARSE_ROW


def row_start(bucket_seconds: int, at: float) -> int:
    """Return the start of the row that holds the instant `at`."""
    span = span_seconds(bucket_seconds)
    return int(at // span) * span
