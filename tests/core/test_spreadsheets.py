"""No text begins a formula, and each can be restored."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core import spreadsheets
from metrics_stream.core.spreadsheets import without_formulas


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("", ""),
        ("host-1", "host-1"),
        ("a=b", "a=b"),
        ("=1", "'=1"),
        ("＝1", "'＝1"),
        ("  =1", "'  =1"),
        ('"=1"', '\'"=1"'),
        ("'=1", "''=1"),
        ("x;=1", "x;'=1"),
        ("x; \t@a", "x;' \t'@a"),
        ("x\n\n+1", "x\n'\n'+1"),
        ("\x00=1", "'\x00=1"),
        ("\ufeff\u200b−1", "'\ufeff\u200b−1"),
    ],
)
def test_an_apostrophe_stands_where_a_formula_would_begin(text, safe):
    assert without_formulas(text) == safe


texts = st.text(st.sampled_from("a;\t\n\r\"' ,=+-@＝－\u200b"), max_size=12)


@given(texts)
def test_it_can_be_taken_away_again(text):
    added = spreadsheets._CELL_BEGINS.pattern.replace("(?=[", "'(?=[")
    assert re.sub(added, "", without_formulas(text)) == text
