"""Delete what test runs recorded longer ago than the settings keep it."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from metrics_stream.conf import get_settings
from metrics_stream.runs.retention import prune


class Command(BaseCommand):
    help = (
        "Delete what test runs recorded longer ago than RECORD_RAW_DAYS, RECORD_1S_DAYS, RECORD_10S_DAYS and "
        "RECORD_60S_DAYS keep it. Runs that have not ended are left alone, and so are the runs themselves."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run = options["dry_run"]
        verb = "would delete" if dry_run else "deleted"
        total = 0
        for pruned in prune(get_settings(), now=timezone.now(), dry_run=dry_run):
            total += pruned.payload_bytes
            self.stdout.write(f"{pruned.run.slug}: {verb} {pruned.what}, {_megabytes(pruned.payload_bytes)}")
        self.stdout.write(f"{verb} {_megabytes(total)} in all" if total else "nothing is older than the settings keep")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
