"""The preset of this machine follows the host metrics to the source of their own."""

from importlib import import_module

import pytest
from django.apps import apps

from metrics_stream.conf import get_settings
from metrics_stream.models import ClientPreset

migration = import_module("metrics_stream.migrations.0016_presets_of_the_original")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("slug", "sources", "expected"),
    [("this-machine", ["{}"], ["{}-host"]), ("this-machine", ["other"], ["other"]), ("mine", ["{}"], ["{}"])],
)
def test_only_the_seeded_source_of_this_machine_is_replaced(slug, sources, expected):
    source = get_settings().source
    ClientPreset.objects.create(name="One", slug=slug, sources=[name.format(source) for name in sources])
    migration.follow_host_metrics(apps, None)
    assert ClientPreset.objects.get().sources == [name.format(source) for name in expected]
