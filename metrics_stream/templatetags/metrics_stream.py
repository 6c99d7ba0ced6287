"""The tags of `{% load metrics_stream %}`."""

from django.template import Library

from metrics_stream.access import is_open

register = Library()
register.simple_tag(is_open)
