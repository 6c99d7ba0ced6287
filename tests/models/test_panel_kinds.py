"""The table of panel kinds, and what other parts of the code have for each row."""

import pytest

from metrics_stream.admin.dashboards import PANEL_FIELDSETS
from metrics_stream.admin.forms import PanelForm
from metrics_stream.models import Panel
from metrics_stream.models.panel_kinds import PANEL_KINDS
from metrics_stream.models.validators import OPTIONS


def test_column_takes_every_kind():
    column = Panel._meta.get_field("kind")
    assert column.flatchoices == [(slug, kind.label) for slug, kind in PANEL_KINDS.items()]
    assert all(len(slug) <= column.max_length for slug in PANEL_KINDS)
    assert column.default in PANEL_KINDS


def test_new_kind_needs_no_migration():
    choices = Panel._meta.get_field("kind").deconstruct()[3]["choices"]
    assert callable(choices)


def test_each_option_belongs_to_a_kind_and_has_a_field_in_the_admin():
    assert {option for kind in PANEL_KINDS.values() for option in kind.options} == set(OPTIONS)
    assert {name for name in PanelForm.base_fields if name.startswith("option_")} == {
        f"option_{name}" for name in OPTIONS
    }
    placed = str(PANEL_FIELDSETS)
    assert all(f"'option_{name}'" in placed for name in OPTIONS)


@pytest.mark.parametrize(
    ("kind", "named", "read"),
    [
        ("line", ["throughput_tps", "cost.total"], {"throughput_tps", "cost"}),
        ("status", [], {"status"}),
        ("status", ["health_score"], {"health_score", "status"}),
        ("flow", [], {"transaction_flow_data"}),
        ("flow", ["payments"], {"payments"}),
        ("text", [], set()),
    ],
)
def test_fields_that_the_browser_reads(kind, named, read):
    assert PANEL_KINDS[kind].read_fields(named) == read
