"""No page, file or error shows a name that the viewer may not see: every address is walked as every kind of viewer.

A new address or admin page fails here until the walk knows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.urls import URLPattern, URLResolver, get_resolver

from metrics_stream.models import AuditEntry, ClientPreset, Dashboard, TestRun
from tests.support.admin_forms import DASHBOARD as DASHBOARD_FORM
from tests.support.admin_forms import PANEL
from tests.support.admin_forms import PRESET as PRESET_FORM
from tests.support.admin_forms import RUN as RUN_FORM
from tests.support.markers import (
    AGENT,
    DASHBOARD,
    FIELD,
    MARK,
    PRESET,
    RUN,
    SOURCE,
    TYPE,
    browsers,
    closed_with_types,
    plant,
    superuser,
    text_of,
)

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = {
    *(
        "index",
        "dashboard",
        "runs",
        "run",
        "run_csv",
        "run_wide_csv",
        "run_ndjson",
        "run_json",
        "explore",
        "console",
        "login",
        "logout",
        "share_ended",
    ),
    *("share", "healthz", "readyz", "metrics", "publish", "start_run", "keep_run_alive", "stop_run", "stats"),
    *("security_txt", "favicon", "compare_run", "compare_run_unversioned", "run_phases", "record_run"),
    *("run_summary", "api_run_summary", "api_v1_run_summary"),
    *("api_metrics", "api_latest", "api_series", "api_stream", "api_runs", "api_run", "api_run_alive", "api_run_stop"),
    *("api_run_phases", "api_run_metrics", "api_run_series", "api_run_requests", "api_run_errors", "api_catalogue"),
    *("api_presets", "api_dashboards", "api_dashboard", "api_openapi", "api_docs", "api_unknown"),
}
ADMIN_MODELS = {
    *("auth.Group", "auth.User", "axes.AccessAttempt", "axes.AccessLog", "axes.AccessFailureLog"),
    *(
        f"metrics_stream.{name}"
        for name in (
            *("AccessPolicy", "AccessToken", "AuditEntry", "ClientPreset", "Connection", "Dashboard", "Panel"),
            *("MetricTypeDeclaration", "ShareLink", "TestRun"),
        )
    ),
}
# What stands for the parameters of an address; ids of admin pages are those of all rows.
SLUGS = ["ours", "lobby", "both", RUN, DASHBOARD, PRESET, "nothing"]
PARAMETERS = {
    "<slug:slug>": SLUGS,
    "<str:slug>": SLUGS,
    "<path:text>": ["nothing/", f"{MARK}/"],
    "<anything:rest>": ["", "nothing/"],
    "<slug:client_id>": ["0" * 32],
    "(?P<app_label>auth|axes|metrics_stream)": ["auth", "axes", "metrics_stream"],
    "(?P<url>.*)": ["nothing/"],
}
QUERIES = [
    "",
    f"?preset={PRESET}",
    f"?run={RUN}&at=2027-01-15T08:00:00Z",
    "?run=ours",
    f"?q={MARK[2:]}",
    f"?q={MARK[2:]}-tag&status=running",
    f"?q={MARK[2:]}+value&test={MARK[2:]}-test",
    "?q=r",
    "?from=2027-01-15T08:00:00Z&to=2027-01-15T08:00:02Z",
    "?page=2",
]


# Of the addresses of the API that take parameters; others are visited without.
_FILTERS = f"types={TYPE}&sources={SOURCE}&agent_ids={AGENT}&fields={FIELD}"
API_QUERIES = {
    "/api/v1/runs/": ["?format=csv", "?limit=1", f"?q={MARK[2:]}&test={MARK[2:]}-test"],
    "/api/v1/latest/": [f"?{_FILTERS}"],
    "/api/v1/series/": [f"?{_FILTERS}&format=csv"],
    "/api/v1/stream/": [f"?{_FILTERS}&preset={PRESET}", "?preset=both"],
    "/api/v1/runs/<str:slug>/series/": ["?format=csv", f"?{_FILTERS}"],
    "/api/v1/runs/<str:slug>/requests/": ["?format=csv"],
    "/api/v1/runs/<str:slug>/errors/": ["?format=csv"],
}
# Besides GET and POST.
API_METHODS = {"/api/v1/runs/<str:slug>/": "delete", "/api/v1/dashboards/<str:slug>/": "put"}


@pytest.fixture(autouse=True)
def planted():
    with closed_with_types:
        plant()
        yield


# --- the addresses ---


def addresses(resolver=None, prefix="/") -> Iterator[tuple[str, str]]:
    """Yield the pattern of each address, and its name."""
    for item in (resolver or get_resolver()).url_patterns:
        path = f"{prefix}{item.pattern}"
        if isinstance(item, URLResolver):
            yield from addresses(item, path)
        elif isinstance(item, URLPattern):
            yield path.replace("/^", "/").removesuffix("$"), item.name or ""


TOKEN = re.compile(r"\(\?P<\w+>[^)]*\)|\(\[\^/\]\+\)|<[^>]+>")


def filled(pattern: str) -> Iterator[str]:
    """Yield the addresses of a pattern, for all objects that are planted."""
    tokens = TOKEN.findall(pattern)
    model = next((model for model in admin.site._registry if f"/{model._meta.model_name}/" in pattern), None)
    for chosen in product(*(values_of(token, place, model) for place, token in enumerate(tokens))):
        values = iter(chosen)
        yield TOKEN.sub(lambda _, values=values: next(values), pattern)


def values_of(token: str, place: int, model: type[Model] | None) -> list[str]:
    if token in PARAMETERS:
        return PARAMETERS[token]
    if token == "<path:content_type_id>":
        models = [model for model in admin.site._registry if model._meta.app_label == "metrics_stream"]
        return [str(ContentType.objects.get_for_model(model).pk) for model in models]
    if token == "<path:object_id>" and model is None:  # of any model
        return ["1", "2", "3"]
    assert model is not None, f"the walk does not know the parameter {token}"
    assert token in ("<path:object_id>", "<id>", "([^/]+)"), f"the walk does not know the parameter {token}"
    rows = model.history if place else model._default_manager  # the second parameter is a version in the history
    return [str(pk) for pk in rows.values_list("pk", flat=True)]


def test_the_walk_knows_every_address_and_every_model_of_the_admin():
    pages = {name for pattern, name in addresses() if not pattern.startswith("/admin/")}
    assert pages == PAGES
    assert {model._meta.label for model in admin.site._registry} == ADMIN_MODELS


def visits() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the method, address and form of every request; forms are sent empty, and those of the admin filled too."""
    for pattern, _ in addresses():
        for address in filled(pattern):
            if address.endswith("/wide.csv"):
                for metric_type in ("system", "agent", "request", "error", TYPE):
                    yield "get", f"{address}?type={metric_type}", {}
            for query in queries_for(pattern):
                yield "get", f"{address}{query}", {}
            if pattern in API_METHODS:
                yield API_METHODS[pattern], address, {}
            if "logout" not in address:
                yield "post", address, {}
    for model, model_admin in admin.site._registry.items():
        base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        yield "get", f"{base}?q={MARK[2:]}", {}
        yield (
            "get",
            f"/admin/autocomplete/?app_label={model._meta.app_label}&model_name=sharelink&field_name=run",
            {},
        )
        rows = [str(pk) for pk in model._default_manager.values_list("pk", flat=True)]
        for action in ("delete_selected", *model_admin.actions):
            for sent in ({}, {"post": "yes"}):
                yield "post", base, {"action": action, "_selected_action": rows, **sent}
        form = filled_form(model)
        for place in ("add", *(f"{row}/change" for row in rows)):
            yield "post", f"{base}{place}/", form


