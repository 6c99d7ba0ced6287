"""The addresses of pages; sockets are in routing.py."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from metrics_stream.api import metrics as ingest
from metrics_stream.api import runs as remote_runs
from metrics_stream.views import dashboards as views
from metrics_stream.views import exports
from metrics_stream.views import runs as pages
from metrics_stream.views import shares as share_pages
from metrics_stream.views.sign_in import SignIn

app_name = "metrics_stream"

urlpatterns = [
    path("", views.index, name="index"),
    path("dashboards/<slug:slug>/", views.dashboard, name="dashboard"),
    path("runs/", pages.run_list, name="runs"),
    path("runs/<slug:slug>/", pages.run, name="run"),
    path("runs/<slug:slug>/export.csv", exports.export_csv, name="run_csv"),
    path("runs/<slug:slug>/export.ndjson.gz", exports.export_ndjson, name="run_ndjson"),
    path("console/", views.console, name="console"),
    path("login/", SignIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("share/", share_pages.ended, name="share_ended"),
    path("share/<path:text>", share_pages.open_link, name="share"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
    path("api/metrics/", ingest.publish, name="publish"),
    path("api/runs/", remote_runs.start, name="start_run"),
    # Any text, so that what is no slug is answered as what is no run.
    path("api/runs/<str:slug>/alive/", remote_runs.keep_alive, name="keep_run_alive"),
    path("api/runs/<str:slug>/stop/", remote_runs.stop, name="stop_run"),
    path("api/stats/", views.stats, name="stats"),
    path("favicon.ico", views.favicon, name="favicon"),
]
