"""The format of the log: structlog formats the `logging` records of this project, Django and uvicorn."""

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

LOG_RENDERERS: dict[str, list[structlog.typing.Processor]] = {
    # Plain tracebacks: the values of local variables would put secrets into the log.
    "text": [
        structlog.dev.ConsoleRenderer(
            colors=False,
            sort_keys=False,
            pad_event_to=0,
            pad_level=False,
            exception_formatter=structlog.dev.plain_traceback,
        )
    ],
    "json": [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)],
}

# The parts of a record's `extra` that are shown; Django adds whole requests.
EXTRA = ("client_id", "fault", "status_code")

_SHARE_ADDRESS = re.compile(r"/share/[^\s/?\"']+")


def without_share_links(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return an event without the text of share links: Django logs the address of an error response."""
    event["event"] = _SHARE_ADDRESS.sub("/share/***", str(event["event"]))
    return event


class Outage(logging.Filter):
    """Log in one line that Redis is away; channels_redis logs it every second with two tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record; for a lost connection replace the traceback by the error."""
        from redis.exceptions import RedisError  # not above: most commands never load redis

        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, RedisError | OSError):
            record.msg, record.args = "%s: %s", (record.getMessage(), error)
            record.exc_info = None
        return True


def logging_configuration(log_format: str, level: str) -> dict[str, Any]:
    """Return Django's LOGGING; `log_format` is a key of LOG_RENDERERS, `level` the level of metrics_stream."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [
                    structlog.stdlib.add_log_level,
                    structlog.stdlib.add_logger_name,
                    # Bound to the task of a socket, or passed as `extra`.
                    structlog.contextvars.merge_contextvars,
                    structlog.stdlib.ExtraAdder(allow=EXTRA),
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                    without_share_links,
                ],
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *LOG_RENDERERS[log_format]],
            }
        },
        "filters": {"outage": {"()": Outage}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            "metrics_stream": {"level": level},
            "channels_redis.pubsub": {"filters": ["outage"]},
            # Under DEBUG, Django adds its own handler; with two, each line would appear twice.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
        },
    }
