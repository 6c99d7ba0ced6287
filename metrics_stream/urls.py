"""The addresses of pages; sockets are in routing.py."""

from django.urls import path

from metrics_stream import views

app_name = "metrics_stream"

urlpatterns = [
    path("", views.index, name="index"),
    path("dashboards/<slug:slug>/", views.dashboard, name="dashboard"),
    path("console/", views.console, name="console"),
    path("healthz", views.healthz, name="healthz"),
    path("api/stats/", views.stats, name="stats"),
    path("favicon.ico", views.favicon, name="favicon"),
]
