"""The kinds of panels: one row for each, read by the models, the admin, share links and the configuration of pages.

The browser has a class `charts/<slug>.js` and a style sheet `css/charts/<slug>.css` for each row; the home page shows
the icon `img/mini-<slug>.svg`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PanelKind:
    """What a panel of this kind needs, accepts and reads."""

    slug: str
    label: str
    fields: tuple[int, int | None]
    """The least and the greatest number of fields; None: no limit."""
    options: tuple[str, ...] = ()
    """Names in `validators.OPTIONS`."""
    shows_metrics: bool = True
    """False for a panel that needs no metric type, and a text instead."""
    default_fields: tuple[str, ...] = ()
    """What the browser reads where the panel names no field."""
    extra_fields: tuple[str, ...] = ()
    """What the browser reads beside the panel's fields; the identity of an agent comes with any field."""

    container: str = ""
    """The object beside a panel's field that has the value, such as `sketches`; empty: the field itself has it."""

    def path_of(self, named: str) -> str:
        """Return the path in `data` at which the browser reads the value of a panel's field."""
        prefix, dot, name = named.rpartition(".")
        return f"{prefix}{dot}{self.container}.{name}" if self.container else named

    def flat_path_of(self, named: str) -> str:
        """Return the path at which the value is if the field is a key that contains dots."""
        return f"{self.container}.{named}" if self.container else named

    def read_fields(self, named: Iterable[str]) -> set[str]:
        """Return the fields of a metric that the browser reads for a panel with the fields `named`."""
        named = tuple(named)
        paths = (*map(self.path_of, named), *map(self.flat_path_of, named)) or self.default_fields
        return {path.partition(".")[0] for path in (*paths, *self.extra_fields)}

    def problem_with(self, count: int) -> str:
        """Return why a panel cannot name `count` fields, as a sentence, or an empty text."""
        least, most = self.fields
        if count == 0 and least > 0:
            return f"The panel is of kind {self.label!r} and names no field; name {_COUNTS[self.fields]}."
        if count < least or (most is not None and count > most):
            named = "1 field" if count == 1 else f"{count} fields"
            return f"The panel is of kind {self.label!r} and names {named}; allowed: {_COUNTS[self.fields]}."
        return ""


_COUNTS: dict[tuple[int, int | None], str] = {
    (0, 0): "no field",
    (0, 1): "one field",
    (1, 1): "one field",
    (1, None): "at least one",
    (2, 2): "two fields, across and up",
}
"""How many fields a kind takes, in words for errors."""

LINE = PanelKind(
    "line",
    "Line chart",
    fields=(1, None),
    options=("window_seconds", "minimum", "maximum", "stacked", "top", "by", "keys", "add_sources", "sources_with"),
)
TEXT = PanelKind("text", "Text", fields=(0, 0), options=("text",), shows_metrics=False)

PANEL_KINDS = {
    kind.slug: kind
    for kind in (
        LINE,
        PanelKind(
            "number",
            "Big number",
            fields=(1, 1),
            options=("trend", "window_seconds", "keys", "add_sources", "sources_with"),
        ),
        PanelKind("gauge", "Gauge", fields=(1, 1), options=("minimum", "maximum", "keys", "sources_with")),
        PanelKind("bar", "Bars", fields=(1, None), options=("minimum", "maximum", "max_rows", "keys", "sources_with")),
        PanelKind(
            "histogram", "Histogram", fields=(1, 1), options=("window_seconds", "sources_with"), container="sketches"
        ),
        PanelKind(
            "heatmap", "Heat map", fields=(1, 1), options=("window_seconds", "sources_with"), container="sketches"
        ),
        PanelKind("scatter", "Scatter plot", fields=(2, 2), options=("window_seconds", "sources_with")),
        PanelKind("table", "Table", fields=(1, None), options=("max_rows", "keys", "sources_with")),
        PanelKind(
            "status", "Status list", fields=(0, None), options=("keys", "sources_with"), extra_fields=("status",)
        ),
        PanelKind("flow", "Flow of nodes", fields=(0, 1), default_fields=("transaction_flow_data",)),
        TEXT,
    )
}
"""By slug, in the order in which the admin offers them."""


def fields_read_by(panel: Any) -> set[str]:
    """Return the fields of a metric that the browser reads for a panel, with the one by which it chooses rows."""
    kind = PANEL_KINDS[panel.kind]
    by = panel.options.get("by") if "by" in kind.options and isinstance(panel.options, dict) else None
    return kind.read_fields([*panel.fields, by] if by else panel.fields)


def kind_choices() -> list[tuple[str, str]]:
    """Return the choices of `Panel.kind`; called by the field, so that migrations do not list the kinds."""
    return [(kind.slug, kind.label) for kind in PANEL_KINDS.values()]