def queries_for(pattern: str) -> list[str]:
    if pattern.startswith("/api/v1/"):
        return ["", *API_QUERIES.get(pattern, [])]
    return QUERIES if pattern.count("/") < 4 and "admin" not in pattern else QUERIES[:1]


def filled_form(model: type[Model]) -> dict[str, Any]:
    """Return a form of the admin that names objects which may not be seen."""
    own = {"Dashboard": DASHBOARD_FORM, "Panel": PANEL, "ClientPreset": PRESET_FORM, "TestRun": RUN_FORM}
    hidden = {
        "dashboard": Dashboard.objects.get(slug=DASHBOARD).pk,
        "preset": ClientPreset.objects.get(slug=PRESET).pk,
        "run": TestRun.objects.get(slug=RUN).pk,
    }
    policy = {"name": "x", "scopes": ["publish"], "metric_types": [TYPE], "dashboards": [hidden["dashboard"]]}
    return {**own.get(model.__name__, policy), **hidden, "expires_at_0": "2030-01-01", "expires_at_1": "00:00"}


def seen_by(browser, headers, method: str, address: str, form: dict[str, Any]) -> str:
    """Return what an address answers, without the address itself and without what the request said."""
    answer = getattr(browser, method)(address, *([form] if method == "post" else []), headers=headers)
    text = text_of(answer)
    path, _, query = address.partition("?")
    said = [part for part in path.split("/") if MARK in part] if path.startswith("/api/") else []
    said += [value for _, value in parse_qsl(query) if MARK in value and path.startswith("/api/")]
    for form in (quote(address), quote(address, safe=""), address, quote(path, safe=""), path, *said):
        text = text.replace(form.lower(), "")
    return text


