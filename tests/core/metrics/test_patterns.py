"""Patterns with `*`: what they match, cover and have in common, against a reference that tries texts."""

import itertools
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.metrics.patterns import count_wild, covers, covers_all, matcher_of, overlap

patterns = st.text("ab*", max_size=5)
some = st.frozensets(patterns, max_size=3)
TEXTS = ["".join(letters) for length in range(6) for letters in itertools.product("ab", repeat=length)]


def matches(pattern, text):
    """Return whether a pattern matches, as the words say it."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


@given(some, st.sampled_from(TEXTS))
def test_one_of_the_patterns_matches(mine, text):
    assert matcher_of(mine)(text) == any(matches(pattern, text) for pattern in mine)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "", True),
        ("/api/*", "/api/users", True),
        ("/api/*", "/apis", False),
        ("*.php", "/a.php", True),
        ("/a*b*c", "/a-b-b-c", True),
        ("a*", "a\nb", True),
        ("[a]?", "[a]?", True),
        ("[a]*", "a", False),
        ("*aa", "aaa", True),
        ("a*a", "a", False),
    ],
)
def test_only_the_asterisk_is_special(pattern, text, expected):
    assert matcher_of(frozenset({pattern}))(text) == expected


def test_many_asterisks_take_no_time():
    began = time.process_time()
    assert not matcher_of(frozenset({"*a" * 100 + "*b"}))("a" * 200)
    assert time.process_time() - began < 0.5


@given(some, patterns)
def test_what_covers_a_pattern_matches_all_its_texts(mine, other):
    if covers(mine, other):
        assert all(matcher_of(mine)(text) for text in TEXTS if matches(other, text))


@given(some, some)
def test_the_overlap_matches_what_both_match(mine, theirs):
    common = overlap(mine, theirs)
    if common is not None:
        for text in TEXTS:
            assert matcher_of(common)(text) == (matcher_of(mine)(text) and matcher_of(theirs)(text)), text


def test_exact_texts_always_have_an_overlap():
    assert overlap(frozenset({"a", "b"}), frozenset({"b", "c"})) == {"b"}
    assert overlap(frozenset({"a"}), frozenset({"c"})) == frozenset()
    assert overlap(frozenset({"/api/*"}), frozenset({"/api/users", "/x"})) == {"/api/users"}
    assert overlap(frozenset({"/api/*"}), frozenset({"/web/*"})) == frozenset()
    assert overlap(frozenset({"a*"}), frozenset({"*b"})) is None


def test_patterns_are_counted_and_compared():
    assert count_wild(["a", "*", "b*"]) == 2
    assert covers_all(frozenset({"/api/*", "/x"}), ["/api/users/*", "/x"])
    assert not covers_all(frozenset({"/api/*"}), ["/ap*"])
