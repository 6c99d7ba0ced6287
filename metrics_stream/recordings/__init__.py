"""What is recorded of test runs: written by one `Writer`, read by pages and replays, thinned out by `prune`.

Synchronous, on Django's ORM: call it in a thread. Room: above the models; knows no channel layer and no history.
"""

from metrics_stream.recordings.published import RecordedPage, metrics, newest_before, rows
from metrics_stream.recordings.queries import SeriesSummary, keys, overviews, series, summary
from metrics_stream.recordings.retention import Pruned, prune
from metrics_stream.recordings.writer import LeaseLost, Writer

__all__ = [
    "LeaseLost",
    "Pruned",
    "RecordedPage",
    "SeriesSummary",
    "Writer",
    "keys",
    "metrics",
    "newest_before",
    "overviews",
    "prune",
    "rows",
    "series",
    "summary",
]
