"""Names that some viewers must not see, planted wherever this service shows names, and those viewers."""

from __future__ import annotations

import gzip
from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.test import Client as Browser
from django.test import override_settings
from django.utils import timezone

from metrics_stream.models import (
    AccessPolicy,
    AccessToken,
    ClientPreset,
    Dashboard,
    MetricTypeDeclaration,
    MetricTypeField,
    Panel,
    RunPhase,
    ShareLink,
    TestRun,
    TokenName,
)
from tests.support.access import open_link
from tests.support.recording import Recording, metric, start_run
from tests.support.responses import body_of

# No text of the service contains it.
MARK = "quokka"
TYPE, SOURCE, AGENT, FIELD = f"{MARK}_type", f"{MARK}-source", f"{MARK}-agent", f"{MARK}_field"
RUN, DASHBOARD, PRESET = f"{MARK}-run", f"{MARK}-dashboard", f"{MARK}-preset"

NAME, SCENARIO, METHOD = f"/{MARK}/users", f"{MARK}-scenario", f"{MARK}-method"

# What a producer states beside the data about a field that must not be seen.
STATED: dict[str, Any] = {"units": {FIELD: f"{MARK} unit"}, "windows": {FIELD: 10}}

OURS = "ours"
# A declared type that the viewers may see, with a field that they may not see.
DECLARED = "declared"
VIEWER, NOBODY, LINK_MAKER = "ann", "stan", "lin"

closed_with_types = override_settings(
    ANONYMOUS_READ=False,
    METRICS_STREAM={
        "EXTRA_METRIC_TYPES": {TYPE: f"{MARK} label"},
        "MAX_ERRORS_PER_MINUTE": 1_000,
        "MESSAGE_BURST": 1_000,
    },
)


def agents() -> list[dict[str, Any]]:
    """Return the data of a metric with an agent that may be seen, and one that may not."""
    return [
        {"agent_id": "a1", "current_load": 0.5, FIELD: 1},
        {"agent_id": AGENT, "agent_name": f"{MARK} name", "current_load": 0.5},
    ]


def requests() -> list[dict[str, Any]]:
    """Return the data of a metric with a request that may be seen, and some that may not, each for another part."""
    seen = {"name": "/ours", "method": "GET", "throughput_tps": 5, FIELD: 1, "requests_total": 3}
    return [seen, {**seen, "name": NAME}, {**seen, "scenario": SCENARIO}, {**seen, "method": METHOD}]


def faults() -> list[dict[str, Any]]:
    """Return the data of a metric with an error that may be seen, and one that may not."""
    seen = {"name": "/ours", "method": "GET", "message": "timeout", "throughput_tps": 5, "occurrences_total": 2}
    return [seen, {**seen, "message": f"{MARK} message"}]


def published() -> list[dict[str, Any]]:
    """Return metrics for `broadcast_many`: those of OURS may be seen in part, the others not at all."""
    return [
        {"metric_type": metric_type, "data": data, "source": source, **STATED}
        for source in (OURS, SOURCE)
        for metric_type, data in (
            ("system", {"throughput_tps": 5, FIELD: 1}),
            ("agent", agents()),
            ("request", requests()),
            ("error", faults()),
            (TYPE, {"n": 1}),
        )
    ]


def plant() -> None:
    """Store objects that the viewers may see in part, and objects that bear the mark in every column of texts."""
    declare_types()
    lobby_preset = ClientPreset.objects.create(
        name="Both",
        slug="both",
        sources=[OURS, SOURCE],
        agent_ids=["a1", AGENT],
        keys=["name=/ours", f"name={NAME}", "scenario=", f"scenario={MARK}*"],
        fields=["throughput_tps", FIELD],
    )
    ClientPreset.objects.create(name=f"{MARK} preset", slug=PRESET, sources=[SOURCE], description=f"{MARK} words")
    ClientPreset.objects.create(name=f"{MARK} keys", slug=f"{MARK}-keys", keys=[f"name={NAME}"])
    ClientPreset.objects.create(name=f"{MARK} types", slug=f"{MARK}-types", metric_types=[TYPE])
    lobby = Dashboard.objects.create(title="Lobby", slug="lobby", preset=lobby_preset)
    hidden = Dashboard.objects.create(title=f"{MARK} title", slug=DASHBOARD, description=f"{MARK} text")
    for dashboard in (lobby, hidden):
        fields = ["throughput_tps", FIELD]
        options = {"top": 3, "by": FIELD, "sources_with": TYPE}
        Panel.objects.create(dashboard=dashboard, title="Load", metric_type="system", fields=fields, options=options)
        Panel.objects.create(dashboard=dashboard, title="Rows", metric_type="request", fields=["throughput_tps"])
        named = {"keys": [f"name={MARK}-of-a-panel", f"agent_id={AGENT}"]}
        Panel.objects.create(
            dashboard=dashboard, title="Named", metric_type="request", fields=["throughput_tps"], options=named
        )
        Panel.objects.create(dashboard=dashboard, title=f"{MARK} panel", metric_type=TYPE, fields=["n"])
    _record("ours", [OURS])
    said = {
        "test": f"{MARK}-test",
        "parameters": {f"{MARK} name": f"{MARK} value", "build": f"https://{MARK}.example/"},
    }
    _record(RUN, [OURS, SOURCE], name=f"{MARK} run", tags=[f"{MARK}-tag"], notes=f"{MARK} note", **said)
    RunPhase.objects.create(run=TestRun.objects.get(slug=RUN), name=f"{MARK} phase", starts_at=timezone.now())
    _make_viewers(lobby)
    User.objects.create_user(f"{MARK}-user", f"{MARK}@example.com", "x")
    Group.objects.create(name=f"{MARK} group")
    AccessPolicy.objects.create(name=f"{MARK} policy", metric_types=["all"], sources=[SOURCE])
    token, _ = AccessToken.issue(name=f"{MARK} token", scopes=["publish", "runs"], metric_types=["all"])
    TokenName.objects.create(token=token, kind="source", name=SOURCE)
    ShareLink.issue(name=f"{MARK} link", dashboard=hidden, run=TestRun.objects.get(slug=RUN))


