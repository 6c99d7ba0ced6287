"""`manage.py ensure_admin`."""

from __future__ import annotations

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction

USERNAME = "admin"
EMAIL = "admin@localhost"


class Command(BaseCommand):
    help = (
        f"Create the superuser {USERNAME!r} ({EMAIL!r} if users sign in with an email address) with a random password "
        "if there is no superuser yet, and write the password to a file that only its owner can read. Otherwise do "
        "nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--password-file", type=Path, required=True, metavar="PATH", help="where to write the password"
        )
        parser.add_argument("--username", help=f"what the superuser signs in with (default {USERNAME}, or {EMAIL})")

    @transaction.atomic
    def handle(self, *args: Any, password_file: Path, username: str | None = None, **options: Any) -> None:
        model = get_user_model()
        users = model._default_manager
        if users.filter(is_superuser=True).exists():
            self.stdout.write("A superuser exists; nothing to do.")
            return
        column: Any = model._meta.get_field(model.USERNAME_FIELD)
        name = username or (EMAIL if isinstance(column, models.EmailField) else USERNAME)
        if users.filter(**{column.name: name}).exists():
            raise CommandError(
                f"The user {name!r} exists but is not a superuser; "
                "create one with `manage.py createsuperuser`, or rename that user."
            )
        password = secrets.token_urlsafe(12)
        values = {required: _value_of(model, required, name) for required in model.REQUIRED_FIELDS}
        try:
            column.clean(name, None)
            users.create_superuser(**{column.name: name, **values}, password=password)
        except ValidationError as error:
            raise CommandError(f"{name!r} cannot be a superuser: {' '.join(error.messages)}") from error
        try:
            write_secret(password_file, password)
        except OSError as error:
            raise CommandError(f"Cannot write the password to {password_file}: {error}") from error
        self.stdout.write(f"Created the superuser {name!r}; its password is in {password_file}.")


def _value_of(model: Any, required: str, name: str) -> Any:
    """Return the value of a required column: from the variable that Django's createsuperuser reads, or the name."""
    variable = f"DJANGO_SUPERUSER_{required.upper()}"
    column = model._meta.get_field(required)
    if variable in os.environ:
        try:
            return column.clean(os.environ[variable], None)
        except ValidationError as error:
            raise CommandError(f"{variable}={os.environ[variable]}: {' '.join(error.messages)}") from error
    if column.blank:
        return ""
    if isinstance(column, models.CharField | models.TextField) and not isinstance(column, models.EmailField):
        return name
    raise CommandError(
        f"A superuser of {model._meta.label} needs {required!r}; set {variable}, or use `manage.py createsuperuser`."
    )


def write_secret(path: Path, secret: str) -> None:
    """Write `secret` to `path`, which only its owner can read from the start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{secret}\n")
