"""`manage.py list_tokens`."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from metrics_stream.access.tokens import describe_state
from metrics_stream.core.formatting import NO_VALUE, format_timestamp
from metrics_stream.models import AccessToken

COLUMNS = ["name", "prefix", "state", "scopes", "metric_types", "sources", "made_by", "expires_at", "last_used_at"]


class Command(BaseCommand):
    help = (
        "List the access tokens: name, prefix, state, what each allows, who made it, when it expires and when it was "
        "last used. Secrets are not stored, so none is shown."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = [_row(token) for token in AccessToken.objects.select_related("created_by")]
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False))
            return
        if not rows:
            self.stdout.write("There are no access tokens; make one with create_token.")
            return
        lines = [
            [column.replace("_", " ") for column in COLUMNS],
            *([_text(row[name]) for name in COLUMNS] for row in rows),
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            self.stdout.write("  ".join(map(str.ljust, line, widths)).rstrip())


def _row(token: AccessToken) -> dict[str, Any]:
    return {
        "name": token.name,
        "prefix": token.prefix,
        "state": describe_state(token),
        "scopes": token.scopes,
        "metric_types": token.metric_types,
        "sources": token.sources,
        "made_by": None if token.created_by is None else token.created_by.get_username(),
        "expires_at": _instant(token.expires_at),
        "last_used_at": _instant(token.last_used_at),
    }


def _instant(at: Any) -> str | None:
    return None if at is None else format_timestamp(at.timestamp())


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return value or NO_VALUE
