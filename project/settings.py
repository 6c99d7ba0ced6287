"""Settings of the project; all that differs between machines comes from the environment (see .env.example)."""

import os
import runpy
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

from metrics_stream.conf import read_environment, templates_folder
from project.environment import StrictEnv
from project.logs import LOG_RENDERERS, logging_configuration
from project.private_files import make_new_files_private, protect, sqlite_files
from project.redis_url import channel_layer_host

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
make_new_files_private()

env = StrictEnv()
environ.Env.read_env(BASE_DIR / ".env")

# `runserver` is the development server by definition; all other commands need DEBUG in the environment.
DEBUG = env.bool("DEBUG", default="runserver" in sys.argv[1:2])


def _secret_key() -> str:
    """Return SECRET_KEY; under DEBUG make one once and keep it in var/, so that sessions survive a restart."""
    key: str = env.str("SECRET_KEY", default="")
    if key:
        return key
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Set it in the environment; on a developer's machine set DEBUG=1, "
            "or use `python3 dev.py manage …`, which does."
        )
    path = VAR_DIR / "secret_key"
    if not path.exists():
        VAR_DIR.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(get_random_secret_key())
    return path.read_text()


SECRET_KEY = _secret_key()
# Former keys: they verify what they have signed, and sign nothing new.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
# E-mail or web addresses for /.well-known/security.txt.
SECURITY_CONTACT = env.list("SECURITY_CONTACT", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# The path of the site on its host, /metrics-stream for example; empty: the root. Cookies are for this path alone.
FORCE_SCRIPT_NAME = env.str("FORCE_SCRIPT_NAME", default="").rstrip("/") or None
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = f"{FORCE_SCRIPT_NAME or ''}/"

# Proxies whose X-Forwarded-Proto and X-Forwarded-For `manage.py serve` believes.
FORWARDED_ALLOW_IPS = env.str("FORWARDED_ALLOW_IPS", default="127.0.0.1,::1")

# Whether all traffic uses TLS: pages redirect from http to https, and cookies are sent over https only.
HTTPS_ONLY = env.bool("HTTPS_ONLY", default=not DEBUG)
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
# Probes on the machine itself use http, without the proxy; project/https.py looks at the requests of programs.
SECURE_REDIRECT_EXEMPT = [rf"^{SESSION_COOKIE_PATH[1:]}(healthz|readyz|metrics)$", rf"^{SESSION_COOKIE_PATH[1:]}api/"]
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=31_536_000 if HTTPS_ONLY else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("HSTS_SUBDOMAINS", default=False)
# Only the owner of a domain can decide whether it goes into the browsers' preload lists, not one site on it.
SILENCED_SYSTEM_CHECKS = ["security.W021"]
# No script of this project reads the token: it is in the forms.
CSRF_COOKIE_HTTPONLY = True

# Only this site's own files, and no script or style inside a page; Django's admin needs no exception.
# Referrer-Policy, nosniff, X-Frame-Options and Cross-Origin-Opener-Policy keep Django's defaults, the strictest values.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        **{f"{kind}-src": ["'self'"] for kind in ("script", "style", "img", "font", "connect", "manifest")},
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

INSTALLED_APPS = [
    "project.apps.RunserverConfig",  # daphne: first, so that its runserver serves ASGI
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "adminsortable2",
    "simple_history",
    "csp",
    "project.apps.SignInAttemptsConfig",  # django-axes
    "metrics_stream",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "project.https.ProgramsMiddleware",
    "project.headers.HeadersMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
    "metrics_stream.views.database_away.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "metrics_stream.access.sessions.SessionTimeouts",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "metrics_stream.views.database_away.DatabaseAwayMiddleware",
    "axes.middleware.AxesMiddleware",  # last, as it replaces the response of a refused sign-in
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "project" / "templates", templates_folder()],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # WAL lets pages read while an admin saves; IMMEDIATE makes writers queue instead of failing as "locked".
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 10,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
    protect(VAR_DIR, *sqlite_files(str(DATABASES["default"]["NAME"])))
else:
    protect(VAR_DIR)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGIN_URL = "metrics_stream:login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "metrics_stream:index"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # first: it refuses before a password is checked
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# After this many wrong passwords for one user name, an address must wait; views/sign_in.py has the rest.
AXES_FAILURE_LIMIT = env.int("SIGN_IN_ATTEMPTS", default=5)
AXES_COOLOFF_TIME = timedelta(minutes=env.int("SIGN_IN_LOCKOUT_MINUTES", default=15))
AXES_HANDLER = "metrics_stream.views.sign_in.SignInHandler"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
# The name of the field in the forms for signing in, whatever the user model calls its column.
AXES_USERNAME_FORM_FIELD = "username"
AXES_LOCKOUT_CALLABLE = "metrics_stream.views.sign_in.locked_out"
AXES_CLIENT_IP_CALLABLE = "metrics_stream.views.sign_in.client_address"
AXES_RESET_ON_SUCCESS = True
# Attempts while locked out neither extend the wait nor fill the database.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
# The admin keeps each failure, also after the wait.
AXES_ENABLE_ACCESS_FAILURE_LOG = True
# The log has the address, not the user name: people type passwords into its field.
AXES_SENSITIVE_PARAMETERS = ["username"]
AXES_VERBOSE = False

# One Redis (or Valkey) joins all processes; without one, the in-memory layer serves this process alone.
REDIS_URL = env.str("REDIS_URL", default="")
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [channel_layer_host(REDIS_URL)]},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}}
}

# Every key can be set by METRICS_STREAM_<KEY>; three have shorter names, too.
METRICS_STREAM: dict[str, Any] = {
    "ANONYMOUS_READ": env.bool("ANONYMOUS_READ", default=DEBUG),
    "ALLOWED_ORIGINS": env.list("ALLOWED_ORIGINS", default=[]),
    # Two installations on one Redis need two prefixes, or each takes the other's test runs and metrics for its own.
    "GROUP_PREFIX": env.str("GROUP_PREFIX", default="metrics_stream"),
    **read_environment(os.environ),
}

# The error pages of DEBUG show the settings; those with addresses hold passwords.
DEFAULT_EXCEPTION_REPORTER_FILTER = "project.error_pages.SecretsFilter"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "project.storage.ModuleManifestStorage"
    },
}

# Text for people, JSON for machines: one object per line, with facts such as `client_id` as keys.
LOG_FORMAT = env.str("LOG_FORMAT", default="text")
if LOG_FORMAT not in LOG_RENDERERS:
    raise ImproperlyConfigured(f"LOG_FORMAT is {LOG_FORMAT!r}; allowed: {', '.join(LOG_RENDERERS)}")

LOGGING = logging_configuration(LOG_FORMAT, env.str("LOG_LEVEL", default="INFO"))

# What this installation alone changes, and an upgrade leaves as it is: a file of Python that sees all names above.
LOCAL_SETTINGS = Path(env.str("LOCAL_SETTINGS", default=str(BASE_DIR / "local_settings.py")))
if LOCAL_SETTINGS.is_file():
    globals().update(
        {name: value for name, value in runpy.run_path(str(LOCAL_SETTINGS), dict(globals())).items() if name.isupper()}
    )
elif "LOCAL_SETTINGS" in os.environ:
    raise ImproperlyConfigured(f"LOCAL_SETTINGS={LOCAL_SETTINGS}: there is no such file; allowed: a file of Python")
