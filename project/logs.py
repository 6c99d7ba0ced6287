"""The format of the log: structlog formats the `logging` records of this project, Django and uvicorn."""

import logging
import re
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

# Whoever has one of these can use it. Addresses of share links are in Django's messages on errors; the others come from
# the errors of libraries, and from people who put a token into an address.
_SECRETS = (
    (re.compile(r"(/share/)[^\s/?\"'\\]+"), r"\1***"),
    (re.compile(r"\b(mst_[0-9A-Za-z]{8}_)[0-9A-Za-z]+"), r"\1***"),
    (re.compile(r"(\w://[^\s:/@\"']*:)[^\s/\"']+@"), r"\1***@"),
    (re.compile(r"(?i)\b((?:access_token|token|sessionid|csrftoken|password|secret_key)=)[^\s&;\"'\\]+"), r"\1***"),
)


def without_secrets(_: Any, __: str, line: str) -> str:
    """Return a line of the log, its traceback included, without secrets."""
    for pattern, shown in _SECRETS:
        line = pattern.sub(shown, line)
    return line


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
                ],
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *LOG_RENDERERS[log_format],
                    without_secrets,
                ],
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
