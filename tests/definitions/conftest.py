import pytest


@pytest.fixture
def closed(settings):
    """Let nobody see anything without a credential."""
    settings.ANONYMOUS_READ = False
