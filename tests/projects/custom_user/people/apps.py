from django.apps import AppConfig


class PeopleConfig(AppConfig):
    name = "tests.projects.custom_user.people"
    default_auto_field = "django.db.models.BigAutoField"
