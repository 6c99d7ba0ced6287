"""The totals of rows: what a book has counted, it gives back after it was stored."""

import pytest

from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.core.series import row_book
from metrics_stream.core.series.row_book import SKETCH, RowBook

ROW = "name=/\x1fmethod=GET"


def sketch(*values):
    counted = Sketch()
    for value in values:
        counted.add(value)
    return counted.encode()


def add(book, at, requests, *times, row=ROW, **more):
    fields = {"requests_total": requests, **more}
    assert book.add(row, at, tuple(fields), tuple(fields.values()))
    book.add_sketch(row, sketch(*times))


def totals(book):
    ((_, part),) = book.unpacked(1)
    column = part.columns["requests_total"]
    ((_, tally),) = part.sketches.tallies(SKETCH)
    return column.lasts[-1] - column.lows[0], sum(column.counts), len(tally.sketch), tally.metrics


def test_a_stored_book_goes_on_where_it_was():
    book = RowBook()
    add(book, 10.0, 5, 1.0, 2.0)
    add(book, 11.0, 8, 3.0)
    assert totals(book) == (3, 2, 3, 2)
    for _ in range(2):
        book = RowBook(book.pack())
        assert totals(book) == (3, 2, 3, 2)
    add(book, 12.0, 20, 4.0)
    assert totals(book) == (15, 3, 4, 3)
    book.pack()
    add(book, 13.0, 21)
    assert totals(RowBook(book.pack())) == (16, 4, 4, 4)


def test_a_value_that_comes_late_does_not_make_a_counter_fall():
    book = RowBook()
    for at, requests in ((10.0, 5), (12.0, 9), (11.0, 7), (13.0, 12)):
        add(book, at, requests)
    assert totals(book)[0] == 7


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_an_integer_that_no_float_can_hold_does_no_harm(value):
    book = RowBook()
    add(book, 10.0, 5)
    add(book, 11.0, 8, max_response_time_ms=value)
    add(book, 12.0, value)
    add(book, 13.0, 9)
    assert totals(book)[0] == 4


def test_a_book_is_bounded(monkeypatch):
    monkeypatch.setattr(row_book, "MAX_ACCOUNTS", 2)
    book = RowBook()
    taken = [book.add(f"name={number}\x1fmethod=GET", 1.0, ("requests_total",), (1,)) for number in (1, 2, 3, 1)]
    assert taken == [True, True, False, True]
    book.add_sketch("name=3\x1fmethod=GET", sketch(1.0))
    assert len(RowBook(book.pack())) == 2
