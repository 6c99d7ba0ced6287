"""The URLs of pages and of the HTTP API; WebSockets are in `routing.py`."""

from django.urls import path

from metrics_stream.api import comparison as api_comparison
from metrics_stream.api import metrics as api_metrics
from metrics_stream.api import past_runs
from metrics_stream.api import runs as api_runs
from metrics_stream.views import accounts, dashboards, exports, run_totals, runs, shares, status
from metrics_stream.views.security_txt import security_txt

app_name = "metrics_stream"

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
    path("api/v1/runs/<str:slug>/compare/", api_comparison.compare_run, name="compare_run"),
    path("api/runs/<str:slug>/compare/", api_comparison.compare_run, name="compare_run_unversioned"),
    path("api/runs/<str:slug>/phases/", api_runs.phases, name="run_phases"),
    path("api/runs/<str:slug>/metrics/", past_runs.record, name="record_run"),
    # The same for programs.
    path("api/runs/<slug:slug>/summary/", run_totals.summary_file, name="api_run_summary"),
    path("api/v1/runs/<slug:slug>/summary/", run_totals.summary_file, name="api_v1_run_summary"),
    path("api/stats/", status.stats, name="stats"),
    path(".well-known/security.txt", security_txt, name="security_txt"),
    path("favicon.ico", dashboards.favicon, name="favicon"),
]
