"""The Django admin: dashboards and presets, test runs, access policies and share links, tokens, connected clients."""

from metrics_stream.admin import access, connections, dashboards, runs, tokens

__all__ = ["access", "connections", "dashboards", "runs", "tokens"]
