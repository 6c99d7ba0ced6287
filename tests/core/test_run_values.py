"""What a run may say of itself: tables of what is taken, and of what is refused with words."""

import math
import re
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core import run_values
from metrics_stream.core.errors import RunError
from metrics_stream.core.instants import ALLOWED_INSTANTS
from metrics_stream.core.run_values import Phase

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def after(minutes):
    return NOON + timedelta(minutes=minutes)


class Scalar:
    """A number of numpy."""

    def __init__(self, value):
        self.value = value

    def tolist(self):
        return self.value


class Stage(Enum):
    STAGING = "staging"


# --- tests and parameters ---


@pytest.mark.parametrize("test", ["checkout-soak", "a", "A_1", "x" * 100])
def test_a_test_is_a_slug(test):
    assert run_values.read_test(test) == test


@pytest.mark.parametrize("test", ["a b", "größe", "x" * 101, "a\n", "\x00", 7, ["a"], True])
def test_another_test_is_refused(test):
    with pytest.raises(RunError, match=r"test is .*; allowed: 1 to 100 letters from a to z, digits, '-' and '_'"):
        run_values.read_test(test)


def test_parameters_are_texts_numbers_and_booleans():
    given = {"commit": "3f2a9c1", "users": 50, "rate": 0.5, "tls": True, "empty": "", "größe": "größe"}
    assert run_values.read_parameters(given) == given


