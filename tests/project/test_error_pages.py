"""The error pages of DEBUG hold no passwords."""

import pytest
from django.test import Client

from metrics_stream.runtime import runtime

pytestmark = pytest.mark.django_db

# Not written as one word: the page shows the lines around the error.
SECRET = "".join(["hun", "ter"])


def test_settings_with_passwords_are_hidden(settings, monkeypatch):
    settings.DEBUG = True
    settings.REDIS_URL = f"redis://:{SECRET}2@127.0.0.1:6379/0"
    settings.CHANNEL_LAYERS = {"default": {**settings.CHANNEL_LAYERS["default"], "hosts": [settings.REDIS_URL]}}
    settings.EMAIL_HOST_PASSWORD = settings.SECRET_KEY_FALLBACKS = f"{SECRET}3"
    monkeypatch.setattr(runtime, "samples", lambda: 1 / 0)
    browser = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {SECRET}4"})
    browser.cookies["sessionid"] = f"{SECRET}5"
    answer = browser.get("/metrics")
    assert answer.status_code == 500
    assert "ZeroDivisionError" in answer.text
    assert "REDIS_URL" in answer.text
    assert SECRET not in answer.text
