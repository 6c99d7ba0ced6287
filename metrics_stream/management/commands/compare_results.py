"""`manage.py compare_results`."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.core.errors import ResultFileError
from metrics_stream.core.formats.results.file import MAX_BYTES
from metrics_stream.core.formats.results.reading import FORMATS, read_results
from metrics_stream.core.metrics.permission import EVERYTHING
from metrics_stream.models import TestRun
from metrics_stream.reports.comparison import MAX_TOLERANCE_PERCENT, Comparison, compare, table
from metrics_stream.reports.run_totals import RULES, named_totals_of, totals_of

# 1 says that figures differ.
UNREADABLE = 2


class Command(BaseCommand):
    help = (
        "Compare a test run with the result file of the tool that made its load, figure by figure. With --tolerance "
        "the exit code is 1 if figures differ, and 2 if they cannot be compared."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug", help="the test run")
        parser.add_argument("file", help="the result file; - reads the standard input")
        parser.add_argument("--format", choices=[*FORMATS], help="the format (default: found out from the file)")
        parser.add_argument(
            "--tolerance",
            type=float,
            help="figures that differ by at most so many per cent are equal (default: only rounding may differ)",
        )
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")

    def handle(self, slug: str, file: str, **options: Any) -> None:
        tolerance = options["tolerance"]
        if tolerance is not None and not 0 <= tolerance <= MAX_TOLERANCE_PERCENT:
            allowed = f"a number from 0 to {MAX_TOLERANCE_PERCENT:g}"
            raise CommandError(f"--tolerance is {tolerance}; allowed: {allowed}", returncode=UNREADABLE)
        run = TestRun.objects.filter(slug=slug.replace("\x00", "")).first()
        if run is None:
            raise CommandError(f"unknown test run {slug!r}", returncode=UNREADABLE)
        try:
            results = read_results(_read(file), options["format"])
        except (ResultFileError, OSError) as error:
            raise CommandError(f"{file}: {error}", returncode=UNREADABLE) from error
        compared = compare(
            run.slug,
            totals_of(run, EVERYTHING),
            results,
            named=named_totals_of(run, EVERYTHING),
            tolerance_percent=tolerance or 0.0,
            run_rules=RULES,
        )
        if options["json"]:
            self.stdout.write(json.dumps(compared.describe(), indent=2, ensure_ascii=False))
        else:
            self._print(compared)
        if not compared.compared:
            raise CommandError("the run has none of the figures of the file", returncode=UNREADABLE)
        if tolerance is not None and not compared.is_equal:
            raise CommandError(f"{_count_different(compared)} differ by more than {tolerance:g} %")

    def _print(self, compared: Comparison) -> None:
        for line in table(compared):
            self.stdout.write(line)
        rows = len(compared.all_rows)
        self.stdout.write(f"\n{compared.compared} of {rows} figures compared, {_count_different(compared)} differ")


def _read(file: str) -> bytes:
    # One byte more than allowed, so that the reader notices it.
    if file == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    with Path(file).open("rb") as opened:
        return opened.read(MAX_BYTES + 1)


def _count_different(compared: Comparison) -> int:
    return sum(row.is_equal is False for row in compared.all_rows)
