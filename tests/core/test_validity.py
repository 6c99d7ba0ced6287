"""What makes the figures of a test doubtful: each rule, when it begins and when it ends."""

import math

import pytest

from metrics_stream.core.metrics.catalogue import SYSTEM
from metrics_stream.core.validity import FIELDS, RULES, SILENT_SECONDS, Judge
from tests.support.validity import CASES, observed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_doubts_that_hold(case):
    judge = observed(case)
    assert [(doubt.rule.name, doubt.source) for doubt in judge.current(case.now)] == case.current


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_doubts_of_a_test_that_is_over(case):
    found = [(doubt.rule.name, doubt.began_at, doubt.ended_at, doubt.value) for doubt in observed(case).all()]
    assert found == [pytest.approx(item) if isinstance(item, float) else item for item in case.all]


def test_a_silent_source_is_judged_no_more():
    judge = Judge()
    for at in range(10):
        judge.observe("gen-a", float(at), {"generator_cpu_utilization": 0.97})
    assert judge.current(9.0 + SILENT_SECONDS)
    assert not judge.current(9.1 + SILENT_SECONDS)


def test_the_words_name_source_and_value():
    texts = [text.format(source="gen-a", value="97 %") for rule in RULES for text in (rule.words, rule.past)]
    assert texts[0] == "load generator gen-a is at 97 % CPU: its response times may be too high"
    assert all("gen-a" in text and "97 %" in text for text in texts)


def test_the_rules_look_at_fields_of_the_catalogue_in_their_units():
    known = {field.name: field for field in SYSTEM.fields}
    assert set(FIELDS) <= known.keys()
    for rule in RULES:
        assert rule.unit == known[rule.field].unit or rule.comparison == "below_share_of"
        assert rule.seconds > 0
        assert math.isfinite(rule.threshold)
