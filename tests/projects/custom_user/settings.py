"""The shipped project with a user model of its own."""

from project.settings import *  # noqa: F403

INSTALLED_APPS = [INSTALLED_APPS[0], "tests.projects.custom_user.people", *INSTALLED_APPS[1:]]  # noqa: F405  daphne first
AUTH_USER_MODEL = "people.Person"
