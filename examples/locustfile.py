"""Watch a Locust test live: what it measures goes to the dashboards "Operations" and "Agents" once a second.

    python3 -m venv locust-env
    locust-env/bin/pip install locust -r requirements.in
    REDIS_URL=redis://… locust-env/bin/locust -f examples/locustfile.py --host http://127.0.0.1:8000

from the project's folder, with the REDIS_URL of the server (docs/producers.md says how to find it). Add
`--headless --users 20 --run-time 1m` to run without Locust's own page. Then put your users in the place of these two.

From another machine: `pip install locust msgspec uvloop`, and METRICS_URL and METRICS_TOKEN in place of REDIS_URL.

The whole test is a `system` metric, each user class an agent. In a distributed test the master publishes the first,
and each worker the agents that it runs, as a source of its own.

`--record "checkout soak"` keeps the test as a run of that name, which can be watched again; it needs the server's
database as well (DATABASE_URL).
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
from locust import HttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from locust_metrics import AgentMeter, system_metrics

# Locust has patched the program before it reads this file, as it must be.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
URL, TOKEN = os.environ.get("METRICS_URL"), os.environ.get("METRICS_TOKEN")
if URL is None:
    # Django's settings name the channel layer.
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()

from metrics_stream.broadcast import Broadcaster, stress_test_run

INTERVAL_SECONDS = 1.0


class ReportingUser(HttpUser):
    """Tells the listeners of a request which class of users made it."""

    abstract = True

    def context(self) -> dict[str, Any]:
        """Return what Locust hands to every listener of `request`."""
        return {"user_class": type(self).__name__}


class Monitor(ReportingUser):
    """Asks often whether the service lives."""

    wait_time = between(0.1, 0.3)

    @task
    def health(self) -> None:
        """One request."""
        self.client.get("/healthz")


class Visitor(ReportingUser):
    """Opens the first page, and now and then one that is not there."""

    wait_time = between(0.5, 1.5)

    @task(20)
    def home(self) -> None:
        """One page."""
        self.client.get("/")

    @task(1)
    def missing(self) -> None:
        """One error."""
        self.client.get("/no-such-page")


class Reporter:
    """Publishes what one process of Locust knows about the test that runs."""

    def __init__(self) -> None:
        self._stream: Broadcaster | None = None
        self._run = ExitStack()
        self._greenlet: gevent.Greenlet | None = None
        self._meters: dict[str, AgentMeter] = {}
        self._phase = "ramp-up"

    def start(self, environment: Environment, **_: Any) -> None:
        """Begin with a test: everything is counted from zero."""
        self._stream = Broadcaster(url=URL, token=TOKEN)
        self._meters = {}
        self._phase = "ramp-up"
        self._greenlet = gevent.spawn(self._report, environment)
        name = environment.parsed_options.record if environment.parsed_options else ""
        if name and not isinstance(environment.runner, WorkerRunner):  # the master's run is that of its workers too
            self._run.enter_context(stress_test_run(name, sources=(), tags=["locust"]))

    def count(self, response_time: float, exception: BaseException | None, context: dict[str, Any], **_: Any) -> None:
        """Count a request; Locust calls it after each."""
        name = context.get("user_class", "others")
        self._meters.setdefault(name, AgentMeter(name)).count(response_time, exception)

    def spawned(self, **_: Any) -> None:
        """Mark the moment from which all users are there."""
        self._phase = "steady"

    def stop(self, environment: Environment, **_: Any) -> None:
        """End with the test: publish the last numbers and wait until all has left; other greenlets go on."""
        if self._stream is not None:
            self._greenlet.kill()
            self._publish(environment)
            self._stream.close()
            self._stream = None
            self._run.close()

    def _report(self, environment: Environment) -> None:
        while True:
            gevent.sleep(INTERVAL_SECONDS)
            self._publish(environment)

    def _publish(self, environment: Environment) -> None:
        runner = environment.runner
        if runner is None:  # a worker may get its users while it is still being made
            return
        if not isinstance(runner, WorkerRunner):
            data = system_metrics(environment.stats.total, users=runner.user_count)
            self._stream.broadcast_system_metrics({**data, "phase": self._phase}, source="locust")
        if not isinstance(runner, MasterRunner) and self._meters:
            source = f"locust-{runner.worker_index}" if isinstance(runner, WorkerRunner) else "locust"
            users = runner.user_classes_count
            agents = [meter.take(users=users.get(name, 0)) for name, meter in self._meters.items()]
            self._stream.broadcast_agent_metrics(agents, source=source)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Add to the options of Locust's command line and page."""
    parser.add_argument("--record", metavar="NAME", default="", help="Keep the test as a run of this name")


reporter = Reporter()
events.test_start.add_listener(reporter.start)
events.request.add_listener(reporter.count)
events.spawning_complete.add_listener(reporter.spawned)
events.test_stop.add_listener(reporter.stop)
