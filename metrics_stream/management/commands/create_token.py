"""`manage.py create_token`."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from metrics_stream.access.tokens import check_scopes, release_name
from metrics_stream.collectors.limits import number_between
from metrics_stream.core.errors import MetricsStreamError
from metrics_stream.models import AccessToken
from metrics_stream.models.known_types import read_definitions

MAX_DAYS = 36_500.0


class Command(BaseCommand):
    help = (
        "Create an access token for a program and print it. It is printed only once: the database stores a digest. "
        "Give it to the program in its environment, and to nobody else."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the program and its place; no other valid token has this name")
        parser.add_argument(
            "--scope",
            action="append",
            default=[],
            required=True,
            metavar="SCOPE",
            help=f"what the token allows: {', '.join(AccessToken.Scope.values)}; may be repeated",
        )
        parser.add_argument(
            "--metric-type",
            action="append",
            default=[],
            metavar="TYPE",
            help="allow only this metric type; may be repeated (default: all)",
        )
        parser.add_argument(
            "--source",
            action="append",
            default=[],
            metavar="SOURCE",
            help="allow only metrics of this source; may be repeated (default: every source)",
        )
        parser.add_argument(
            "--expires-in-days", metavar="N", help="the token expires after N days (default: TOKEN_MAX_DAYS)"
        )
        parser.add_argument("--replace", action="store_true", help="first revoke a valid token of the same name")

    @transaction.atomic
    def handle(self, name: str, **options: Any) -> None:
        days = options["expires_in_days"]
        try:
            longest = AccessToken.max_days()
            expires_at = timezone.now() + timedelta(days=longest) if longest else None
            if days is not None:
                expires_at = timezone.now() + timedelta(days=number_between("--expires-in-days", days, 0.001, MAX_DAYS))
            if options["replace"] and (former := AccessToken.objects.filter(name=name).first()):
                former.revoke()
            release_name(name)
            scopes = list(dict.fromkeys(options["scope"]))
            metric_types = list(dict.fromkeys(options["metric_type"])) or ["all"]
            # Types that are declared in the database are allowed, too.
            read_definitions()
            check_scopes(scopes, metric_types)
            _, text = AccessToken.issue(
                name=name,
                scopes=scopes,
                metric_types=metric_types,
                sources=list(dict.fromkeys(options["source"])),
                expires_at=expires_at,
            )
        except MetricsStreamError as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            errors = error.message_dict if hasattr(error, "error_dict") else {"scope": error.messages}
            faults = (f"{column}: {' '.join(messages)}" for column, messages in errors.items())
            raise CommandError(f"the token is not created; {'; '.join(faults)}") from error
        self.stdout.write(text)
