"""Each misconfiguration has a stable id and a hint."""

from pathlib import Path

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.core import checks

from metrics_stream import checks as checks_module
from metrics_stream.checks import (
    check_addresses,
    check_channel_layer,
    check_deployment,
    check_hosts,
    check_origins,
    check_overlay,
    check_project,
    check_root_path,
    check_secret_key,
    check_server,
    check_static_files,
    check_templates,
)
from project.storage import ModuleManifestStorage

REDIS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": []}}}


def ids(found):
    assert all(message.hint for message in found)
    return [message.id for message in found]


@pytest.mark.parametrize("overlay", [{"SORUCE": "x"}, {"MAX_CLIENTS": -1}, ["x"], None])
def test_bad_overlay_is_an_error_that_names_it(settings, overlay):
    settings.METRICS_STREAM = overlay
    found = check_overlay()
    assert ids(found) == ["metrics_stream.E001"]
    assert "METRICS_STREAM" in found[0].msg


def test_overlay_may_be_absent(settings):
    del settings.METRICS_STREAM
    assert check_overlay() == []


@pytest.mark.parametrize("layers", [None, {}, {"other": {}}])
def test_missing_channel_layer_is_an_error(settings, layers):
    settings.CHANNEL_LAYERS = layers
    assert ids(check_channel_layer()) == ["metrics_stream.E002"]


def test_core_layer_of_channels_redis_is_a_warning(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}
    assert ids(check_channel_layer()) == ["metrics_stream.W002"]


def test_pubsub_layer_is_fine(settings):
    settings.CHANNEL_LAYERS = REDIS
    assert check_channel_layer() == check_deployment() == []


@pytest.mark.parametrize("value", [None, ""])
def test_missing_asgi_application_is_an_error(settings, value):
    settings.ASGI_APPLICATION = value
    assert ids(check_server()) == ["metrics_stream.E003"]


@pytest.mark.parametrize("app", ["daphne", "daphne.apps.DaphneConfig", "project.apps.RunserverConfig"])
def test_daphne_not_first_is_a_warning(settings, app):
    others = settings.INSTALLED_APPS[1:]
    settings.INSTALLED_APPS = [*others, app]
    assert ids(check_server()) == ["metrics_stream.W001"]
    settings.INSTALLED_APPS = [app, *others]
    assert check_server() == []


def test_memory_layer_is_a_warning_for_deployments_only(settings):
    settings.DEBUG = False
    assert ids(check_deployment()) == ["metrics_stream.W003"]
    settings.DEBUG = True
    assert check_deployment() == []


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("only-for-tests", "14 characters"),
        ("x" * 60, "1 different"),
        ("django-insecure-k3+e9y!p0q8w7z5v2n4m6b1c8x0a7s9d", "placeholder"),
        ("put-fifty-random-characters-here-and-some-more-of-them", "placeholder"),
        ("Change-Me-to-fifty-random-characters", "placeholder"),
    ],
)
def test_a_key_that_can_be_guessed_is_an_error_that_does_not_tell_it(settings, key, word):
    settings.SECRET_KEY = key
    found = check_secret_key()
    assert ids(found) == ["metrics_stream.E004"]
    assert word in found[0].msg
    assert key not in found[0].msg + found[0].hint
    settings.DEBUG = True
    assert check_secret_key() == []


def test_every_host_is_an_error_and_named_ones_are_fine(settings):
    settings.ALLOWED_HOSTS = ["metrics.example.com", "*"]
    assert ids(check_hosts()) == ["metrics_stream.E005"]
    settings.DEBUG = True
    assert check_hosts() == []
    settings.DEBUG, settings.ALLOWED_HOSTS = False, ["metrics.example.com", ".example.com"]
    assert check_hosts() == []


def test_all_are_registered_and_the_project_passes():
    deploy_only = {item for item in checks.registry.registry.deployment_checks if "metrics_stream" in item.__module__}
    always = {item for item in checks.registry.registry.registered_checks if "metrics_stream" in item.__module__}
    assert always == {
        *(check_overlay, check_channel_layer, check_server, check_secret_key, check_hosts),
        *(check_origins, check_root_path, check_static_files),
        *(check_project, check_templates, check_addresses),
    }
    assert deploy_only == {check_deployment}
    assert [item for item in checks.run_checks() if (item.id or "").startswith("metrics_stream")] == []


@pytest.mark.parametrize("item", ["file://", "null", "portal.example.org", "https://portal.example.org/", "*", ""])
def test_an_allowed_origin_that_is_none_is_an_error_that_names_it(settings, item):
    settings.ALLOWED_ORIGINS = ["https://portal.example.org", item]
    [found] = check_origins()
    assert ids([found]) == ["metrics_stream.E010"]
    assert f"contains '{item}', which is no origin; allowed: scheme://host[:port]" in found.msg


