"""The Django admin: dashboards and presets, metric types, test runs, access policies and share links, tokens, connected
clients, the audit log."""

from metrics_stream.admin import access, audit, connections, dashboards, metric_types, runs, tokens

__all__ = ["access", "audit", "connections", "dashboards", "metric_types", "runs", "tokens"]
