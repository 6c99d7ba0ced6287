"""The timestamps of items: refused with words where no chart could show them."""

import pytest

from metrics_stream.core.errors import ItemError
from metrics_stream.core.formats.native import read_item
from metrics_stream.core.protocol.codes import ItemErrorCode
from tests.core.formats.test_native import TERMS

NOW = 1_769_817_600.0  # 2026-01-31T00:00:00Z


def read(timestamp):
    return read_item({"metric_type": "system", "data": {"n": 1}, "timestamp": timestamp}, TERMS, NOW).timestamp


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, NOW),
        (NOW + 1800, NOW + 1800),
        ("2000-01-01", 946_684_800.0),
        ("2026-02-01T00:00:00Z", NOW + 86_400),
        ("2026-02-01T09:00:00+09:00", NOW + 86_400),
    ],
)
def test_a_clock_that_is_off_is_taken(given, seconds):
    assert read(given) == seconds


@pytest.mark.parametrize(
    "given", [0, 1.5, -0.0, 946_684_799, "1999-12-31T23:59:59Z", "1970-01-01", "0001-01-01T00:00:00+14:00"]
)
def test_a_time_before_2000_is_refused(given):
    with pytest.raises(ItemError, match="allowed: 2000-01-01T00:00:00Z or later") as error:
        read(given)
    assert (error.value.code, error.value.path) == (ItemErrorCode.INVALID_TIMESTAMP, "timestamp")


@pytest.mark.parametrize("given", [4_102_444_800, NOW + 86_401, "2100-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"])
def test_a_time_more_than_a_day_ahead_is_refused(given):
    with pytest.raises(ItemError, match="allowed: at most 24 h ahead of now, which is 2026-01-31T00:00:00Z") as error:
        read(given)
    assert (error.value.code, error.value.path) == (ItemErrorCode.INVALID_TIMESTAMP, "timestamp")
