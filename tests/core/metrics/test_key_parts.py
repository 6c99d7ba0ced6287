"""Any text becomes a part of a key that every door takes, and different texts stay different."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.metrics.key_parts import key_part
from metrics_stream.core.metrics.keys import is_name


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("/users", "/users"),
        ("  GET  /a\tb\n", "GET /a b"),
        ("", "(none)"),
        ("\x00\x1f", "(none)"),
        (404, "404"),
        ("x" * 200, "x" * 200),
        ("half \ud800 pair", "half pair"),
    ],
)
def test_a_text_is_one_line_within_bounds(text, part):
    assert key_part(text) == part


def test_long_texts_with_the_same_beginning_stay_apart():
    one, other = key_part("x" * 300 + "1"), key_part("x" * 300 + "2")
    assert one != other
    assert len(one) == len(other) == 200


@given(st.text(st.characters(codec=None), max_size=400))
def test_every_part_is_a_name(text):
    assert is_name(key_part(text))
