import io
import json
import logging
import logging.config

import pytest
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError

from project.logs import Outage, logging_configuration

SECRET_LINES = [
    "Not Found: /ws/metrics/?token=mst_0a1b2c3d_5e6f7a8b9c0d1e2f&preset=x",
    "rejected mst_0a1b2c3d_5e6f7a8b9c0d1e2f from 10.0.0.1",
    "Cookie: csrftoken=hunter5; sessionid=hunter6",
    "rediss://:hunter7@redis.example.org:6380/0 is away",
]


@pytest.fixture
def written(request):
    """Return what a logger with the project's configuration writes."""
    configuration = logging_configuration(request.param, "INFO")
    stream = io.StringIO()
    configuration["handlers"]["console"]["stream"] = stream
    configuration["loggers"] = {
        "tests.logs": {"handlers": ["console"], "level": "INFO", "propagate": False},
    }
    del configuration["root"]
    logging.config.dictConfig(configuration)
    with structlog.contextvars.bound_contextvars(client_id="c0ffee"):
        logger = logging.getLogger("tests.logs")
        logger.warning("Bad Request: %s", "/share/seven-of-nine/?x=1")
        logger.info("a client took nothing for %d s", 10, extra={"status_code": 3, "request": object()})
        for line in SECRET_LINES:
            logger.info(line)
        try:
            raise ValueError("cannot connect to postgres://app:hunter4@db/metrics")
        except ValueError:
            logger.exception("no database")
        try:
            secret = "hunter2"  # noqa: F841  must not appear in the log
            raise ValueError("bad value 'é'")
        except ValueError:
            logger.exception("failed")
    return stream.getvalue()


@pytest.mark.parametrize("written", ["json"], indirect=True)
def test_json_is_one_object_a_line_with_the_client_id(written):
    _, first, *_, second = map(json.loads, written.splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "a client took nothing for 10 s",
        "level": "info",
        "logger": "tests.logs",
        "client_id": "c0ffee",
        "status_code": 3,
    }
    assert (second["event"], second["client_id"]) == ("failed", "c0ffee")
    assert "ValueError: bad value 'é'" in second["exception"]
    assert "hunter2" not in written


@pytest.mark.parametrize(("error", "has_traceback"), [(RedisConnectionError("gone"), False), (KeyError("gone"), True)])
def test_a_redis_that_is_away_takes_one_line(error, has_traceback):
    record = logging.LogRecord("channels_redis.pubsub", logging.ERROR, "", 0, "receive task", (), (None, error, None))
    assert Outage().filter(record)
    assert (record.exc_info is not None) == has_traceback
    assert record.getMessage() == ("receive task" if has_traceback else "receive task: gone")
    assert logging_configuration("text", "INFO")["loggers"]["channels_redis.pubsub"]["filters"] == ["outage"]


@pytest.mark.parametrize("written", ["text"], indirect=True)
def test_text_is_for_people_and_shows_no_local_variables(written):
    assert "[info] a client took nothing for 10 s [tests.logs] client_id=c0ffee status_code=3" in written
    assert "ValueError: bad value 'é'" in written
    assert "hunter2" not in written


@pytest.mark.parametrize("written", ["text", "json"], indirect=True)
def test_address_of_a_share_link_is_not_written_in_full(written):
    assert "Bad Request: /share/***/?x=1" in written
    assert "seven-of-nine" not in written


@pytest.mark.parametrize("written", ["text", "json"], indirect=True)
def test_no_line_and_no_traceback_holds_a_secret(written):
    assert "Not Found: /ws/metrics/?token=***&preset=x" in written
    assert "rejected mst_0a1b2c3d_*** from 10.0.0.1" in written
    assert "csrftoken=***; sessionid=***" in written
    assert "rediss://:***@redis.example.org:6380/0 is away" in written
    assert "postgres://app:***@db/metrics" in written
    assert "hunter" not in written
    assert "5e6f7a8b" not in written
