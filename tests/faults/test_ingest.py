"""The same as tests/api/test_metrics_fuzz.py, for longer."""

import pytest

from tests.support.submissions import door, fuzz  # noqa: F401 - pytest finds the fixture by its name here

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]


@fuzz(20_000)
async def test_twenty_thousand_requests_are_answered(door, request):  # noqa: F811
    await door.check(request)
