from django.contrib import admin

from tests.projects.custom_user.people.models import Person

admin.site.register(Person, list_display=["email", "full_name"], search_fields=["email", "full_name"])
