"""Load generators at their limits, for the judges in Python and in the browser."""

from typing import Any, NamedTuple

from metrics_stream.core.validity import Judge


class Case(NamedTuple):
    """Metrics of one source a second apart, and the doubts about them."""

    name: str
    metrics: list[dict[str, Any]]
    current: list[tuple[str, str]]
    all: list[tuple[str, float, float, float]]

    @property
    def now(self) -> float:
        """The time of the last metric."""
        return float(len(self.metrics) - 1)


def cpu(*values: Any) -> list[dict[str, Any]]:
    return [{"generator_cpu_utilization": value} for value in values]


def dropped(*values: Any) -> list[dict[str, Any]]:
    return [{"dropped_iterations": value} for value in values]


def load(target: Any, *values: Any) -> list[dict[str, Any]]:
    return [{"throughput_tps": value, "target_tps": target} for value in values]


SOURCE = "gen-a"
BUSY = [("generator_cpu", SOURCE)]
DROPS = [("dropped_iterations", SOURCE)]

CASES = [
    Case("nothing is said", [{"throughput_tps": 5.0}] * 30, [], []),
    Case("not busy enough", cpu(*[0.89] * 30), [], []),
    Case("busy for too short a time", cpu(*[0.95] * 5), [], []),
    Case("busy", cpu(0.5, *[0.9] * 5, 0.97), BUSY, [("generator_cpu", 1.0, 6.0, 0.97)]),
    Case("busy, and then not", cpu(*[0.95] * 8, 0.5, 0.95), [], [("generator_cpu", 0.0, 7.0, 0.95)]),
    Case("a moment without load begins anew", cpu(*[0.95] * 4, 0.5, *[0.95] * 4), [], []),
    Case("what is no number says nothing", cpu(*[0.95, None, "0.1", True, float("nan")] * 3), BUSY,
         [("generator_cpu", 0.0, 10.0, 0.95)]),
    Case("late", [{"generator_lag_ms": 250.0}] * 6, [("generator_lag", SOURCE)], [("generator_lag", 0.0, 5.0, 250.0)]),
    Case("a late schedule", [{"schedule_lag_ms": 100.0}] * 6, [("late_schedule", SOURCE)],
         [("late_schedule", 0.0, 5.0, 100.0)]),
    Case("on target", load(100.0, *[95.0] * 30), [], []),
    Case("below the target", load(100.0, *[94.0] * 10, 50.0), [("below_target", SOURCE)],
         [("below_target", 0.0, 10.0, 0.5)]),
    Case("no target", load(0.0, *[10.0] * 30) + load(None, *[10.0] * 30), [], []),
    Case("the first count is no drop", dropped(*[7] * 30), [], []),
    Case("drops", dropped(7, 7, 9, 9, 10), DROPS, [("dropped_iterations", 2.0, 4.0, 3.0)]),
    Case("drops that are over", dropped(0, 2, *[2] * 11), [], [("dropped_iterations", 1.0, 1.0, 2.0)]),
    Case("a counter that begins anew", dropped(9, 9, 0, 0, 1), DROPS, [("dropped_iterations", 4.0, 4.0, 1.0)]),
    Case("metrics that were dropped", [{"generator_dropped_metrics": at} for at in range(3)],
         [("generator_dropped_metrics", SOURCE)], [("generator_dropped_metrics", 1.0, 2.0, 2.0)]),
]  # fmt: skip


def observed(case: Case) -> Judge:
    """Return a judge that has seen the metrics of a case."""
    judge = Judge()
    for at, data in enumerate(case.metrics):
        judge.observe(SOURCE, float(at), data)
    return judge
