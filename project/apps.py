"""Apps of others, under names that say something to admins."""

from axes.apps import AppConfig


class SignInAttemptsConfig(AppConfig):  # type: ignore[misc]  # the library is untyped
    """django-axes; its label, and with it tables, migrations and permissions, stays `axes`."""

    verbose_name = "Sign-in attempts"
