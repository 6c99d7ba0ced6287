"""The Django app; `ready()` registers checks and signals and starts nothing."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class MetricsStreamConfig(AppConfig):
    """The app `metrics_stream`."""

    name = "metrics_stream"
    verbose_name = "Live metrics"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, connect signals, and let a shell import all models."""
        from django.contrib.auth.signals import user_logged_in

        from metrics_stream import checks  # noqa: F401  importing registers the checks
        from metrics_stream.access import sessions, signals
        from metrics_stream.audit import signals as audit_signals
        from metrics_stream.definitions import signals as definition_signals
        from metrics_stream.models.changes import complete_history

        signals.connect()
        user_logged_in.connect(sessions.begin, dispatch_uid="metrics_stream.access.sessions")
        audit_signals.connect()
        definition_signals.connect()
        # django-simple-history says that its tables come from the package itself, where `manage.py shell` looks for
        # them in vain and lists each one.
        for model in self.get_models():
            if model.__module__ == self.name:
                model.__module__ = f"{self.name}.models"
                setattr(self.models_module, model.__name__, model)
        post_migrate.connect(complete_history, sender=self, dispatch_uid="metrics_stream.models.changes")
