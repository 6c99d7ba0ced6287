"""The Django admin: dashboards and presets, test runs, who sees what (`access.py`), who is connected."""

from metrics_stream.admin import access, connections, dashboards, runs

__all__ = ["access", "connections", "dashboards", "runs"]
