"""The statistics of a process name only what the person may see."""

from metrics_stream.access.visibility import visible_statistics
from metrics_stream.core.metrics.permission import EVERYTHING, Grant, Permit

CONFLICTS = [
    {"metric_type": "system", "source": "mine", "producers": ["vm:1", "vm:2"]},
    {"metric_type": "system", "source": "theirs", "producers": ["vm:3", "vm:4"]},
    {"metric_type": "hero", "source": "mine", "producers": ["vm:1", "vm:2"]},
]
STATISTICS = {
    "metric_types": ["system"],
    "clients": [],
    "sources_with_wrong_clock": {"mine": 30.0, "theirs": 60.0},
    "sources_with_several_producers": CONFLICTS,
}


def test_who_may_see_everything_sees_all_sources():
    assert visible_statistics(STATISTICS, EVERYTHING) == STATISTICS


def test_sources_that_the_permit_does_not_show_are_left_out():
    permit = Permit(frozenset({Grant(frozenset({"system"}), sources=frozenset({"mine"}))}))
    seen = visible_statistics(STATISTICS, permit)
    assert seen["sources_with_wrong_clock"] == {"mine": 30.0}
    assert seen["sources_with_several_producers"] == CONFLICTS[:1]
