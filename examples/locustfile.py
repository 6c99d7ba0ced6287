"""Watch a Locust test live: publish its measurements to the dashboards "Load test" and "Agents" once a second.

    python3 -m venv var/locust-env
    var/locust-env/bin/pip install locust -r requirements.in
    REDIS_URL=redis://… var/locust-env/bin/locust -f examples/locustfile.py --host http://127.0.0.1:8000

Run this in the project's folder, with the REDIS_URL of the server (docs/producers.md says how to find it). Add
`--headless --users 20 --run-time 1m` to run without Locust's own page. Then replace these two user classes by yours.

From any machine, over HTTP: `pip install locust msgspec uvloop`, and set METRICS_URL and METRICS_TOKEN instead of
REDIS_URL.

The whole test is a `system` metric, each name and method a row of a `request` metric, each error a row of an `error`
metric, each user class an agent. In a distributed test the master publishes the test, and each worker publishes its
agents as a source of its own.

`--record "checkout soak"` keeps the test as a run of that name, which can be watched again, with its phases. The run
has the sources of this test alone. Over HTTP the token also needs the scope `runs`; on the server's machine Locust
needs the server's DATABASE_URL.
"""

import logging
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
from locust import HttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WORKER_REPORT_INTERVAL, MasterRunner, Runner, WorkerRunner
from locust.stats import CSV_STATS_INTERVAL_SEC

# Locust patches the program before it reads this file, as gevent requires.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples.locust_metrics import (
    AGENT_WINDOWS,
    SYSTEM_WINDOWS,
    AgentMeter,
    RequestMeter,
    SystemMeter,
    error_rows,
)
from metrics_stream.broadcast import Broadcaster, BroadcastError
from metrics_stream.broadcast.run_block import BlockRun
from metrics_stream.core.errors import MetricsStreamError

URL, TOKEN = os.environ.get("METRICS_URL"), os.environ.get("METRICS_TOKEN")
SOURCE = "locust"
INTERVAL_SECONDS = 1.0
# After this long the master knows the counts of all workers.
LAST_REPORT_SECONDS = WORKER_REPORT_INTERVAL + 1.0


def connect() -> Broadcaster:
    """Return a Broadcaster, or end Locust with the reason why there is none."""
    try:
        if URL is None and TOKEN is None:
            # Django's settings name the channel layer.
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
            import django

            django.setup()
        return Broadcaster(url=URL, token=TOKEN, is_generator=True)
    except ModuleNotFoundError as error:
        sys.exit(
            f"{error}. To publish over HTTP, set METRICS_URL and METRICS_TOKEN; to publish through REDIS_URL, "
            "install what the server needs: pip install -r requirements.in"
        )
    except (BroadcastError, ValueError) as error:
        sys.exit(f"METRICS_URL and METRICS_TOKEN: {error}" if URL or TOKEN else str(error))


stream = connect()


class ReportingUser(HttpUser):
    """Tell the listeners of a request which user class made it."""

    abstract = True

    def context(self) -> dict[str, Any]:
        """Return the context that Locust passes to every listener of `request`."""
        return {"user_class": type(self).__name__}


class Monitor(ReportingUser):
    """A user that often checks the service's health."""

    wait_time = between(0.1, 0.3)

    @task
    def health(self) -> None:
        """Request the health page."""
        self.client.get("/healthz")


class Visitor(ReportingUser):
    """A user that opens the first page, and sometimes a missing one."""

    wait_time = between(0.5, 1.5)

    @task(20)
    def home(self) -> None:
        """Request the first page."""
        self.client.get("/")

    @task(1)
    def missing(self) -> None:
        """Request a missing page; that it is missing is no failure of the test."""
        with self.client.get("/no-such-page", catch_response=True) as answer:
            if answer.status_code == 404:
                answer.success()


def sources_of(environment: Environment) -> list[str]:
    """Return the sources of a test: that of this process, and those of the workers that are there when it starts."""
    runner = environment.runner
    workers = runner.worker_index_max if isinstance(runner, MasterRunner) else 0
    return [SOURCE, *(f"{SOURCE}-{index}" for index in range(workers))]


def parameters_of(environment: Environment) -> dict[str, Any]:
    """Return what was tested: the target, without a password in its address, and the intended load."""
    options = environment.parsed_options
    host = environment.host or ""
    found = {"host": host if "@" not in host else None, "users": options.num_users, "spawn_rate": options.spawn_rate}
    return {name: value for name, value in found.items() if value}


def busiest_share(runner: Runner) -> float:
    """Return how busy the busiest process that makes the load is, as a share of one core, as Locust measures it."""
    if isinstance(runner, MasterRunner):
        return max((worker.cpu_usage for worker in runner.clients.values()), default=0) / 100
    return runner.current_cpu_usage / 100


