"""The column of key filters: lines of presets, policies and tokens."""

import pytest
from django.core.exceptions import ValidationError

from metrics_stream.core.delivery.selection import MAX_PARTS, MAX_WILD_TERMS
from metrics_stream.core.metrics.keys import Terms
from metrics_stream.core.metrics.permission import Grant
from metrics_stream.models.dashboard_content import grants_in, pack_content
from metrics_stream.models.key_filters import read_terms, terms_of, validate_key_filters, write_terms

LINES = ["name=/api/*", "name=/a=b", "method = GET", "scenario="]


def test_lines_are_patterns_by_part():
    validate_key_filters(LINES)
    found = read_terms(LINES)
    assert found == {"name": ["/api/*", "/a=b"], "method": ["GET"], "scenario": [""]}
    assert read_terms(write_terms(found)) == found
    assert Terms("scenario", frozenset({""})) in terms_of(LINES)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("name=/", "is not a list of lines; allowed: lines such as name=/api/*"),
        ([7], "is not a list of lines"),
        (["/api/*"], "'/api/*' names no part of a key; allowed: lines such as name=/api/* or method=GET, one each"),
        (["=x"], "names no part of a key"),
        (["agent_id=a1"], "'agent_id=a1' is about agents; allowed: the field of agents for them"),
        (["name=" + "x" * 201], "is too long or unprintable; allowed: parts and patterns of 1 to 200 characters"),
        (["name=a\0"], "is too long or unprintable"),
        (["name=/", "name=/"], "'name=/' is listed more than once"),
        ([f"part{number}=x" for number in range(MAX_PARTS + 1)], f"allowed: at most {MAX_PARTS}"),
        ([f"name={number}*" for number in range(MAX_WILD_TERMS + 1)], f"allowed: at most {MAX_WILD_TERMS}"),
    ],
)
def test_what_is_no_filter_is_an_error_in_words(value, words):
    with pytest.raises(ValidationError) as caught:
        validate_key_filters(value)
    assert words in str(caught.value)


def test_a_share_link_keeps_the_terms_of_its_grants():
    grant = Grant(frozenset({"request"}), agent_ids=frozenset({"a*"}), keys=terms_of(LINES))
    assert grants_in(pack_content([grant], [])) == {grant}
