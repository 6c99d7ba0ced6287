"""Whatever is sent to the addresses for programs is answered as documented, and leaves nothing behind."""

import pytest

from tests.support.submissions import door, fuzz  # noqa: F401 - pytest finds the fixture by its name here

pytestmark = pytest.mark.django_db(transaction=True)


@fuzz(300)
async def test_every_request_with_metrics_is_answered(door, request):  # noqa: F811
    await door.check(request)


@fuzz(100)
async def test_every_request_about_test_runs_is_answered(door, request):  # noqa: F811
    await door.check_runs(request)
