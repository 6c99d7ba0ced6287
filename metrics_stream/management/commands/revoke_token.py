"""`manage.py revoke_token`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.access.tokens import find_token
from metrics_stream.models import AccessToken


class Command(BaseCommand):
    help = "Revoke an access token permanently: programs that use it lose access within five seconds."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the name of the token, or its prefix: the eight characters after mst_")

    def handle(self, name: str, **options: Any) -> None:
        found = find_token(name)
        if found is None:
            valid = [token.name for token in AccessToken.objects.all() if token.is_valid]
            raise CommandError(f"unknown token {name!r}; valid ones: {', '.join(valid) or 'none'}")
        if found.revoked_at is not None:
            raise CommandError(
                f"the token {found.name!r} is already revoked, since {found.revoked_at:%Y-%m-%d %H:%M} UTC"
            )
        found.revoke()
        self.stdout.write(f"Revoked {found.name}.")
