"""`manage.py seed_defaults`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from metrics_stream.defaults.seed import seed


class Command(BaseCommand):
    help = (
        "Create the default presets and dashboards that this database never had. What an admin changed or deleted "
        "stays that way; running it again does no harm."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        created = seed()
        self.stdout.write(f"Created {', '.join(created)}." if created else "The default presets and dashboards exist.")
