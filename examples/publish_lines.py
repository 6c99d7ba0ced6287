"""Publish the output of another program: one JSON object per line, with `metric_type` and `data`.

    your-program | python examples/publish_lines.py

An object may also have `timestamp` (as over HTTP), `source`, `units` and `windows`.
A line that is no metric is reported and skipped.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Read until the other program ends, then wait until all metrics are sent."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    from metrics_stream.broadcast import Broadcaster
    from metrics_stream.core.errors import MetricError

    with Broadcaster() as stream:
        for number, line in enumerate(sys.stdin, start=1):
            try:
                item = json.loads(line)
                stream.broadcast_many([{"metric_type": item["metric_type"], "data": item["data"], **item}])
            except (ValueError, LookupError, TypeError, AttributeError, MetricError) as error:
                print(f"line {number}: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
