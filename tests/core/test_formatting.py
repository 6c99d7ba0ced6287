"""Numbers, durations and quoted values as people read them; a browser test compares the browser's numbers."""

import math

import pytest

from metrics_stream.core.formatting import NO_VALUE, format_duration, format_number, quote


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", NO_VALUE),
        (math.nan, "", NO_VALUE),
        (math.inf, "ms", NO_VALUE),
        (0.034, "", "0.0340"),
        (132.4, "", "132"),
        (9_999, "", "9,999"),
        (12_345, "", "12.3k"),
        (999_950, "", "1.00M"),
        (-0.0, "", "0.00"),
        (0.872, "ratio", "87.2 %"),
        (0.0012, "ratio", "0.12 %"),
        (99.95, "percent", "99.95 %"),
        (12.34, "ms", "12.3 ms"),
        (1_234, "ms", "1.23 s"),
        (90_000, "ms", "1.5 min"),
        (950.4, "tps", "950 tps"),
        (123_456, "count", "123,456"),
        (1_234_567, "count", "1.23M"),
        (-3.2, "$", "-$3.20"),
        (12_500, "$", "$12.5k"),
        (7_200, "s", "2.0 h"),
        (3.5, "widgets", "3.50 widgets"),
        (0.125, "$", "$0.13"),
        (2.0**63, "", "9.22e18"),
        (1.7976931348623157e308, "ms", "3.00e303 min"),
    ],
)
def test_a_number_has_its_unit(value, unit, text):
    assert format_number(value, unit).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, NO_VALUE),
        (0, "0 s"),
        (0.6, "1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (93, "1 min 33 s"),
        (3_600, "1 h"),
        (3_605, "1 h"),
        (7_500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (86_400 * 3 + 59, "3 d"),
        (-5, "0 s"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, text):
    assert format_duration(seconds).replace("\u00a0", " ") == text


def nest(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a'b\n", '"a\'b\\n"'),
        ("x" * 61, f"'{'x' * 60}…'"),
        (None, "null"),
        (True, "true"),
        (0.5, "0.5"),
        (math.nan, "nan"),
        ([1, "a"], '[1,"a"]'),
        ({"a": "x" * 60}, '{"a":"' + "x" * 54 + "…"),
        (2**70, "1180591620717411303424"),
        (10**400, "1" + "0" * 59 + "…"),
        (10**5_000, "a number of too many digits"),
        (object, "<class 'object'>"),
        ("\ud800", "'\\ud800'"),
        (["\ud800"], "['\\ud800']"),
        (nest(100_000), "a value that is nested too deeply"),
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, list | int) else "value",
)
def test_a_value_is_quoted(value, text):
    assert quote(value) == text
