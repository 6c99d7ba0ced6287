"""Times mean the same at every door: the functions, the Broadcaster, HTTP and the socket."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from metrics_stream.broadcast import functions
from metrics_stream.core.errors import ItemError, MetricError, ProtocolError
from tests.support.doors import AT, HELPERS, NOW, through_http, through_socket


class NumpyScalar:
    """What np.int64, np.float32 and np.datetime64 have in common."""

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value

    def tolist(self):
        return self.value


WIRE_TIMES = [
    "2026-01-31T12:00:00.25Z",
    "2026-01-31T12:00:00.250000Z",
    "2026-01-31T12:00:00.250000000Z",
    "2026-01-31T12:00:00,25Z",
    "2026-01-31T12:00:00.25",
    "2026-01-31 12:00:00.25",
    "2026-01-31 12:00:00.25 UTC",
    "2026-01-31t12:00:00.25z",
    " 2026-01-31T12:00:00.25Z\n",
    "2026-01-31T12:00:00.25+00:00",
    "2026-01-31T14:00:00.25+02:00",
    "2026-01-31T14:00:00.25+0200",
    "2026-01-31 14:00:00.25 +02",
    "2026-01-31T06:30:00.25-05:30",
    "20260131T120000.25Z",
    AT,
    AT * 1_000,
    int(AT * 1_000),
    int(AT * 1_000_000),
    int(AT * 1_000) * 1_000_000,
    str(AT),
    "1769860800250",
    "1769860800250000",
    "1769860800250000000",
    "1.76986080025e9",
]
TIMES = [
    *WIRE_TIMES,
    datetime(2026, 1, 31, 12, 0, 0, 250_000),  # noqa: DTZ001  naive on purpose
    datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC),
    datetime(2026, 1, 31, 14, 0, 0, 250_000, timezone(timedelta(hours=2))),
    Decimal("1769860800.25"),
    NumpyScalar(AT),
    NumpyScalar(datetime(2026, 1, 31, 12, 0, 0, 250_000)),  # noqa: DTZ001  as datetime64 gives it
    NumpyScalar(int(AT * 1_000) * 1_000_000),
]


@pytest.mark.parametrize("door", HELPERS)
async def test_every_form_of_a_time_is_taken_by_the_helper(door, kept):
    for given in TIMES:
        await door({"metric_type": "system", "data": {"n": 1}, "timestamp": given})
        assert (given, kept[-1].timestamp) == (given, AT)
    assert len(kept) == len(TIMES)


@pytest.mark.parametrize("given", WIRE_TIMES, ids=str)
def test_every_form_of_a_time_is_taken_over_http_and_the_socket(given):
    assert through_http({"metric_type": "system", "data": {"n": 1}, "timestamp": given}).timestamp == AT
    assert through_socket(given) == AT


@pytest.mark.parametrize("given", ["2026-01-31", "20260131", "2026-W05-6"])
async def test_a_day_is_its_midnight(given, kept):
    assert through_http({"metric_type": "system", "data": {"n": 1}, "timestamp": given}).timestamp == 1_769_817_600.0
    for day in (given, datetime(2026, 1, 31).date()):  # noqa: DTZ001
        await functions.broadcast("system", {"n": 1}, day)
        assert kept[-1].timestamp == 1_769_817_600.0


async def test_without_a_time_it_is_now(kept):
    assert through_http({"metric_type": "system", "data": {"n": 1}, "timestamp": None}).timestamp == NOW
    for door in HELPERS:
        before = datetime.now(UTC).timestamp()
        await door({"metric_type": "system", "data": {"n": 1}, "timestamp": None})
        assert before <= kept[-1].timestamp <= datetime.now(UTC).timestamp()


@pytest.mark.parametrize("given", ["yesterday", "", "2026-13-01", "nan", True, "1e999", [], {}], ids=str)
async def test_what_is_no_time_is_refused_in_the_same_words(given, kept):
    with pytest.raises(ItemError) as refused:
        through_http({"metric_type": "system", "data": {"n": 1}, "timestamp": given})
    words = str(refused.value)
    assert refused.value.code == "invalid_timestamp"
    assert "allowed: a datetime, ISO 8601 such as 2026-01-31T12:00:00Z, or seconds or milliseconds since 1970" in words
    for door in HELPERS:
        with pytest.raises(MetricError) as caught:
            await door({"metric_type": "system", "data": {"n": 1}, "timestamp": given})
        assert str(caught.value) == words
    with pytest.raises(ProtocolError, match="ISO 8601, such as 2026-01-31T12:00:00Z, or seconds or milliseconds"):
        through_socket(given)
    assert not kept


@pytest.mark.parametrize("given", ["-1", -1, -1e22, 0, "1999-12-31", 1e22, "9999-12-31T23:59:59-14:00"], ids=str)
async def test_an_absurd_time_is_refused_with_the_nearest_that_is_allowed(given, kept):
    with pytest.raises(ItemError, match=r"allowed: (2000-01-01T00:00:00Z or later|at most 24 h ahead of now)"):
        through_http({"metric_type": "system", "data": {"n": 1}, "timestamp": given})
    for door in HELPERS:
        with pytest.raises(MetricError, match=r"allowed: (2000-01-01T00:00:00Z or later|at most 24 h ahead of now)"):
            await door({"metric_type": "system", "data": {"n": 1}, "timestamp": given})
