"""How the log looks: structlog formats what the standard `logging` is told, by us, Django and uvicorn alike."""

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

LOG_RENDERERS: dict[str, list[structlog.typing.Processor]] = {
    # Plain tracebacks: those with the values of local variables would put secrets into the log.
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

# What is shown of a record's `extra`; Django gives whole requests.
EXTRA = ("client_id", "status_code")

_SHARE_ADDRESS = re.compile(r"/share/[^\s/?\"']+")


def without_share_links(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return an event without the text of a share link: Django names the address when an answer is an error."""
    event["event"] = _SHARE_ADDRESS.sub("/share/***", str(event["event"]))
    return event


class Outage(logging.Filter):
    """Says in one line that Redis is away, which channels_redis says every second with two tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record; of a lost connection only what went wrong."""
        from redis.exceptions import RedisError  # not above: who logs this has it loaded, and most commands never do

        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, RedisError | OSError):
            record.msg, record.args = "%s: %s", (record.getMessage(), error)
            record.exc_info = None
        return True


def logging_configuration(log_format: str, level: str) -> dict[str, Any]:
    """Return Django's LOGGING; `log_format` is a key of LOG_RENDERERS, `level` how much metrics_stream says."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [
                    structlog.stdlib.add_log_level,
                    structlog.stdlib.add_logger_name,
                    # Bound to the task of a socket, or given as `extra`.
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
            # Django brings a handler of its own, for DEBUG; two would say everything twice.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
        },
    }