def test_values_of_a_producer_are_converted():
    id_ = uuid.uuid4()
    given = {
        "stage": Stage.STAGING,
        "id": id_,
        "at": NOON,
        "rate": Decimal("0.5"),
        "n": Scalar(5),
        "x": Scalar(0.25),
        "b": Scalar(True),
    }
    read = run_values.read_parameters(given)
    assert read == {
        "stage": "staging",
        "id": str(id_),
        "at": "2026-01-31T12:00:00Z",
        "rate": 0.5,
        "n": 5,
        "x": 0.25,
        "b": True,
    }
    assert {type(value) for value in read.values()} == {str, int, float, bool}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "parameters is []; allowed: an object of texts, numbers and booleans"),
        ("commit", "parameters is 'commit'; allowed: an object"),
        ({str(n): n for n in range(51)}, "parameters has 51 entries; allowed: at most 50"),
        ({"": 1}, "the name of a parameter is ''; allowed: 1 to 50 printable characters"),
        ({" a": 1}, "the name of a parameter is ' a'; allowed"),
        ({"a\n": 1}, r"the name of a parameter is 'a\n'; allowed"),
        ({"x" * 51: 1}, "allowed: 1 to 50 printable characters"),
        ({7: 1}, "the name of a parameter is 7; allowed"),
        ({"a": None}, "the parameter 'a' is null; allowed: a text of at most 500 printable characters"),
        ({"a": {"b": 1}}, "the parameter 'a' is {\"b\":1}; allowed: a text"),
        ({"a": [1]}, "the parameter 'a' is [1]; allowed: a text"),
        ({"a": "x" * 501}, "allowed: a text of at most 500 printable characters"),
        ({"a": "\x1b[31m"}, "allowed: a text of at most 500 printable characters"),
        ({"a": "\ud800"}, "allowed: a text of at most 500 printable characters"),
        ({"a": math.nan}, "the parameter 'a' is nan; allowed"),
        ({"a": math.inf}, "the parameter 'a' is inf; allowed"),
        ({"a": 2**53 + 1}, "whole numbers up to 2^53"),
        ({"a": 10**400}, "whole numbers up to 2^53"),
        ({"a": object()}, "the parameter 'a' is <object object"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_another_parameter_is_refused_with_what_is_allowed(value, message):
    with pytest.raises(RunError, match=re.escape(message)):
        run_values.read_parameters(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3f2a9c1", "3f2a9c1"),
        ("50", 50),
        ("-0.5", -0.5),
        ("true", True),
        ("false", False),
        ("null", "null"),
        ("1.10", "1.10"),
        ("0012", "0012"),
        ("1e5", "1e5"),
        ("12345678901234567890", "12345678901234567890"),
        ('"x"', '"x"'),
        ("[1]", "[1]"),
        ("NaN", "NaN"),
        ("[" * 5_000, "[" * 5_000),
        ("", ""),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_typed_parameter_looks_as_it_was_typed(text, value):
    read = run_values.parameter_of(text)
    assert (read, type(read)) == (value, type(value))
    assert run_values.parameter_text(read) == text


@given(st.text())
def test_every_typed_text_is_kept(text):
    assert run_values.parameter_text(run_values.parameter_of(text)) == text


def test_parameters_are_typed_one_in_each_line():
    lines = ["commit=3f2a9c1", "", " users = 50 ", "query=a=b", "empty="]
    assert run_values.read_parameter_lines(lines) == {"commit": "3f2a9c1", "users": 50, "query": "a=b", "empty": ""}
    for line, message in (
        ("commit", "the parameter 'commit' has no value; allowed: NAME=VALUE"),
        ("=x", "the parameter '=x' has no value"),
        ("a=1\na=2", "the parameter 'a' is given more than once"),
    ):
        with pytest.raises(RunError, match=message):
            run_values.read_parameter_lines(line.split("\n"))


# --- start and end ---


@pytest.mark.parametrize(
    "value",
    ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31 12:00", NOON, NOON.replace(tzinfo=None)],
)
def test_an_instant_is_taken_in_every_form(value):
    assert run_values.read_span(value, NOON.timestamp() + 60, after(60)) == (NOON, after(1))


@pytest.mark.parametrize(
    ("started_at", "ended_at", "message"),
    [
        (NOON, None, "ended_at is missing; allowed: both started_at and ended_at, for a test that is over, or none"),
        (None, NOON, "started_at is missing; allowed: both"),
        (NOON, NOON, "ended_at is 2026-01-31T12:00:00.000000Z; allowed: an instant after started_at"),
        (after(1), NOON, "allowed: an instant after started_at"),
        (NOON, after(62), "ended_at is 2026-01-31T13:02:00.000000Z; allowed: an instant that is over"),
        (0, NOON, "started_at is 1970-01-01T00:00:00.000000Z; allowed: an instant from the year 2000 on"),
        (1e22, NOON, f"started_at is 1e22; allowed: {ALLOWED_INSTANTS}"),
        ("yesterday", NOON, f"started_at is 'yesterday'; allowed: {ALLOWED_INSTANTS}"),
        (True, NOON, "started_at is true; allowed: a datetime, ISO 8601"),
        (math.nan, NOON, "started_at is nan; allowed: a datetime, ISO 8601"),
        ([], NOON, "started_at is []; allowed: a datetime, ISO 8601"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_another_span_is_refused_with_what_is_allowed(started_at, ended_at, message):
    with pytest.raises(RunError, match=re.escape(message)):
        run_values.read_span(started_at, ended_at, after(60))


def test_without_start_and_end_a_run_begins_now():
    assert run_values.read_span(None, None, NOON) is None


# --- phases ---


def test_phases_are_read_and_arranged():
    items = [
        {"name": "steady", "start": after(10), "end": "2026-01-31T12:30:00Z"},
        {"name": "ramp", "start": NOON.timestamp(), "end": after(10)},
        {"name": "spike", "start": after(40), "end": None},
    ]
    arranged = run_values.arrange_phases(run_values.read_phases(items), NOON, after(60))
    assert arranged == [
        Phase("ramp", NOON, after(10)),
        Phase("steady", after(10), after(30)),
        Phase("spike", after(40), after(60)),
    ]
    assert run_values.read_phases(run_values.describe_phases(arranged)) == arranged
    assert run_values.arrange_phases([Phase("spike", after(40))], NOON, None) == [Phase("spike", after(40))]


def test_phases_are_cut_to_their_run():
    phases = [Phase("ramp", after(-1), after(1)), Phase("steady", after(1), after(11))]
    assert run_values.arrange_phases(phases, NOON, after(10)) == [
        Phase("ramp", NOON, after(1)),
        Phase("steady", after(1), after(10)),
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("steady", "phases is 'steady'; allowed: a list of objects such as"),
        ({"name": "steady"}, "allowed: a list of objects"),
        (7, "phases is 7; allowed: a list"),
        (["steady"], "a phase is 'steady'; allowed: an object with name, start and end"),
        ([{"name": "steady"}], "allowed: an object with name, start and end"),
        ([{"name": "steady", "start": 1, "color": "red"}], "allowed: an object with name, start and end"),
        ([{"name": "", "start": NOON}], "the name of a phase is ''; allowed: 1 to 60 printable characters"),
        ([{"name": "x" * 61, "start": NOON}], "allowed: 1 to 60 printable characters"),
        ([{"name": "a", "start": "soon"}], "the start of a phase is 'soon'; allowed: a datetime, ISO 8601"),
        ([{"name": "a", "start": NOON, "end": NOON}], "the phase 'a' ends at 2026-01-31T12:00:00.000000Z; allowed"),
        ([{"name": "a", "start": after(-2), "end": after(1)}], "the phase 'a' is outside its run; allowed: from"),
        ([{"name": "a", "start": after(1), "end": after(62)}], "the phase 'a' is outside its run"),
        ([{"name": "a", "start": after(60)}], "the phase 'a' is outside its run"),
        (
            [{"name": "a", "start": NOON, "end": after(5)}, {"name": "b", "start": after(4)}],
            "the phase 'b' begins before 'a' ends; allowed: phases that follow one another",
        ),
        (
            [{"name": "a", "start": NOON}, {"name": "b", "start": after(4)}],
            "the phase 'b' begins before 'a' ends",
        ),
        ([{"name": "a", "start": after(n / 10), "end": after(n / 10 + 0.1)} for n in range(101)], "has 101 entries"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_another_phase_is_refused_with_what_is_allowed(value, message):
    with pytest.raises(RunError, match=re.escape(message)):
        run_values.arrange_phases(run_values.read_phases(value), NOON, after(60))
