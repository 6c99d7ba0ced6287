"""Fixtures of the tests of pages."""

import pytest
from django.core.cache import cache


@pytest.fixture(autouse=True)
def empty_cache():
    """Empty the cache: runs of different tests have the same slug."""
    cache.clear()
