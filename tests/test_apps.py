"""What the app does when Django starts."""

from importlib import import_module

from django.apps import apps
from django.core.management import call_command


def test_every_model_is_where_it_says():
    for model in apps.get_app_config("metrics_stream").get_models():
        assert getattr(import_module(model.__module__), model.__name__) is model


def test_a_shell_greets_with_one_line(capsys):
    call_command("shell", "-c", "print('ready')")
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(lines) == 2
    assert "imported automatically" in lines[0]
    assert lines[1] == "ready"
