"""Keep the results of a load tool as a test run: read its result file, and record the figures over HTTP.

    export METRICS_URL=https://metrics.example.com METRICS_TOKEN=mst_…
    ab -n 1000 -c 10 http://127.0.0.1:8000/healthz > ab.txt
    python examples/publish_results.py ab.txt --name "home page"

It prints the slug of the run. The token needs the scopes publish and runs; the machine needs the package msgspec, and
neither Django nor Redis. The format of the file is found out: Locust (…_stats.csv), k6, Artillery, autocannon, JMeter,
hey, wrk, ab or siege.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from metrics_stream.broadcast import Broadcaster
from metrics_stream.core.errors import MetricsStreamError, ResultFileError
from metrics_stream.core.formats.results.metrics import span_of, system_metrics
from metrics_stream.core.formats.results.reading import FORMATS, read_results
from metrics_stream.core.instants import read_instant


def read_arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description="Keep the results of a load tool as a test run.")
    parser.add_argument("file", help="the result file; - reads the standard input")
    parser.add_argument("--name", help="the name of the run (default: that of the tool)")
    parser.add_argument("--format", choices=[*FORMATS], help="the format of the file (default: found out)")
    parser.add_argument("--source", help="the source of the metrics (default: the name of the tool)")
    parser.add_argument("--tag", action="append", default=[], help="a word for the search; may be repeated")
    parser.add_argument(
        "--started-at", type=instant, help="when the test began, in ISO 8601, if the file does not say it"
    )
    parser.add_argument(
        "--ended-at", type=instant, help="when it ended (default: when the file was written, or now for -)"
    )
    return parser.parse_args()


def instant(text: str) -> float:
    """Return an instant as seconds since 1970."""
    return read_instant(text)


def publish(options: argparse.Namespace) -> str:
    """Record the results, and return the slug of the run."""
    if options.file == "-":
        content, written_at = sys.stdin.buffer.read(), time.time()
    else:
        content, written_at = Path(options.file).read_bytes(), Path(options.file).stat().st_mtime
    results = read_results(content, options.format)
    span = span_of(results, started_at=options.started_at, ended_at=options.ended_at, written_at=written_at)
    metrics = list(system_metrics(results, span))
    source = options.source or results.format
    url, token = os.environ["METRICS_URL"], os.environ["METRICS_TOKEN"]
    with Broadcaster(source=source, url=url, token=token) as stream:
        name = options.name or results.format
        with stream.stress_test_run(name, started_at=span.started_at, ended_at=span.ended_at, tags=options.tag) as run:
            run.record(metrics)
            return str(run.slug)


def main() -> None:
    """Publish, or say why that is not possible."""
    options = read_arguments()
    if not {"METRICS_URL", "METRICS_TOKEN"} <= os.environ.keys():
        sys.exit("publish_results.py: set METRICS_URL and METRICS_TOKEN, the address of the server and a token for it")
    try:
        print(publish(options))
    except (ResultFileError, OSError) as error:
        sys.exit(f"publish_results.py: {options.file}: {error}")
    except (MetricsStreamError, ValueError) as error:
        sys.exit(f"publish_results.py: nothing is recorded: {error}")


if __name__ == "__main__":
    main()
