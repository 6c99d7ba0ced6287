"""The table of panel kinds, and what other parts of the code have for each row."""

from pathlib import Path

import pytest

import metrics_stream
from metrics_stream.admin.dashboards import PANEL_FIELDSETS
from metrics_stream.admin.forms import PanelForm
from metrics_stream.models import Panel
from metrics_stream.models.panel_kinds import PANEL_KINDS
from metrics_stream.models.validators import OPTIONS

STATIC = Path(metrics_stream.__file__).parent / "static/metrics_stream"


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
        ("histogram", ["response_time_ms"], {"sketches"}),
        ("histogram", ["checkout.response_time_ms"], {"checkout", "sketches"}),
        ("flow", [], {"transaction_flow_data"}),
        ("flow", ["payments"], {"payments"}),
        ("text", [], set()),
    ],
)
def test_fields_that_the_browser_reads(kind, named, read):
    assert PANEL_KINDS[kind].read_fields(named) == read


@pytest.mark.parametrize(
    ("kind", "named", "path"),
    [
        ("line", "cost.total", "cost.total"),
        ("histogram", "response_time_ms", "sketches.response_time_ms"),
        ("histogram", "checkout.response_time_ms", "checkout.sketches.response_time_ms"),
    ],
)
def test_path_of_a_field_in_the_data(kind, named, path):
    assert PANEL_KINDS[kind].path_of(named) == path


@pytest.mark.parametrize("kind", PANEL_KINDS)
def test_each_kind_has_a_chart_class_a_style_sheet_and_an_icon(kind):
    assert f"export class {kind.capitalize()}Chart " in (STATIC / f"charts/{kind}.js").read_text()
    assert (STATIC / f"css/charts/{kind}.css").is_file()
    assert (STATIC / f"img/mini-{kind}.svg").is_file()
    assert f'url("../img/mini-{kind}.svg")' in (STATIC / "css/home.css").read_text()


def test_no_kind_is_missing_in_the_table():
    assert {path.stem for path in (STATIC / "css/charts").glob("*.css")} == set(PANEL_KINDS)
