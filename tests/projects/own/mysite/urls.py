from django.contrib import admin
from django.urls import include, path

from mysite import views

urlpatterns = [
    path("", views.home),
    path("broken/", views.broken),
    path("admin/", admin.site.urls),
    path("load/", include("metrics_stream.urls")),
]
