"""The tags of `{% load metrics_stream %}`."""

from django.template import Library

from metrics_stream.access.grants import is_open
from metrics_stream.page_modules import module_script

register = Library()
register.simple_tag(is_open)
register.simple_tag(module_script)
