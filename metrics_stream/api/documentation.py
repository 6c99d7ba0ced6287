"""`/api/v1/openapi.json`, the page `/api/v1/docs/` that shows and tries it, and the answer to unknown addresses."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import get_script_prefix
from django.utils.cache import get_conditional_response
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from metrics_stream.access.decorators import for_viewers
from metrics_stream.access.grants import access_of
from metrics_stream.access.refusals import refuse
from metrics_stream.access.visibility import visible_dashboards
from metrics_stream.api.openapi import Address, addresses, document, parameters_of
from metrics_stream.api.requests import STATUSES
from metrics_stream.core.formats.operations import CSV, JSON, Operation
from metrics_stream.core.formatting import quote
from metrics_stream.core.protocol.codes import RequestErrorCode


@require_safe
@cache_control(no_cache=True)
def openapi(request: HttpRequest) -> HttpResponseBase:
    """Return the OpenAPI document; it names no object of this server, so everybody may read it."""
    body = document(get_script_prefix().rstrip("/"))
    etag = f'"{blake2b(body, digest_size=16).hexdigest()}"'
    response = HttpResponse(body, content_type=JSON, headers={"ETag": etag})
    return get_conditional_response(request, etag=etag, response=response) or response


@require_safe
@cache_control(private=True, no_cache=True)
@for_viewers
def docs(request: HttpRequest) -> HttpResponse:
    """Show every address with a form to try it."""
    root = get_script_prefix().rstrip("/")
    groups: dict[str, list[dict[str, Any]]] = {}
    for address in addresses():
        for method, operation in address.operations.items():
            groups.setdefault(operation.tag, []).append(_describe(address, method, operation))
    context = {
        "groups": groups,
        "root": root,
        "dashboards": visible_dashboards(access_of(request)),
    }
    return render(request, "metrics_stream/api_docs.html", context)


def _describe(address: Address, method: str, operation: Operation) -> dict[str, Any]:
    """Return what the page shows of an operation."""
    kinds = operation.kinds if operation.bodies else ()
    return {
        "id": f"{address.name.removeprefix('api_')}-{method.lower()}",
        "method": method,
        "path": address.path,
        "summary": operation.summary,
        "scope": operation.scope,
        "takes_session": operation.takes_session,
        "status": operation.status,
        "path_parameters": address.parameters,
        "parameters": [_describe_parameter(parameter) for parameter in parameters_of(operation)],
        "body_kinds": kinds,
        "example": _example(operation.bodies[0]) if JSON in kinds else "",
        "formats": [kind for kind in operation.answers_with if kind in (JSON, CSV)],
        "is_stream": operation.is_stream,
    }


def _describe_parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    schema = parameter.get("schema", {})
    bounds = [str(schema[name]) for name in ("minimum", "maximum") if name in schema]
    return {
        "name": parameter["name"],
        "description": parameter.get("description", ""),
        "choices": schema.get("enum", []),
        "default": schema.get("default", ""),
        "bounds": " to ".join(bounds) if len(bounds) == 2 else "",
        "required": parameter["required"],
    }


def _example(body: Any) -> str:
    """Return a body to begin with: the keys that it needs, as JSON."""
    first = msgspec.inspect.type_info(body)
    if not isinstance(first, msgspec.inspect.StructType):
        return ""
    example = {field.encode_name: _sample(field.type) for field in first.fields if field.required}
    return msgspec.json.format(msgspec.json.encode(example), indent=2).decode()


def _sample(kind: Any) -> Any:
    kind = kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind
    match kind:
        case msgspec.inspect.IntType():
            return 1
        case msgspec.inspect.FloatType():
            return 1.0
        case msgspec.inspect.UnionType() | msgspec.inspect.DictType():
            return {}
        case _:
            return ""


@csrf_exempt
def unknown(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer an address that does not exist as all others of the API are answered."""
    hint = "" if rest.endswith("/") or not rest else "; addresses end with `/`"
    code = RequestErrorCode.NOT_FOUND
    message = f"there is no address {quote(request.path)}{hint}; allowed: those of /api/v1/docs/"
    return refuse(code, message, STATUSES[code])