def declare_types() -> None:
    """Declare a metric type of which a part may be seen, and one that may not be seen."""
    shown = MetricTypeDeclaration.objects.create(slug=DECLARED, label="Declared")
    for name, label in ((FIELD, f"{MARK} unit label"), ("current_load", "Load")):
        MetricTypeField.objects.create(metric_type=shown, name=name, label=label, unit="ms")
    hidden = MetricTypeDeclaration.objects.create(slug=f"{MARK}_declared", label=f"{MARK} declared")
    MetricTypeField.objects.create(metric_type=hidden, name="current_load", label=f"{MARK} load")


def change_definitions(turn: int) -> None:
    """Change what is declared, and a preset of which a part may be seen."""
    for declared in MetricTypeDeclaration.objects.all():
        declared.label = f"{declared.label.partition(' turn')[0]} turn {turn}"
        declared.save()
    MetricTypeDeclaration.objects.get_or_create(slug=f"{MARK}_later_{turn}")
    for preset in ClientPreset.objects.all():
        preset.interval_seconds = 1 + turn / 10
        preset.save()


def _record(slug: str, sources: list[str], **columns: Any) -> None:
    lost = [{"at": timezone.now().isoformat(), "metric_type": TYPE, "count": 3, "reason": "history"}]
    clocks = [["system", OURS, 1800.0], ["system", SOURCE, 1800.0], [TYPE, OURS, 1800.0]]
    run, recording = start_run(slug, sources=sources, lost=lost, source_clocks=clocks, **columns), Recording(slug)
    for number, source in enumerate([*sources, *sources]):
        recording.record(metric(number, {"throughput_tps": 5, FIELD: 1}, source=source, **STATED))
        recording.record(metric(number, agents(), metric_type="agent", source=source, **STATED))
        recording.record(metric(number, requests(), metric_type="request", source=source, **STATED))
        recording.record(metric(number, faults(), metric_type="error", source=source))
    recording.end(run)


def _make_viewers(lobby: Dashboard) -> None:
    columns = {
        "metric_types": ["system", "agent", "request", "error", DECLARED],
        "sources": [OURS],
        "agent_ids": ["a1"],
    }
    columns["keys"] = ["name=/ours", "method=GET", "scenario=", "message=", "message=timeout"]
    fields = ["throughput_tps", "current_load"]
    for name in (VIEWER, LINK_MAKER):
        policy = AccessPolicy.objects.create(name=name, fields=fields, runs="sources", **columns)
        policy.dashboards.add(lobby)
        policy.users.add(User.objects.create_user(name, "", "x"))
    User.objects.create_user(NOBODY, "", "x", is_staff=True)
    User.objects.create_superuser("root")


def browsers() -> dict[str, tuple[Browser, dict[str, str]]]:
    """Return each kind of viewer that must not see the mark: a browser, and the headers that it sends."""
    viewer, nobody, guest = Browser(), Browser(), Browser()
    viewer.force_login(User.objects.get(username=VIEWER))
    nobody.force_login(User.objects.get(username=NOBODY))
    values = {"name": "probe", "scopes": ["subscribe"], "metric_types": ["system", "agent", "request", "error"]}
    _, token = AccessToken.issue(created_by=User.objects.get(username=VIEWER), **values)
    maker = User.objects.get(username=LINK_MAKER)
    open_link(guest, ShareLink.issue(name="x", dashboard=Dashboard.objects.get(slug="lobby"), created_by=maker)[1])
    return {
        "anonymous": (Browser(), {}),
        "viewer": (viewer, {}),
        "staff without permissions": (nobody, {}),
        "token": (Browser(), {"Authorization": f"Bearer {token}"}),
        "share guest": (guest, {}),
    }


def superuser() -> Browser:
    """Return a browser in which the superuser is signed in."""
    browser = Browser()
    browser.force_login(User.objects.get(username="root"))
    return browser


def text_of(answer: Any) -> str:
    """Return the headers and the body of an answer in lower case, unpacked."""
    body = body_of(answer) if answer.streaming and answer.is_async else answer.getvalue()
    if body.startswith(b"\x1f\x8b"):
        body = gzip.decompress(body)
    return f"{answer.headers}\n{body.decode(errors='replace')}".lower()


def grant(username: str, *codenames: str) -> None:
    """Give a person permissions of Django."""
    User.objects.get(username=username).user_permissions.add(*Permission.objects.filter(codename__in=codenames))
