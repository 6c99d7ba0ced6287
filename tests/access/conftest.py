"""What the tests of share links share: dashboards, and a server that shows nothing without a credential."""

import pytest

from metrics_stream.models import Dashboard, Panel


@pytest.fixture
def closed(settings):
    """Show nothing to a visitor without a credential."""
    settings.ANONYMOUS_READ = False


@pytest.fixture
def lobby():
    dashboard = Dashboard.objects.create(title="Lobby", slug="lobby")
    Panel.objects.create(dashboard=dashboard, title="Load", metric_type="system", fields=["throughput_tps"])
    Panel.objects.create(dashboard=dashboard, title="Who", kind="status", metric_type="agent")
    return dashboard


@pytest.fixture
def other():
    dashboard = Dashboard.objects.create(title="Other", slug="other")
    Panel.objects.create(dashboard=dashboard, title="Money", metric_type="business", fields=["money_saved"])
    return dashboard
