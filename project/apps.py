"""Apps of other projects, with names for the admin."""

from axes.apps import AppConfig


class SignInAttemptsConfig(AppConfig):  # type: ignore[misc]  # the library is untyped
    """django-axes; its label stays `axes`, and with it tables, migrations and permissions."""

    verbose_name = "Sign-in attempts"
