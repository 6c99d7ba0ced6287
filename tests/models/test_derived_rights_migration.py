"""Tokens and links that were made before they were bound to their makers."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from metrics_stream.core.metrics.permission import Grant
from metrics_stream.models import AccessToken, ShareLink
from metrics_stream.models.dashboard_content import grants_in, panels_in

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE, AFTER = [("metrics_stream", "0007_panel_kinds_and_help_texts")], [("metrics_stream", "0008_derived_rights")]


def test_they_are_bound_to_people_and_links_keep_what_they_show():
    executor = MigrationExecutor(connection)
    newest = executor.loader.graph.leaf_nodes()
    executor.migrate(BEFORE)
    try:
        old = executor.loader.project_state(BEFORE).apps
        person, root = User.objects.create_user("ann"), User.objects.create_superuser("root")
        preset = old.get_model("metrics_stream", "ClientPreset").objects.create(name="East", slug="e", sources=["east"])
        dashboard = old.get_model("metrics_stream", "Dashboard").objects.create(title="A", slug="a", preset=preset)
        panels = old.get_model("metrics_stream", "Panel").objects
        shown = panels.create(dashboard=dashboard, title="x", kind="line", metric_type="system", fields=["n.total"])
        text = panels.create(dashboard=dashboard, title="x", kind="text", order=1)
        token, link = old.get_model("metrics_stream", "AccessToken"), old.get_model("metrics_stream", "ShareLink")
        for name, maker in (("person", person.pk), ("root", root.pk), ("command", None)):
            token.objects.create(name=name, prefix=name, digest=name, scopes=[], created_by_id=maker)
        link.objects.create(name="x", digest="x", dashboard=dashboard, created_by_id=person.pk)
        MigrationExecutor(connection).migrate(AFTER)
        bound = dict(AccessToken.objects.values_list("name", "is_personal"))
        made = ShareLink.objects.get()
    finally:
        MigrationExecutor(connection).migrate(newest)
    assert bound == {"person": True, "root": False, "command": False}
    assert made.is_personal
    narrowed = (frozenset({"system"}), frozenset({"east"}), frozenset(), frozenset({"n"}))
    assert grants_in(made.content) == {Grant(*narrowed)}
    assert panels_in(made.content) == {shown.pk, text.pk}
