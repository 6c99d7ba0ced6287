"""`manage.py create_token`."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from metrics_stream.collectors.limits import number_between
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.models import AccessToken

MAX_DAYS = 36_500.0


class Command(BaseCommand):
    help = (
        "Make an access token for a program and print it. It is printed once: what is kept of it is a digest. Give it "
        "to the program in its environment, and to nobody else."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="which program has it, and where; no other token has this name")
        parser.add_argument(
            "--scope",
            action="append",
            default=[],
            required=True,
            metavar="SCOPE",
            help=f"what it is for: {', '.join(AccessToken.Scope.values)}; may be given several times",
        )
        parser.add_argument(
            "--metric-type",
            action="append",
            default=[],
            metavar="TYPE",
            help="only this metric type; may be given several times (default: all)",
        )
        parser.add_argument(
            "--source",
            action="append",
            default=[],
            metavar="SOURCE",
            help="only metrics of this source; may be given several times (default: every one)",
        )
        parser.add_argument("--expires-in-days", metavar="N", help="for how many days it holds (default: for good)")

    def handle(self, name: str, **options: Any) -> None:
        days = options["expires_in_days"]
        try:
            expires_at = None
            if days is not None:
                expires_at = timezone.now() + timedelta(days=number_between("--expires-in-days", days, 0.001, MAX_DAYS))
            _, text = AccessToken.issue(
                name=name,
                scopes=list(dict.fromkeys(options["scope"])),
                metric_types=list(dict.fromkeys(options["metric_type"])) or ["all"],
                sources=list(dict.fromkeys(options["source"])),
                expires_at=expires_at,
            )
        except MetricsStreamError as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            faults = (f"{column}: {' '.join(messages)}" for column, messages in error.message_dict.items())
            raise CommandError(f"the token is not made; {'; '.join(faults)}") from error
        self.stdout.write(text)
