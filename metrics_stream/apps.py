"""The Django app; `ready()` registers checks and signals and starts nothing."""

from __future__ import annotations

from django.apps import AppConfig


class MetricsStreamConfig(AppConfig):
    """The app `metrics_stream`."""

    name = "metrics_stream"
    verbose_name = "Live metrics"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, and connect the signals that report changed permissions."""
        from django.contrib.auth.signals import user_logged_in

        from metrics_stream import checks  # noqa: F401  importing registers the checks
        from metrics_stream.access import sessions, signals
        from metrics_stream.audit import signals as audit_signals

        signals.connect()
        user_logged_in.connect(sessions.begin, dispatch_uid="metrics_stream.access.sessions")
        audit_signals.connect()
