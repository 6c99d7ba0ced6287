import pytest

from tests.support.hub import HubHarness


@pytest.fixture
def harness() -> HubHarness:
    return HubHarness()
