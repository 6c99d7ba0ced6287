"""Apps of other projects, with names for the admin and without what this project does not need."""

from axes.apps import AppConfig as AxesConfig
from django.apps import AppConfig


class RunserverConfig(AppConfig):
    """daphne, for `runserver`; its own configuration loads Twisted in every process: 18 MB, a fifth of a start."""

    name = "daphne"


class SignInAttemptsConfig(AxesConfig):  # type: ignore[misc]  # the library is untyped
    """django-axes; its label stays `axes`, and with it tables, migrations and permissions."""

    verbose_name = "Sign-in attempts"
