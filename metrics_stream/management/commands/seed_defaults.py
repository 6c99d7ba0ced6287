"""`manage.py seed_defaults`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from metrics_stream.defaults.seed import seed


class Command(BaseCommand):
    help = (
        "Create the default presets and dashboards that this database never had. Changes and deletions by an admin "
        "stay; it is safe to run the command again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        created = seed()
        self.stdout.write(f"Created {', '.join(created)}." if created else "The default presets and dashboards exist.")
