"""Refusals as JSON: the one shape that all addresses for programs share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import JsonResponse


def unlogged_response(content: Any, status: int, headers: Mapping[str, str] | None = None) -> JsonResponse:
    """Return a response that Django does not log: a flood of requests must not fill the log. Telemetry counts it."""
    response = JsonResponse(content, status=status, headers=dict(headers or {}))
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def refuse(error: str, message: str, status: int, headers: Mapping[str, str] | None = None) -> JsonResponse:
    """Return a refusal: `error` is a code for programs, `message` names the value and what is allowed."""
    return unlogged_response({"error": error, "message": message}, status, headers)
