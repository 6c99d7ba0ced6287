"""`seed_defaults` and `ensure_admin`: what a new installation starts with, and that running them again does no harm."""

import stat
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from metrics_stream.conf import get_settings
from metrics_stream.models import ClientPreset, Dashboard, Panel
from metrics_stream.views.page_config import page_config

pytestmark = pytest.mark.django_db


def run(command, **options):
    out = StringIO()
    call_command(command, stdout=out, **options)
    return out.getvalue()


def test_seeds_presets_and_dashboards():
    output = run("seed_defaults")
    assert output.startswith("Created preset standard, preset load-test, ")
    assert [item.slug for item in Dashboard.objects.all()] == [
        "load-test",
        "operations",
        "this-machine",
        "agents",
        "business",
        "presentation",
        "stream-health",
    ]
    assert set(ClientPreset.objects.values_list("slug", flat=True)) == {
        "standard",
        "load-test",
        "operations",
        "this-machine",
        "agents",
        "single-agent",
        "business",
        "presentation",
        "stream-health",
        "wall-display",
        "low-bandwidth",
        "raw",
        "original",
    }
    assert ClientPreset.objects.get(is_default=True).slug == "standard"
    assert ClientPreset.objects.get(slug="this-machine").sources == [f"{get_settings().source}-host"]
    assert Dashboard.objects.get(slug="operations").panels.count() >= 10


def test_seeded_items_are_valid_and_their_fields_are_in_the_catalogue():
    run("seed_defaults")
    catalogue = get_settings().catalogue()
    for preset in ClientPreset.objects.all():
        preset.full_clean()
    for panel in Panel.objects.all():
        panel.full_clean()
        if panel.kind in {"histogram", "heatmap"}:
            assert all(catalogue.unit_of_sketch(panel.metric_type, name) for name in panel.fields)
        elif panel.kind != "text":
            known = {field.name for field in catalogue.types[panel.metric_type].fields}
            assert {path.partition(".")[0] for path in panel.fields} <= known


def test_preset_of_a_seeded_dashboard_hides_no_panel():
    run("seed_defaults")
    for dashboard in Dashboard.objects.select_related("preset"):
        page = page_config(dashboard, list(dashboard.panels.all()), dashboard.preset)
        assert set(page["metric_types"]) == set(dashboard.preset.metric_types)
        assert dashboard.preset.fields == []


def test_second_run_changes_nothing():
    run("seed_defaults")
    before = (Dashboard.history.count(), Panel.history.count(), ClientPreset.history.count())
    assert run("seed_defaults") == "The default presets and dashboards exist.\n"
    assert (Dashboard.history.count(), Panel.history.count(), ClientPreset.history.count()) == before


def test_what_an_admin_changed_renamed_or_deleted_stays_that_way():
    run("seed_defaults")
    Dashboard.objects.get(slug="business").delete()
    ClientPreset.objects.get(slug="raw").delete()
    renamed = Dashboard.objects.get(slug="agents")
    renamed.slug, renamed.title = "workers", "Workers"
    renamed.save()
    Dashboard.objects.get(slug="operations").panels.first().delete()
    panels = Panel.objects.count()
    run("seed_defaults")
    assert [item.slug for item in Dashboard.objects.all()] == [
        "load-test",
        "operations",
        "this-machine",
        "workers",
        "presentation",
        "stream-health",
    ]
    assert not ClientPreset.objects.filter(slug="raw").exists()
    assert Panel.objects.count() == panels


def test_presets_that_an_admin_made_first_are_kept():
    mine = ClientPreset.objects.create(name="Raw", slug="mine", is_default=True)
    run("seed_defaults")
    assert ClientPreset.objects.get(is_default=True) == mine
    assert ClientPreset.objects.filter(name="Raw").count() == 1


def test_ensure_admin_makes_a_superuser_whose_password_only_the_owner_reads(tmp_path):
    path = tmp_path / "var" / "password"
    output = run("ensure_admin", password_file=path)
    password = path.read_text().strip()
    assert output == f"Created the superuser 'admin'; its password is in {path}.\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    user = get_user_model().objects.get()
    assert (user.username, user.is_superuser, user.is_staff) == ("admin", True, True)
    assert len(password) >= 16
    assert user.check_password(password)


def test_ensure_admin_does_nothing_when_there_is_a_superuser(tmp_path):
    get_user_model().objects.create_superuser("root", "", "x")
    path = tmp_path / "password"
    assert run("ensure_admin", password_file=path) == "A superuser exists; nothing to do.\n"
    assert not path.exists()
    assert get_user_model().objects.count() == 1


def test_ensure_admin_replaces_a_stale_file_and_its_mode(tmp_path):
    path = tmp_path / "password"
    path.write_text("old")
    path.chmod(0o644)
    run("ensure_admin", password_file=path)
    assert path.read_text() != "old"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_ensure_admin_without_a_place_for_the_password_makes_nobody(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="Cannot write the password"):
        run("ensure_admin", password_file=tmp_path / "file" / "password")
    assert not get_user_model().objects.exists()


def test_ensure_admin_does_not_touch_a_user_of_that_name(tmp_path):
    get_user_model().objects.create_user("admin", "", "x")
    with pytest.raises(CommandError, match="exists but is not a superuser"):
        run("ensure_admin", password_file=tmp_path / "password")
