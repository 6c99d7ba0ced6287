"""docs/settings.md lists the settings, variables, commands, checks and addresses that the code has."""

import re
from dataclasses import fields as dataclass_fields
from pathlib import Path

from django.core.management import BaseCommand, get_commands, load_command_class
from django.urls import get_resolver

from devtools.commands import FORWARDED
from metrics_stream import checks
from metrics_stream.conf import PREFIX, StreamSettings
from tests.support.documents import PAGES, README, ROOT, SETTINGS, named, names, section, table


def test_every_setting_and_its_default():
    documented = {names(row["key"])[0]: row["default"] for row in table(SETTINGS, "METRICS_STREAM", "key")}
    assert list(documented) == [field.name.upper() for field in dataclass_fields(StreamSettings)]
    settings = StreamSettings()
    for key, cell in documented.items():
        value = getattr(settings, key.lower())
        if key == "SOURCE":
            assert cell == "host name"
        elif key == "EXTRA_METRIC_TYPES":
            assert (cell, value) == ("`{}`", ())
        elif isinstance(value, bool | tuple):
            assert cell == f"`{value}`"
        else:
            assert cell == f"`{value if isinstance(value, str) else format(value, '.15g')}`"


def test_every_environment_variable():
    documented = set(named(table(SETTINGS, "Environment", "variable")))
    in_settings = set(re.findall(r'env\.\w+\("(\w+)"', (ROOT / "project/settings.py").read_text()))
    in_example = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    tests = "".join(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")))
    of_tests = set(re.findall(r'"(REQUIRE_\w+)"', tests))
    in_settings.add("DATABASE_URL")
    of_keys = {name for name in in_example if name.startswith(PREFIX)}
    assert of_keys <= {f"{PREFIX}{field.name.upper()}" for field in dataclass_fields(StreamSettings)}
    assert in_example - of_keys == in_settings
    assert documented == in_settings | of_tests | {"METRICS_STREAM_<KEY>"}
    in_ci = set(re.findall(r"REQUIRE_\w+", (ROOT / ".ci/run").read_text()))
    assert in_ci == of_tests


def test_every_command_and_its_options():
    own = sorted(name for name, app in get_commands().items() if app == "metrics_stream")
    assert sorted(re.findall(r"^### (\w+)$", SETTINGS.read_text(), re.MULTILINE)) == own
    of_django = BaseCommand().create_parser("manage.py", "any")
    shared = {option for action in of_django._actions for option in action.option_strings} | {"--skip-checks"}
    for name in own:
        parser = load_command_class("metrics_stream", name).create_parser("manage.py", name)
        actions = [action for action in parser._actions if set(action.option_strings) - shared]
        rows = table(SETTINGS, name, "option") if actions else []
        assert named(rows) == [action.option_strings[0] for action in actions], name
        for row, action in zip(rows, actions, strict=True):
            if action.default not in (None, False, []):
                shown = action.default if isinstance(action.default, str) else f"{action.default:g}"
                assert row["default"] == shown, f"{name} {row['option']}"


def test_every_check_id():
    documented = named(table(SETTINGS, "System checks", "id"))
    assert sorted(documented) == sorted(re.findall(r'id="(metrics_stream\.\w+)"', Path(checks.__file__).read_text()))
    assert documented == re.findall(r"^\| (metrics_stream\.\w+) \|", checks.__doc__, re.MULTILINE)


def test_every_address():
    documented = set(named(table(SETTINGS, "Servers", "address")))
    patterns = {str(entry.pattern) for entry in get_resolver("metrics_stream.urls").url_patterns}
    # docs/api.md has those of the API, see test_api.py.
    routes = {pattern if not pattern.startswith("api/v1/") else "api/v1/" for pattern in patterns}
    expected = {f"/{re.sub(r'<[a-z]+:', '<', route)}" for route in routes} | {"/ws/metrics/", "/admin/"}
    assert documented == expected


def test_commands_of_dev_py():
    text = (ROOT / "devtools" / "commands.py").read_text()
    existing = {"run", *FORWARDED}
    everywhere = "".join(page.read_text() for page in PAGES)
    assert set(re.findall(r"dev\.py (\w+)", everywhere)) - {"needs"} == existing
    for option in re.findall(r"`(--[a-z-]+)[^`]*`", section(README, "Start")):
        assert f'"{option}"' in text
