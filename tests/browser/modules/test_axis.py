"""charts/axis.js and client/time_of_day.js: times of day, and dates where days change."""

import pytest
from playwright.sync_api import Page

from tests.support.browser_modules import run

pytestmark = pytest.mark.browser


def texts(page: Page, splits: str) -> list[str]:
    """Return the labels of the times that an expression gives; `at(day, hour, minute)` is of November of this year."""
    code = f"""
      const at = (day, hour = 0, minute = 0, second = 0) =>
        new Date(new Date().getFullYear(), 10, day, hour, minute, second).getTime() / 1000;
      return module.timeTexts({splits});
    """
    return run(page, "charts/axis", code)


def test_times_within_a_day_have_no_date(page: Page):
    assert texts(page, "[at(5, 9), at(5, 9, 5), at(5, 9, 10)]") == ["09:00", "09:05", "09:10"]
    assert texts(page, "[at(5, 9, 0, 30), at(5, 9, 1)]") == ["09:00:30", "09:01:00"]


def test_the_date_stands_where_a_day_begins(page: Page):
    found = texts(page, "[at(5, 18), at(6), at(6, 6), at(6, 12), at(6, 18), at(7)]")
    assert found == ["18:00", "Nov 6", "06:00", "12:00", "18:00", "Nov 7"]
    assert texts(page, "[at(5), at(8), at(11)]") == ["Nov 5", "Nov 8", "Nov 11"]


def test_a_day_without_a_split_at_its_beginning_has_its_date_at_the_next(page: Page):
    assert texts(page, "[at(5, 22), at(6, 1), at(6, 4)]") == ["22:00", "Nov 6, 01:00", "04:00"]


def test_another_year_is_named(page: Page):
    [found] = run(page, "charts/axis", "return module.timeTexts([new Date(2019, 2, 1).getTime() / 1000]);")
    assert found == "Mar 1, 2019"


def test_an_instant_of_another_day_has_its_day(page: Page):
    code = """
      const texts = [Date.now(), Date.now() - 3 * 86_400_000].map((at) => module.formatInstant(at));
      return texts.map((text) => text.length);
    """
    today, before = run(page, "client/time_of_day", code)
    assert today == len("09:00:00") < before


def test_long_spans_are_in_days(page: Page):
    code = """
      const hour = 3_600_000;
      return [247_000, hour + 150_000, 47.5 * hour, 72 * hour, 21 * 24 * hour + 61_000].map(module.formatSpan);
    """
    spans = run(page, "pages/timebar", code)
    assert [span.replace("\u00a0", " ") for span in spans] == [
        "4:07",
        "1:02:30",
        "1 d 23:30:00",
        "3 d 0:00:00",
        "21 d 0:01:01",
    ]
