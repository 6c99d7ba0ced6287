"""Addresses: the admin, and everything else by metrics_stream."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("metrics_stream.urls")),
]
