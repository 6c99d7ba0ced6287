"""The Django admin: dashboards, panels and presets (`dashboards.py`), test runs (`runs.py`)."""

from metrics_stream.admin import dashboards, runs

__all__ = ["dashboards", "runs"]