class Reporter:
    """Publish the numbers of one Locust process about the running test."""

    def __init__(self) -> None:
        self._environment: Environment | None = None
        self._greenlet = gevent.Greenlet()
        self._block = ExitStack()
        self._run: BlockRun | None = None
        self._system, self._requests = SystemMeter(), RequestMeter()
        self._agents: dict[str, AgentMeter] = {}
        self._phase = "ramp-up"
        self._has_csv = False

    def start(self, environment: Environment, **_: Any) -> None:
        """Start a test; all counts begin at zero."""
        self.end()
        self._environment = environment
        is_master = isinstance(environment.runner, MasterRunner)
        self._system = SystemMeter(report_seconds=LAST_REPORT_SECONDS if is_master else 0.0)
        self._requests = RequestMeter()
        self._agents = {}
        self._phase = "ramp-up"
        self._has_csv = bool(getattr(environment.parsed_options, "csv_prefix", None))
        name = environment.parsed_options.record if environment.parsed_options else ""
        if name and not isinstance(environment.runner, WorkerRunner):  # workers share the master's run
            try:
                block = stream.stress_test_run(
                    name, sources=sources_of(environment), tags=["locust"], parameters=parameters_of(environment)
                )
                self._run = self._block.enter_context(block)
                self._run.phase(self._phase)
            except MetricsStreamError as error:
                logging.error("the test is not recorded: %s", error)  # noqa: TRY400 - a traceback would add nothing
        self._greenlet = gevent.spawn(self._report)

    def count(self, response_time: float, exception: BaseException | None, context: dict[str, Any], **_: Any) -> None:
        """Count a request; Locust calls this after each one."""
        name = context.get("user_class", "others")
        self._agents.setdefault(name, AgentMeter(name)).count(response_time, exception)

    def spawned(self, **_: Any) -> None:
        """Note that all users are spawned."""
        self._phase = "steady"
        if self._run is not None:
            self._run.phase(self._phase)

    def stop(self, environment: Environment, **_: Any) -> None:
        """End the test; a master first waits for the last reports of its workers."""
        if isinstance(environment.runner, MasterRunner):
            gevent.spawn_later(LAST_REPORT_SECONDS, self._end_of, self._greenlet)
        else:
            self.end()

    def end(self, **_: Any) -> None:
        """Publish the last numbers and wait until all metrics are sent; other greenlets go on."""
        if self._environment is not None:
            self._greenlet.kill()
            self._publish()
            self._environment = None
            stream.flush()
            self._run = None
            self._block.close()

    def quit(self, **_: Any) -> None:
        """End the test, and let Locust write its last numbers into its CSV files, which it does once a second."""
        self.end()
        if self._has_csv:
            gevent.sleep(1.5 * CSV_STATS_INTERVAL_SEC)

    def _end_of(self, greenlet: gevent.Greenlet) -> None:
        if greenlet is self._greenlet:  # no other test has started meanwhile
            self.end()

    def _report(self) -> None:
        while True:
            gevent.sleep(INTERVAL_SECONDS)
            self._publish()

    def _publish(self) -> None:
        runner = self._environment.runner
        if runner is None:  # a worker may get its users before it has its runner
            return
        if not isinstance(runner, WorkerRunner):
            self._publish_test(runner)
        if not isinstance(runner, MasterRunner) and self._agents:
            source = f"{SOURCE}-{runner.worker_index}" if isinstance(runner, WorkerRunner) else SOURCE
            users = runner.user_classes_count
            agents = [meter.take(users=users.get(name, 0)) for name, meter in self._agents.items()]
            stream.broadcast_agent_metrics(agents, source=source, windows=AGENT_WINDOWS)

    def _publish_test(self, runner: Runner) -> None:
        """Publish what Locust's own page shows: the totals, the table of requests and the failures."""
        now, stats = time.time(), runner.stats
        data = self._system.take(stats.total, users=runner.user_count, now=now)
        data |= {"phase": self._phase, "generator_cpu_utilization": busiest_share(runner)}
        stream.broadcast_system_metrics(data, now, source=SOURCE, windows=SYSTEM_WINDOWS)
        if rows := self._requests.take(stats.entries, self._system.seconds(stats.total, now)):
            stream.broadcast("request", rows, now, source=SOURCE, windows=SYSTEM_WINDOWS)
        if rows := error_rows([error.to_dict() for error in stats.errors.values()]):
            stream.broadcast("error", rows, now, source=SOURCE)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Add options to Locust's command line and page."""
    parser.add_argument("--record", metavar="NAME", default="", help="Keep the test as a run")


reporter = Reporter()
events.test_start.add_listener(reporter.start)
events.request.add_listener(reporter.count)
events.spawning_complete.add_listener(reporter.spawned)
events.test_stop.add_listener(reporter.stop)
events.quit.add_listener(reporter.quit)
