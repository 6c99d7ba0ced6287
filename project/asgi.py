"""The ASGI application: HTTP by Django, WebSocket by metrics_stream."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from metrics_stream.routing import stream_application  # noqa: E402  Django must be set up before consumers are imported.

application = stream_application(django_application)
