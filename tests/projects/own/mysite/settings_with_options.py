"""The settings of the site with the apps that metrics_stream can do without."""

from datetime import timedelta

from mysite.settings import *

# --- options ---

INSTALLED_APPS += ["adminsortable2", "simple_history", "axes"]
MIDDLEWARE += ["simple_history.middleware.HistoryRequestMiddleware", "axes.middleware.AxesMiddleware"]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_USERNAME_FORM_FIELD = "username"
AXES_HANDLER = "metrics_stream.views.sign_in.SignInHandler"
AXES_LOCKOUT_CALLABLE = "metrics_stream.views.sign_in.locked_out"
AXES_CLIENT_IP_CALLABLE = "metrics_stream.views.sign_in.client_address"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_COOLOFF_TIME = timedelta(minutes=15)
