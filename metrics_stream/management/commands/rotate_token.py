"""`manage.py rotate_token`."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.access.tokens import describe_state, find_token, rotate
from metrics_stream.collectors.limits import number_between
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.core.formatting import quote

MAX_OVERLAP_SECONDS = 90 * 86_400.0


class Command(BaseCommand):
    help = (
        "Replace an access token by a new one with the same name and grants, and print it. It is printed only once. "
        "The old one ends at once, or after --overlap seconds."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the name of the token, or its prefix: the eight characters after mst_")
        parser.add_argument(
            "--overlap", default=0, metavar="SECONDS", help="the old token ends after so many seconds (default: 0)"
        )

    def handle(self, name: str, **options: Any) -> None:
        try:
            overlap = timedelta(seconds=number_between("--overlap", options["overlap"], 0, MAX_OVERLAP_SECONDS))
        except MetricsStreamError as error:
            raise CommandError(str(error)) from error
        token = find_token(name)
        if token is None:
            raise CommandError(f"unknown token {quote(name)}; list_tokens shows all of them")
        if not token.is_valid:
            raise CommandError(f"the token {quote(token.name)} is {describe_state(token)}; make one with create_token")
        self.stdout.write(rotate(token, overlap=overlap))