@pytest.mark.parametrize("kind", ["anonymous", "viewer", "staff without permissions", "token", "share guest"])
def test_no_page_shows_what_the_viewer_may_not_see(kind):
    browser, headers = browsers()[kind]
    count = 0
    rows = counts_of_rows()
    for method, address, form in visits():
        text = seen_by(browser, headers, method, address, form)
        count += 1
        at = text.find(MARK)
        assert at < 0, f"{kind}: {method} {address}: …{text[max(0, at - 200) : at + 200]}…"
    assert count > 400
    assert counts_of_rows() == rows, "no form of these viewers makes or deletes anything"
    if kind == "viewer":
        assert "lobby" in text_of(browser.get("/"))


def counts_of_rows() -> dict[str, int]:
    """Return how many rows each table of metrics_stream has in the admin, but for the audit log."""
    models = [model for model in admin.site._registry if model._meta.app_label == "metrics_stream"]
    return {model.__name__: model._default_manager.count() for model in models if model is not AuditEntry}


def test_superuser_sees_what_is_planted():
    """Or the walk would find nothing wherever it looks."""
    browser = superuser()
    shown = {
        "/": [" title", " text"],
        "/console/": ["_type", " label", "-preset", " preset", " words", "-types"],
        "/explore/": ["_type", " label", "_declared", " declared", "_field", " unit label"],
        "/dashboards/lobby/": ["_type", "_field", " panel"],
        f"/dashboards/{DASHBOARD}/": [" title", " panel"],
        "/runs/": ["-run", " run", "-tag", "-test"],
        f"/runs/{RUN}/": ["-source", "-agent", "_field", " note", " label: 3", "-test", " value", " phase"],
        f"/runs/{RUN}/export.json": ["-source", "-test", " name", " value", " phase", "-tag", " note"],
        f"/dashboards/lobby/?run={RUN}": [" phase"],
        f"/runs/{RUN}/export.csv": ["-source", "-agent", "_field", "/users", "-scenario", "-method", " message"],
        f"/runs/{RUN}/wide.csv?type=request": ["-source", "_field", "/users", "-scenario", "-method"],
        f"/runs/{RUN}/export.ndjson.gz": ["-source", "-agent", "_field", " name"],
        "/api/v1/catalogue/": ["_type", " label"],
        "/api/v1/presets/": ["-preset", " preset", "-types"],
        "/api/v1/dashboards/": [" title"],
        f"/api/v1/dashboards/{DASHBOARD}/": [" title", " panel"],
        "/api/v1/runs/": ["-run", " run", "-tag", "-test", " phase", "-source"],
        "/api/v1/runs/?format=csv": ["-run", " run", "-tag", "-test", " phase", "-source"],
        f"/api/v1/runs/{RUN}/": ["-run", " note", " value"],
        f"/api/v1/runs/{RUN}/series/": ["-source", "-agent", "_field"],
        f"/api/v1/runs/{RUN}/series/?format=csv": ["-source", "-agent", "_field"],
        f"/api/v1/runs/{RUN}/summary/": ["-source", "_field"],
        f"/api/v1/runs/{RUN}/requests/": ["-source", "/users", "-scenario", "-method"],
        "/admin/auth/user/": ["-user"],
        "/admin/auth/group/": [" group"],
        "/admin/metrics_stream/accesspolicy/": [" policy"],
        "/admin/metrics_stream/accesstoken/": [" token"],
        "/admin/metrics_stream/sharelink/": [" link", " title", " run"],
        "/admin/metrics_stream/metrictypedeclaration/": ["_declared", " declared"],
        "/admin/metrics_stream/clientpreset/": [" preset", "-types"],
        "/admin/metrics_stream/dashboard/": [" title"],
        "/admin/metrics_stream/panel/": [" panel", "_field"],
        "/admin/metrics_stream/testrun/": [" run", "-tag", "-test"],
    }
    for address, endings in shown.items():
        text = text_of(browser.get(address))
        assert [ending for ending in endings if f"{MARK}{ending}" not in text] == [], address
