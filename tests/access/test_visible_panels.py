"""What of a panel a viewer sees whose grants do not cover everything that the panel names."""

import pytest

from metrics_stream.access.visibility import _visible_part
from metrics_stream.core.metrics.keys import Terms
from metrics_stream.core.metrics.permission import Grant, Permit
from metrics_stream.models import ClientPreset, Panel
from metrics_stream.models.dashboard_content import grants_from

KEYS = frozenset({Terms("name", frozenset({"/api/*"}))})
SHOWN = Permit(
    frozenset({Grant(frozenset({"request"}), fields=frozenset({"p95_response_time_ms", "throughput_tps"}), keys=KEYS)})
)


def panel(**options):
    return Panel(
        title="Slowest", kind="line", metric_type="request", fields=["p95_response_time_ms"], options=options, pk=1
    )


@pytest.mark.parametrize(
    ("options", "visible"),
    [
        ({"top": 5, "by": "throughput_tps"}, {"top": 5, "by": "throughput_tps"}),
        ({"top": 5, "by": "users"}, {"top": 5}),
        ({"sources_with": "request"}, {"sources_with": "request"}),
        ({"sources_with": "error"}, {}),
        ({"keys": ["name=/api/users", "name=/secret"]}, {"keys": ["name=/api/users"]}),
        ({"keys": ["name=/secret"]}, None),
    ],
)
def test_options_name_only_what_the_viewer_may_see(options, visible):
    part = _visible_part(panel(**options), SHOWN)
    assert (None if part is None else part.options) == visible


def test_grants_of_a_dashboard_cover_the_field_by_which_rows_are_chosen():
    (grant,) = grants_from(ClientPreset(), [panel(top=3, by="users")])
    assert grant.fields == {"p95_response_time_ms", "users"}
