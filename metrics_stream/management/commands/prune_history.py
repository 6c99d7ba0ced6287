from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from metrics_stream.audit import trail
from metrics_stream.conf import get_settings
from metrics_stream.runs.clock import database_now
from metrics_stream.runs.retention import prune


class Command(BaseCommand):
    help = (
        "Delete recorded metrics and series that are older than RECORD_RAW_DAYS, RECORD_1S_DAYS, RECORD_10S_DAYS and "
        "RECORD_60S_DAYS, and entries of the audit log older than AUDIT_DAYS. "
        "The runs themselves stay, and so do the recordings of runs that have not ended."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print what would be deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run = options["dry_run"]
        verb = "would delete" if dry_run else "deleted"
        total, settings, now = 0, get_settings(), database_now()
        for pruned in prune(settings, now=now, dry_run=dry_run):
            total += pruned.payload_bytes
            self.stdout.write(f"{pruned.run.slug}: {verb} {pruned.what}, {_megabytes(pruned.payload_bytes)}")
        if entries := trail.prune(settings, now=now, dry_run=dry_run):
            self.stdout.write(f"audit log: {verb} {entries:,} entries")
        self.stdout.write(
            f"{verb} {_megabytes(total)} in total" if total else "nothing is older than the settings allow"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
