"""docs/dashboards.md lists the presets, dashboards and panel kinds that the code has."""

from metrics_stream.defaults.dashboards import DASHBOARD_SEEDS
from metrics_stream.defaults.presets import preset_seeds
from metrics_stream.models import ClientPreset, Dashboard, Panel
from metrics_stream.models.panel_kinds import PANEL_KINDS
from metrics_stream.models.validators import OPTIONS
from tests.support.documents import DASHBOARDS, README, named, names, one_line, section, table


def test_preset_fields_and_their_defaults():
    columns = {field.name: field for field in ClientPreset._meta.get_fields() if field.name not in {"id", "dashboards"}}
    rows = table(DASHBOARDS, "Presets", "field")
    assert sorted(named(rows)) == sorted(columns)
    defaults = {names(row["field"])[0]: row["default"] for row in rows}
    for name in ("interval_seconds", "batch_size", "batch_timeout_seconds", "mode"):
        assert defaults[name] == str(columns[name].default)


def test_seeded_presets_and_dashboards():
    assert named(table(DASHBOARDS, "Presets", "preset")) == [columns["slug"] for columns in preset_seeds()]
    assert named(table(DASHBOARDS, "Dashboards", "dashboard")) == [item.slug for item in DASHBOARD_SEEDS]
    titles = ", ".join(item.title for item in DASHBOARD_SEEDS)
    assert titles in one_line(README)


def test_panel_kinds_with_their_fields_and_options():
    words = {
        (1, None): "1 or more",
        (1, 1): "exactly 1",
        (2, 2): "exactly 2",
        (0, None): "any number",
        (0, 1): "0 or 1",
        (0, 0): "none",
    }
    rows = table(DASHBOARDS, "Panels", "kind")
    assert {names(row["kind"])[0]: (row["fields"], tuple(names(row["options"]))) for row in rows} == {
        kind.slug: (words[kind.fields], kind.options) for kind in PANEL_KINDS.values()
    }


def test_panel_options_and_columns():
    rows = table(DASHBOARDS, "Panels", "option")
    assert {names(row["option"])[0]: row["allowed"] for row in rows} == {key: OPTIONS[key][0] for key in OPTIONS}
    columns = table(DASHBOARDS, "Panels", "column")
    assert all(Panel._meta.get_field(name) for name in named(columns))
    sizes = next(row["meaning"] for row in columns if row["column"] == "`size`")
    assert names(sizes) == Panel.Size.values
    assert set(Dashboard.Kind.values) <= set(names(section(DASHBOARDS, "Dashboards")))
