"""The Django admin: dashboards, panels and presets (`dashboards.py`), test runs (`runs.py`), who is connected."""

from metrics_stream.admin import connections, dashboards, runs

__all__ = ["connections", "dashboards", "runs"]
