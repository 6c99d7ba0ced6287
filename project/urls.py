"""Addresses: the admin, and everything else by metrics_stream."""

from django.contrib import admin
from django.urls import include, path

admin.site.site_header = "Metrics Stream"
admin.site.site_title = "Metrics Stream"
admin.site.index_title = "Dashboards, presets and test runs"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("metrics_stream.urls")),
]