def test_allowed_origins_may_be_absent_or_right(settings):
    settings.ALLOWED_ORIGINS = ["https://portal.example.org:8443", "http://[::1]"]
    assert check_origins() == []
    del settings.ALLOWED_ORIGINS
    assert check_origins() == []


@pytest.mark.parametrize("root", ["m", "/m/", "/", "//m", "/m?", "/m n", "/admin", "/ws/m", "/runs", "/static"])
def test_a_root_path_that_is_ambiguous_is_an_error(settings, root):
    settings.FORCE_SCRIPT_NAME = root
    assert ids(check_root_path()) == ["metrics_stream.E011"]


@pytest.mark.parametrize("root", [None, "", "/m", "/tools/metrics-stream", "/m/admin"])
def test_other_root_paths_are_fine(settings, root):
    settings.FORCE_SCRIPT_NAME = root
    assert check_root_path() == []


@pytest.fixture
def hashed_storage(settings, tmp_path, monkeypatch):
    """The storage of a deployment, with an empty folder."""
    settings.STATIC_ROOT = str(tmp_path)
    storage = ModuleManifestStorage(location=str(tmp_path), base_url="/static/")
    monkeypatch.setattr("metrics_stream.checks.staticfiles_storage", storage)
    return storage


def test_static_files_that_are_not_collected_are_a_warning_that_names_the_command(settings, hashed_storage):
    [found] = check_static_files()
    assert ids([found]) == ["metrics_stream.W010"]
    assert found.hint == "manage.py collectstatic --no-input"
    settings.DEBUG = True
    assert check_static_files() == []


def test_a_file_that_an_upgrade_brought_is_missed(hashed_storage):
    folder = Path(checks_module.__file__).parent / "static"
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    hashed_storage.hashed_files = dict.fromkeys(names, "x")
    assert check_static_files() == []
    del hashed_storage.hashed_files["metrics_stream/css/base.css"]
    [found] = check_static_files()
    assert found.msg.startswith(f"1 of {len(names)} static files are not collected, such as 'metrics_stream")


def test_pages_name_a_file_that_is_not_collected_as_it_is(hashed_storage):
    assert hashed_storage.url("metrics_stream/css/base.css") == "/static/metrics_stream/css/base.css"


# --- what a project of somebody else can lack ---


@pytest.mark.parametrize("app", ["sessions", "staticfiles"])
def test_a_missing_app_is_an_error(settings, app):
    name = f"django.contrib.{app}"
    settings.INSTALLED_APPS = [entry for entry in settings.INSTALLED_APPS if entry != name]
    [found] = check_project()
    assert ids([found]) == ["metrics_stream.E020"]
    assert name in found.msg


class OwnSessions(SessionMiddleware):
    """One that a project made from Django's."""


def test_a_missing_middleware_is_an_error_and_one_of_the_project_is_fine(settings):
    others = [entry for entry in settings.MIDDLEWARE if not entry.endswith("SessionMiddleware")]
    settings.MIDDLEWARE = others
    assert ids(check_project()) == ["metrics_stream.E021"]
    settings.MIDDLEWARE = [f"{__name__}.OwnSessions", *others]
    assert check_project() == []


def test_static_files_that_nothing_serves_are_a_warning(settings):
    settings.MIDDLEWARE = [entry for entry in settings.MIDDLEWARE if "servestatic" not in entry]
    assert ids(check_project()) == ["metrics_stream.W021"]
    settings.STATIC_URL = "https://static.example.org/"
    assert check_project() == []


def test_missing_templates_and_context_processors_are_errors(settings):
    [engine] = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": []}]
    assert ids(check_templates()) == ["metrics_stream.E023"]
    settings.TEMPLATES = [{**engine, "OPTIONS": {"context_processors": []}}]
    assert ids(check_templates()) == ["metrics_stream.E022"] * 2


@pytest.mark.parametrize(
    ("application", "problems"),
    [
        ("project.asgi.application", []),
        ("nowhere.asgi.application", ["metrics_stream.E003"]),
        ("project.missing.application", ["metrics_stream.E003"]),
        ("django.core.asgi.application", ["metrics_stream.W020"]),
    ],
)
def test_an_asgi_application_without_the_websocket_is_found(settings, application, problems):
    settings.ASGI_APPLICATION = application
    assert ids(check_server()) == problems


urlpatterns = []  # a project without pages, when this module is its ROOT_URLCONF


def test_missing_pages_are_warnings(settings):
    settings.LOGIN_URL = "/accounts/login/"
    assert ids(check_addresses()) == ["metrics_stream.W023"]
    settings.LOGIN_URL = "nowhere:login"
    assert ids(check_addresses()) == ["metrics_stream.W023"]
    settings.LOGIN_URL = "https://sign-in.example.org/"
    assert check_addresses() == []
    settings.ROOT_URLCONF = __name__
    assert ids(check_addresses()) == ["metrics_stream.W022"]
