"""The URLs of pages and of the HTTP API; WebSockets are in `routing.py`."""

from django.urls import path, register_converter

from metrics_stream.api import comparison as api_comparison
from metrics_stream.api import dashboards as api_dashboards
from metrics_stream.api import documentation as api_documentation
from metrics_stream.api import live as api_live
from metrics_stream.api import metrics as api_metrics
from metrics_stream.api import names as api_names
from metrics_stream.api import past_runs, run_list, run_series
from metrics_stream.api import runs as api_runs
from metrics_stream.api.run_summary import summary_at
from metrics_stream.consumers import event_stream
from metrics_stream.views import accounts, dashboards, explore, exports, run_totals, runs, shares, status
from metrics_stream.views.security_txt import security_txt

app_name = "metrics_stream"


class Anything:
    """The rest of an address, whatever it contains: `path` stops at a line end."""

    regex = "(?s:.*)"

    def to_python(self, value: str) -> str:
        """Return the text."""
        return value

    def to_url(self, value: str) -> str:
        """Return the text."""
        return value


register_converter(Anything, "anything")

urlpatterns = [
    path("", dashboards.index, name="index"),
    path("dashboards/<slug:slug>/", dashboards.dashboard, name="dashboard"),
    path("runs/", runs.run_list, name="runs"),
    path("runs/<slug:slug>/", runs.run, name="run"),
    path("runs/<slug:slug>/export.json", exports.export_run, name="run_json"),
    path("runs/<slug:slug>/export.csv", exports.export_csv, name="run_csv"),
    path("runs/<slug:slug>/wide.csv", exports.export_wide, name="run_wide_csv"),
    path("runs/<slug:slug>/export.ndjson.gz", exports.export_ndjson, name="run_ndjson"),
    path("runs/<slug:slug>/summary.json", run_totals.summary_file, name="run_summary"),
    path("explore/", explore.explore, name="explore"),
    path("console/", dashboards.console, name="console"),
    path("login/", accounts.SignIn.as_view(), name="login"),
    path("logout/", accounts.SignOut.as_view(), name="logout"),
    path("share/", shares.ended, name="share_ended"),
    path("share/<path:text>", shares.open_link, name="share"),
    path("healthz", status.healthz, name="healthz"),
    path("readyz", status.readyz, name="readyz"),
    path("metrics", status.metrics, name="metrics"),
    path("api/metrics/", api_metrics.publish, name="publish"),
    path("api/runs/", api_runs.start, name="start_run"),
    # Any text is accepted, so that a text that is not a slug is answered like an unknown run.
    path("api/runs/<str:slug>/alive/", api_runs.keep_alive, name="keep_run_alive"),
    path("api/runs/<str:slug>/stop/", api_runs.stop, name="stop_run"),
    path("api/runs/<str:slug>/compare/", api_comparison.compare_run, name="compare_run_unversioned"),
    path("api/runs/<str:slug>/phases/", api_runs.phases, name="run_phases"),
    path("api/runs/<str:slug>/metrics/", past_runs.record, name="record_run"),
    # The same for programs.
    path("api/runs/<slug:slug>/summary/", run_totals.summary_file, name="api_run_summary"),
    # The API; what has no version above is the same as here.
    path("api/v1/metrics/", api_metrics.publish, name="api_metrics"),
    path("api/v1/latest/", api_live.latest, name="api_latest"),
    path("api/v1/series/", api_live.series, name="api_series"),
    path("api/v1/stream/", event_stream.stream, name="api_stream"),
    path("api/v1/runs/", run_list.runs, name="api_runs"),
    path("api/v1/runs/<str:slug>/", run_list.run, name="api_run"),
    path("api/v1/runs/<str:slug>/alive/", api_runs.keep_alive, name="api_run_alive"),
    path("api/v1/runs/<str:slug>/stop/", api_runs.stop, name="api_run_stop"),
    path("api/v1/runs/<str:slug>/phases/", api_runs.phases, name="api_run_phases"),
    path("api/v1/runs/<str:slug>/metrics/", past_runs.record, name="api_run_metrics"),
    path("api/v1/runs/<str:slug>/compare/", api_comparison.compare_run, name="compare_run"),
    path("api/v1/runs/<str:slug>/summary/", summary_at(run_totals.summary_file), name="api_v1_run_summary"),
    path("api/v1/runs/<str:slug>/series/", run_series.series, name="api_run_series"),
    path("api/v1/runs/<str:slug>/requests/", run_series.requests, name="api_run_requests"),
    path("api/v1/runs/<str:slug>/errors/", run_series.errors, name="api_run_errors"),
    path("api/v1/catalogue/", api_names.catalogue, name="api_catalogue"),
    path("api/v1/presets/", api_names.presets, name="api_presets"),
    path("api/v1/dashboards/", api_dashboards.dashboards, name="api_dashboards"),
    path("api/v1/dashboards/<str:slug>/", api_dashboards.dashboard, name="api_dashboard"),
    path("api/v1/openapi.json", api_documentation.openapi, name="api_openapi"),
    path("api/v1/docs/", api_documentation.docs, name="api_docs"),
    path("api/v1/<anything:rest>", api_documentation.unknown, name="api_unknown"),
    path("api/stats/", status.stats, name="stats"),
    path(".well-known/security.txt", security_txt, name="security_txt"),
    path("favicon.ico", dashboards.favicon, name="favicon"),
]
