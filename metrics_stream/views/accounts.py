"""Signing in and out, with any user model."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView

# What Django's own user model calls the name that people sign in with, and what the page calls it.
USERNAME, USER_NAME = "username", "user name"


class SignInForm(AuthenticationForm):
    """Asks for the name that users sign in with and the password, and says in plain words what was wrong."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model = get_user_model()
        column: Any = model._meta.get_field(model.USERNAME_FIELD)
        name = str(column.verbose_name)
        label = USER_NAME if name == USERNAME else name
        self.fields["username"].label = label[:1].upper() + label[1:]
        wrong = f"The {label} or the password is wrong. Upper and lower case matter in both."
        self.error_messages = {**self.error_messages, "invalid_login": wrong}
        for field in self.fields.values():
            field.widget.attrs["class"] = "input"


class SignIn(LoginView):
    """The page for signing in; it redirects to the page that the user came from, on this site only."""

    template_name = "metrics_stream/login.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True
    next_page = "metrics_stream:index"


class SignOut(LogoutView):
    """Signs out, by POST, and redirects to the dashboards."""

    next_page = "metrics_stream:index"
