"""Dashboards as JSON documents: what the API exports from one server and imports into another."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from metrics_stream.core.errors import BodyError
from metrics_stream.core.formatting import quote
from metrics_stream.core.protocol.codes import RequestErrorCode

SCHEMA_VERSION = 1
"""Changes when a document of before means something else; a column with a default does not change it."""

# As many as the form of the admin takes.
MAX_PANELS = 40


class PanelDocument(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A panel; its columns are those of the form in the admin."""

    title: str
    kind: str = "line"
    metric_type: str = ""
    fields: list[str] = []
    unit: str = ""
    decimals: int | None = None
    warning_at: float | None = None
    critical_at: float | None = None
    size: str = "medium"
    options: dict[str, Any] = {}


class DashboardDocument(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A dashboard with its panels, in the order in which the page shows them."""

    schema_version: Annotated[int, Meta(description=f"The version of the format: {SCHEMA_VERSION}.")]
    slug: str
    title: str
    kind: str = "standard"
    description: str = ""
    preset: Annotated[str | None, Meta(description="The slug of its preset; null: the default preset.")] = None
    published: bool = True
    panels: list[PanelDocument] = []


class _Version(msgspec.Struct):
    schema_version: Any = None


def read_dashboard(body: bytes) -> DashboardDocument:
    """Return the dashboard in a body; raise BodyError, also for a version that this server does not know."""
    try:
        found = msgspec.json.decode(body, type=_Version).schema_version
        # A later version may have other keys, so its number is looked at first.
        if found != SCHEMA_VERSION or isinstance(found, bool):
            raise BodyError(
                RequestErrorCode.INVALID_DASHBOARD,
                f"`schema_version` is {quote(found)}; allowed: {SCHEMA_VERSION}. "
                "A document of a later server may need a later version of this one",
            )
        document = msgspec.json.decode(body, type=DashboardDocument)
    except msgspec.ValidationError as error:
        raise BodyError(RequestErrorCode.INVALID_DASHBOARD, _explain(str(error))) from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise BodyError(
            RequestErrorCode.NOT_A_DOCUMENT, f"the body is not JSON: {error}; allowed: an object"
        ) from error
    if len(document.panels) > MAX_PANELS:
        raise BodyError(
            RequestErrorCode.INVALID_DASHBOARD,
            f"`panels` has {len(document.panels):,} entries; allowed: at most {MAX_PANELS}",
        )
    return document


def _explain(reason: str) -> str:
    """Return msgspec's reason with the path in front, as other messages have it."""
    text, _, path = reason.partition(" - at `")
    path = path.rstrip("`").removeprefix("$").removeprefix(".") or "the document"
    return f"`{path}`: {text[:1].lower()}{text[1:]}"
