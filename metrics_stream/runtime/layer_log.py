"""What channels_redis logs while Redis is away, as a fault: it logs each failed attempt, every second."""

from __future__ import annotations

import logging

from redis.exceptions import RedisError

from metrics_stream.core.errors import BusError
from metrics_stream.history.redis_errors import explain
from metrics_stream.runtime.bus_watch import BusWatch

_logger = logging.getLogger("channels_redis.pubsub")


class LayerLog(logging.Filter):
    """Turns failures of the connection that receives into a fault, from `start` to `stop`; other records stay."""

    def __init__(self, bus_watch: BusWatch) -> None:
        super().__init__()
        self._bus_watch = bus_watch

    def start(self) -> None:
        """Begin to filter the log of channels_redis."""
        # Before other filters, which may take the error from the record, as that of `project/logs.py` does.
        _logger.filters.insert(0, self)

    def stop(self) -> None:
        """Leave the log of channels_redis as it was."""
        _logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop a record of a failed connection, and note the fault instead."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, RedisError | OSError):
            return True
        self._bus_watch.note_failure("listener", BusError(f"the channel layer could not receive: {explain(error)}"))
        return False
