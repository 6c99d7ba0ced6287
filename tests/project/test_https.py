"""With HTTPS_ONLY pages need https; programs on the server's own machine publish over http."""

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def https_only(settings):
    settings.SECURE_SSL_REDIRECT = True


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/runs/", {}, 401),
        ("/api/runs/", {"REMOTE_ADDR": "::1"}, 401),
        ("/api/runs/", {"REMOTE_ADDR": "10.0.0.7"}, 301),
        ("/api/runs/", {"HTTP_X_FORWARDED_FOR": "10.0.0.7"}, 301),
        ("/api/runs/", {"HTTP_X_FORWARDED_PROTO": "http"}, 301),
        ("/api/runs/", {"HTTP_FORWARDED": "for=10.0.0.7"}, 301),
        ("/api/runs/", {"REMOTE_ADDR": ""}, 301),
        ("/login/", {}, 301),
    ],
)
def test_only_programs_on_this_machine_need_no_https(path, headers, status):
    answer = Client().post(path, **headers)
    assert answer.status_code == status
    if status == 301:
        assert answer["Location"] == f"https://testserver{path}"
