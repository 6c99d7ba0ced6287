"""Accept what clients of other versions send: keys that this version does not know, and null for a key left out."""

from __future__ import annotations

from typing import Any

import msgspec

from metrics_stream.core.formatting import quote_some
from metrics_stream.core.protocol.messages import CLIENT_MESSAGES, Filters, SetFilters, message_name

KNOWN = {message_name(message): message for message in CLIENT_MESSAGES}
"""The class of each client message, by its name on the wire."""


def tolerate(document: Any) -> tuple[dict[str, Any], list[str]] | None:
    """Return a message without nulls and unknown keys, and what is wrong with the unknown keys, if there are any.

    None if there is nothing to leave out, or no message of a known type.
    """
    kind = document.get("type") if isinstance(document, dict) else None
    owner = KNOWN.get(kind) if isinstance(kind, str) else None
    if owner is None:
        return None
    kept, problems = _known_part(document, owner, path="")
    if owner is SetFilters and isinstance(kept.get("filters"), dict):
        kept["filters"], more = _known_part(kept["filters"], Filters, path="filters.")
        problems += more
    return None if kept == document else (kept, problems)


def _known_part(sent: dict[str, Any], owner: type[msgspec.Struct], *, path: str) -> tuple[dict[str, Any], list[str]]:
    allowed = keys_of(owner)
    unknown = [path + key for key in sent if key not in allowed]
    problems = [f"unknown key {quote_some(unknown)}; {describe_keys(owner)}"] if unknown else []
    return {key: value for key, value in sent.items() if key in allowed and value is not None}, problems


def keys_of(owner: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the keys that a client message, or its filters, may have on the wire."""
    return (*(() if owner is Filters else ("type",)), *owner.__struct_encode_fields__)


def describe_keys(owner: type[msgspec.Struct]) -> str:
    """Return which keys are allowed, for an error."""
    return f"allowed: {', '.join(keys_of(owner))}"


def client_message_keys() -> dict[str, list[str]]:
    """Return the keys that each client message may have beside `type` and `ref`, by its name on the wire."""
    return {name: [key for key in message.__struct_encode_fields__ if key != "ref"] for name, message in KNOWN.items()}
