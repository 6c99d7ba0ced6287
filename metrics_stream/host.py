"""What the settings of a project need to host this app; importing it needs no settings."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def templates_folder() -> Path:
    """Return the folder of the templates, for `DIRS` of the setting `TEMPLATES`.

    It holds `metrics_stream/` and `admin/metrics_stream/` only, so it replaces no page of the project.
    """
    # An installed package has them inside, a checkout beside the package.
    inside = _PACKAGE / "templates"
    return inside if inside.is_dir() else _PACKAGE.parent / "templates"
