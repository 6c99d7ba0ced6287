"""How wide the buckets of recorded series are, and how many of them a row of the database holds."""

FINEST = 1
"""Seconds. Metrics are folded into these; the coarser tiers are made of them, when nothing is added any more."""

MINUTE = 60
"""Seconds that a row of the finest tier spans; a multiple of every bucket, so that each is closed with its minute."""

COARSE = (10, 60)
TIERS = (FINEST, *COARSE)

_BUCKETS_IN_COARSE_ROW = 180


def span_seconds(bucket_seconds: int) -> int:
    """Return how much time a row spans."""
    return MINUTE if bucket_seconds == FINEST else bucket_seconds * _BUCKETS_IN_COARSE_ROW


def row_start(bucket_seconds: int, at: float) -> int:
    """Return when the row begins in which the instant lies."""
    span = span_seconds(bucket_seconds)
    return int(at // span) * span
