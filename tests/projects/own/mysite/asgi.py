import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
django_application = get_asgi_application()  # before the next imports, which need Django to be set up

from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path
from metrics_stream.routing import stream_application

from mysite.consumers import EchoConsumer

application = stream_application(
    django_application,
    websockets=[path("ws/echo/", AllowedHostsOriginValidator(EchoConsumer.as_asgi()))],  # yours, if you have some
)
