"""client/format.js: numbers with their units."""

import pytest
from playwright.sync_api import Page

from metrics_stream.core.formatting import format_number
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
    (1.15, "multiple", "1.15 ×"),
    (1e-12, "", "1.00e-12"),
    (-2e-5, "$", "-$2.00e-5"),
    (0.0123, "ms", "0.0123 ms"),
    (12_300, "MB", "12.3 GB"),
    (1.26e9, "bytes", "1.26 GB"),
    (512, "B", "512 B"),
    (0.5, "MB", "500 kB"),
    (999.7, "kB", "1.00 MB"),
    (95e6, "bit/s", "95.0 Mbit/s"),
    (0.01, "Mbps", "10.0 kbps"),
    (1536, "KiB", "1.50 MiB"),
    (1e21, "B", "1,000,000 PB"),
    (0, "MB", "0.00 MB"),
    (-2048, "bytes/s", "-2.05 kB/s"),
]


def test_numbers_are_written_with_their_units(page: Page):
    code = "return argument.map(([value, unit]) => module.formatNumber(value, unit))"
    shown = run(page, "client/format", code, [[value, unit] for value, unit, _ in NUMBERS])
    assert shown == [text.replace(" ", "\u00a0") for _, _, text in NUMBERS]


def test_numbers_look_alike_on_the_pages_that_the_server_renders():
    for value, unit, text in NUMBERS:
        assert format_number(value, unit) == text.replace(" ", "\u00a0")


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("fraud_detection_rate", "Fraud detection rate"),
        ("cpu_load", "CPU load"),
        ("p99_latency_ms", "p99 latency ms"),
        ("GET /api/x", "GET /api/x"),
        ("get_user by id", "get_user by id"),
        ("responseTime", "responseTime"),
        ("http://a_b/c", "http://a_b/c"),
        ("EC2", "EC2"),
    ],
)
def test_only_identifiers_are_rewritten(page: Page, key: str, label: str):
    assert run(page, "client/format", "return module.humanize(argument)", key) == label


TICKS = [
    ((0, 1e-12, ""), ["0", "2.5e-13", "5e-13", "7.5e-13", "1e-12"]),
    ((0, 1.6e300, ""), ["0", "5e299", "1e300", "1.5e300"]),
    ((-3e-7, 5e-7, ""), ["-2e-7", "0", "2e-7", "4e-7"]),
    ((0, 112, "ms"), ["0 ms", "50 ms", "100 ms"]),
    ((0, 0.0112, "ratio"), ["0.0 %", "0.5 %", "1.0 %"]),
    ((0, 1.4e9, "bytes"), ["0.0 GB", "0.5 GB", "1.0 GB"]),
    ((0, 340, "kbit/s"), ["0 kbit/s", "100 kbit/s", "200 kbit/s", "300 kbit/s"]),
    ((0, 1_200_000, ""), ["0", "0.5M", "1.0M"]),
    ((0, 0.08, "$"), ["$0", "$0.02", "$0.04", "$0.06", "$0.08"]),
]


def test_ticks_suit_the_size_of_the_values(page: Page):
    code = "return argument.map(([low, high, unit]) => module.valueLabels(module.ticksBetween(low, high, 4), unit))"
    shown = run(page, "charts/value_axis", code, [list(case) for case, _ in TICKS])
    assert shown == [[text.replace(" ", "\u00a0") for text in texts] for _, texts in TICKS]


def test_fixed_decimals_leave_out_magnitudes(page: Page):
    code = "return module.formatNumber(1234567.891, '$', 0)"
    assert run(page, "client/format", code) == "$1,234,568"
