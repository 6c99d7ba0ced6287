"""The Django admin: dashboards and presets, test runs, access policies and share links, tokens, connected clients,
the audit log."""

from metrics_stream.admin import access, audit, connections, dashboards, runs, tokens

__all__ = ["access", "audit", "connections", "dashboards", "runs", "tokens"]
