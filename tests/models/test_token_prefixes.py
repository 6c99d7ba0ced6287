"""The prefixes of tokens answer many questions with one query."""

from metrics_stream.models.token_prefixes import FRESH_SECONDS, TokenPrefixes


def test_many_questions_take_one_query_until_the_prefixes_are_old():
    now, stored, queries = [0.0], ["a"], []

    def read():
        queries.append(now[0])
        return stored

    prefixes = TokenPrefixes(read, now=lambda: now[0])
    assert ["a" in prefixes, "b" in prefixes, "a" in prefixes] == [True, False, True]
    stored.append("b")
    assert "b" not in prefixes
    now[0] += FRESH_SECONDS
    assert "b" in prefixes
    assert queries == [0.0, FRESH_SECONDS]
