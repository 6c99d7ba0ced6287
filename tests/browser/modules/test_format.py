"""client/format.js: numbers with their units."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


NUMBERS = [
    (12345, "", "12.3k"),
    (4_560_000, "count", "4.56M"),
    (123456, "count", "123,456"),
    (0.872, "ratio", "87.2 %"),
    (0.0006, "ratio", "0.06 %"),
    (99.95, "percent", "99.95 %"),
    (1, "ratio", "100.0 %"),
    (132.4, "ms", "132 ms"),
    (1300, "ms", "1.30 s"),
    (1_200_000, "$", "$1.20M"),
    (-3.2, "$", "-$3.20"),
    (0.0123, "$", "$0.0123"),
    (999_950, "", "1.00M"),
    (9_999.6, "tps", "10.0k tps"),
    (9.2233720368547758e18, "", "9.22e18"),
    (-1.7976931348623157e308, "ms", "-3.00e303 min"),
    (1.7976931348623157e308, "$", "$1.80e308"),
    (-0.00001, "ratio", "0.00 %"),
    (3.5, "months", "3.50 months"),
    (7, "widgets", "7.00 widgets"),
    (None, "ms", "\u2013"),
]


def test_numbers_are_written_with_their_units(page: Page):
    code = "return argument.map(([value, unit]) => module.formatNumber(value, unit))"
    shown = run(page, "client/format", code, [[value, unit] for value, unit, _ in NUMBERS])
    assert shown == [text.replace(" ", "\u00a0") for _, _, text in NUMBERS]


def test_fixed_decimals_leave_out_magnitudes(page: Page):
    code = "return module.formatNumber(1234567.891, '$', 0)"
    assert run(page, "client/format", code) == "$1,234,568"
