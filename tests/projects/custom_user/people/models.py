"""A user model of a company: not called `User`, with a UUID as key and an email address instead of a user name."""

import uuid

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models


class PersonManager(BaseUserManager["Person"]):
    def create_user(self, email, full_name, password=None, **more):
        person = self.model(email=self.normalize_email(email), full_name=full_name, **more)
        person.set_password(password)
        person.save()
        return person

    def create_superuser(self, email, full_name, password=None):
        return self.create_user(email, full_name, password, is_staff=True, is_superuser=True)


class Person(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField("email address", unique=True)
    full_name = models.CharField(max_length=200)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)

    objects = PersonManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ["full_name"]

    class Meta:
        verbose_name_plural = "people"

    def __str__(self):
        return self.full_name
