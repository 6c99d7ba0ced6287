import asyncio
import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from metrics_stream.bus.bus import Bus
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import BusError


class Command(BaseCommand):
    help = "Show the statistics of every running server process and of each client."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
        parser.add_argument("--wait", type=float, default=1.0, help="seconds to wait for answers (default: 1)")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 < options["wait"] <= 60:
            raise CommandError(f"--wait is {options['wait']}; it must be above 0 and at most 60 seconds")
        try:
            answers = asyncio.run(_gather(options["wait"]))
        except BusError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(answers, indent=2))
            return
        if not answers:
            raise CommandError(
                f"no server answered within {options['wait']:g} s; is one running on the same REDIS_URL?"
            )
        for answer in sorted(answers, key=lambda one: str(one["process"])):
            self._show(answer)

    def _show(self, stats: dict[str, Any]) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING(f"{stats['process']}, up {_duration(stats['uptime_seconds'])}"))
        self.stdout.write(
            f"  clients: {stats['connected_clients']} connected, {stats['total_connected']} in total, "
            f"{stats['refused_clients']} refused, {stats['slow_clients_closed']} closed as slow"
        )
        self.stdout.write(
            f"  sent: {stats['messages_sent']} messages, {stats['metrics_sent']} metrics, {stats['bytes_sent']} bytes; "
            f"received: {stats['metrics_received']} metrics; dropped: {stats['metrics_dropped']}"
        )
        self.stdout.write(f"  views: {stats['views']}; errors of clients: {stats['protocol_errors']}")
        for client in stats["clients"]:
            subscription = client["subscription"]
            self.stdout.write(
                f"  - {client['client_id'][:8]} since {client['connected_since'][:19]}Z: "
                f"{client['messages_sent']} messages, {client['metrics_sent']} metrics; "
                f"{', '.join(subscription['metric_types']) or 'nothing subscribed'} "
                f"every {subscription['interval_seconds']:g} s"
                + "".join(f", {name} {', '.join(terms[:5])}" for name, terms in subscription["filters"].items())
            )


async def _gather(wait_seconds: float) -> list[dict[str, Any]]:
    settings = get_settings()
    bus = Bus(group_prefix=settings.group_prefix, timeout_seconds=settings.bus_timeout_seconds)
    return await bus.gather_stats(wait_seconds=wait_seconds)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
