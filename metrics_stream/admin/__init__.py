"""The Django admin: dashboards and presets, test runs, who sees what (`access.py`), tokens, who is connected."""

from metrics_stream.admin import access, connections, dashboards, runs, tokens

__all__ = ["access", "connections", "dashboards", "runs", "tokens"]
