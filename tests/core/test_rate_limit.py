import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_stream.core.rate_limit import TokenBucket


def test_a_burst_and_then_the_rate():
    token_bucket = TokenBucket(2.0, 4.0, now=10.0)
    assert [token_bucket.take(1, 10.0) for _ in range(5)] == [0.0, 0.0, 0.0, 0.0, 0.5]
    assert token_bucket.take(1, 10.5) == 0.0
    assert token_bucket.take(1, 10.5) == 0.5


def test_an_instant_before_the_last_one_costs_nothing():
    token_bucket = TokenBucket(2.0, 1.0, now=10.0)
    assert token_bucket.take(1, 9.5) == 0.0
    assert token_bucket.take(1, 9.0) == 0.5
    assert token_bucket.take(1, 10.5) == 0.0


def test_a_refusal_takes_nothing():
    token_bucket = TokenBucket(1.0, 3.0, now=0.0)
    assert token_bucket.take(3, 0.0) == 0.0
    assert token_bucket.take(2, 1.0) == 1.0
    assert token_bucket.take(1, 1.0) == 0.0


def test_more_than_the_burst_is_given_by_a_full_bucket_as_a_debt():
    token_bucket = TokenBucket(1.0, 10.0, now=0.0)
    assert token_bucket.take(25, 0.0) == 0.0
    assert token_bucket.take(1, 0.0) == 16.0
    assert token_bucket.take(25, 20.0) == 5.0
    assert token_bucket.take(25, 25.0) == 0.0


def test_giving_back_does_not_exceed_the_burst():
    token_bucket = TokenBucket(1.0, 2.0, now=0.0)
    assert token_bucket.take(1, 0.0) == 0.0
    token_bucket.give_back(5)
    assert [token_bucket.take(1, 0.0) for _ in range(3)] == [0.0, 0.0, 1.0]


@given(st.lists(st.tuples(st.floats(0.01, 50), st.floats(0, 10)), max_size=60), st.floats(0.1, 100), st.floats(1, 100))
def test_never_more_than_the_burst_and_the_rate_allow(steps, per_second, burst):
    token_bucket, now, taken, most = TokenBucket(per_second, burst, 0.0), 0.0, 0.0, 0.0
    for amount, pause in steps:
        now += pause
        if not token_bucket.take(amount, now):
            taken += amount
            most = max(most, amount)
    assert taken <= burst + most + now * per_second + 1e-6


@given(st.floats(0.01, 1000), st.floats(0.1, 1000), st.floats(1, 1000))
def test_after_the_wait_the_amount_is_available(amount, per_second, burst):
    token_bucket = TokenBucket(per_second, burst, 0.0)
    token_bucket.take(burst, 0.0)
    wait = token_bucket.take(amount, 0.0)
    assert token_bucket.take(amount, wait + 1e-9) == pytest.approx(0.0, abs=1e-6)
