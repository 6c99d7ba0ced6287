"""`manage.py ensure_admin`."""

from __future__ import annotations

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

USERNAME = "admin"


class Command(BaseCommand):
    help = (
        f"Create the superuser {USERNAME!r} with a random password if there is no superuser yet, and write the "
        "password to a file that only its owner can read. Otherwise do nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--password-file", type=Path, required=True, metavar="PATH", help="where to write the password"
        )

    @transaction.atomic
    def handle(self, *args: Any, password_file: Path, **options: Any) -> None:
        users = get_user_model()._default_manager
        if users.filter(is_superuser=True).exists():
            self.stdout.write("A superuser exists; nothing to do.")
            return
        if users.filter(username=USERNAME).exists():
            raise CommandError(
                f"The user {USERNAME!r} exists but is not a superuser; "
                "create one with `manage.py createsuperuser`, or rename that user."
            )
        password = secrets.token_urlsafe(12)
        users.create_superuser(username=USERNAME, email="", password=password)
        try:
            write_secret(password_file, password)
        except OSError as error:
            raise CommandError(f"Cannot write the password to {password_file}: {error}") from error
        self.stdout.write(f"Created the superuser {USERNAME!r}; its password is in {password_file}.")


def write_secret(path: Path, secret: str) -> None:
    """Write `secret` to `path`, which only its owner can read from the start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{secret}\n")
