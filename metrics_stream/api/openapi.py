"""The OpenAPI 3.1 document of `/api/v1/`, made of the addresses that exist and of what their views declare."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from django.urls import URLPattern, get_resolver
from django.urls.resolvers import URLResolver

from metrics_stream.api.readers import NoQuery
from metrics_stream.api.requests import STATUSES
from metrics_stream.core.formats.operations import EVENTS, JSON, Operation, operations_of
from metrics_stream.core.protocol.codes import RequestErrorCode

PREFIX = "api/v1/"

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")

# What every request can be refused for.
_COMMON = (
    RequestErrorCode.NOT_AUTHENTICATED,
    RequestErrorCode.FORBIDDEN,
    RequestErrorCode.METHOD_NOT_ALLOWED,
    RequestErrorCode.TOO_MANY_REQUESTS,
    RequestErrorCode.UNAVAILABLE,
)
_WITH_QUERY = (RequestErrorCode.INVALID_PARAMETER,)
_WITH_BODY = (
    RequestErrorCode.NOT_A_DOCUMENT,
    RequestErrorCode.TOO_SLOW,
    RequestErrorCode.TOO_LARGE,
    RequestErrorCode.UNSUPPORTED,
)

_INTRODUCTION = """\
Read and write what metrics_stream has: live metrics, test runs, dashboards.

Programs send a token in the header `Authorization: Bearer mst_…`. In a browser that is signed in, the session gives \
access; what changes something also needs the header `X-CSRFToken`. Everything is cut to what the reader may see.

Answers have an `ETag`; with `If-None-Match` an answer that has not changed is 304. A refusal is a JSON object with \
`error`, a code, and `message`, which names the value that was wrong and what is allowed.
"""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was refused: a code for programs, and a sentence for people."""

    error: str
    message: str


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """An address of the API: its path below the site, and what each method does there."""

    path: str
    name: str
    operations: Mapping[str, Operation]

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters in the path."""
        return re.findall(r"{(\w+)}", self.path)


def addresses() -> list[Address]:
    """Return the addresses of the API, in the order of the URLs."""
    return [
        Address(path=_PARAMETER.sub(r"{\1}", path), name=pattern.name or "", operations=operations)
        for path, pattern in _patterns(get_resolver(), "/")
        if f"/{PREFIX}" in path and (operations := operations_of(_view_of(pattern)))
    ]


def _view_of(pattern: URLPattern) -> Callable[..., Any]:
    view: Callable[..., Any] = pattern.callback
    return view


def _patterns(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for item in resolver.url_patterns:
        path = f"{prefix}{item.pattern}"
        if isinstance(item, URLResolver):
            yield from _patterns(item, path)
        elif isinstance(item, URLPattern):
            yield path, item


VERSION = "1.0"
"""Of the API; 1 is the number in its addresses."""


@lru_cache(maxsize=8)
def document(root: str) -> bytes:
    """Return the document as JSON; `root` is the path of the site, empty for the root of its host."""
    found = addresses()
    operations = [operation for address in found for operation in address.operations.values()]
    kinds = [
        kind for item in operations for kind in (item.answer, *item.bodies, item.query) if kind not in (None, bytes)
    ]
    unique = list({id(kind): kind for kind in (*kinds, Refusal)}.values())
    schemas, components = msgspec.json.schema_components(unique, ref_template="#/components/schemas/{name}")
    schema_of = {id(kind): schema for kind, schema in zip(unique, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for address in found:
        described = paths.setdefault(address.path, {})
        if address.parameters:
            described["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in address.parameters
            ]
        for method, operation in address.operations.items():
            described[method.lower()] = _describe(address, method, operation, schema_of, components)
    # The structs of queries are described parameter by parameter.
    queries = {kind.__name__ for item in operations if (kind := item.query) is not None}
    shown = {name: schema for name, schema in components.items() if name not in queries}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "metrics_stream", "version": VERSION, "description": _INTRODUCTION},
            "servers": [{"url": root or "/"}],
            "paths": paths,
            "components": {
                "schemas": shown,
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer", "description": "A token of this server: mst_…"},
                    "session": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
                },
            },
        }
    )


def _describe(
    address: Address,
    method: str,
    operation: Operation,
    schema_of: Mapping[int, Any],
    components: Mapping[str, Any],
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{address.name.removeprefix('api_')}_{method.lower()}",
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": _responses(operation, schema_of),
    }
    if parameters := list(parameters_of(operation, components)):
        described["parameters"] = parameters
    if operation.bodies:
        described["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": _body_schema(kind, operation, schema_of)} for kind in operation.kinds},
        }
    if operation.scope is not None or operation.takes_session:
        schemes: list[dict[str, list[str]]] = [{"token": []}] if operation.scope is not None else []
        described["security"] = [*schemes, *([{"session": []}] if operation.takes_session else [])]
    else:
        described["security"] = []
    if operation.scope is not None:
        described["description"] = f"A token needs the scope `{operation.scope}`."
    return described


def _body_schema(kind: str, operation: Operation, schema_of: Mapping[int, Any]) -> Any:
    if kind != JSON or bytes in operation.bodies:
        return {"type": "string"}
    schemas = [schema_of[id(body)] for body in operation.bodies]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _responses(operation: Operation, schema_of: Mapping[int, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if operation.answer is not None:
        schema = schema_of[id(operation.answer)]
        done = {
            "description": str(operation.answer.__doc__).partition("\n")[0],
            "content": {
                kind: {"schema": schema if kind == JSON else {"type": "string"}} for kind in operation.answers_with
            },
        }
    elif operation.is_stream:
        done["content"] = {EVENTS: {"schema": {"type": "string"}}}
    responses = {str(operation.status): done}
    if operation.status == 202:  # some metrics, or all of them, were not accepted
        responses |= {"207": done, "422": done}
    elif operation.status == 200 and operation.answer is not None and not operation.bodies:
        responses["304"] = {"description": "The reader has this answer: its ETag is the one of If-None-Match."}
    refused = {"application/json": {"schema": schema_of[id(Refusal)]}}
    errors = (*_COMMON, *(_WITH_QUERY if operation.query else ()), *(_WITH_BODY if operation.bodies else ()))
    by_status: dict[int, list[str]] = {}
    for error in (*errors, *operation.errors):
        by_status.setdefault(STATUSES[error], []).append(f"`{error}`")
    for status, codes in sorted(by_status.items()):
        responses.setdefault(str(status), {"description": " or ".join(codes), "content": refused})
    return responses


def parameters_of(operation: Operation, components: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the parameters of an operation as OpenAPI describes them."""
    if operation.query in (None, NoQuery):
        return
    if components is None:
        _, components = msgspec.json.schema_components([operation.query])
    own = components[operation.query.__name__]
    for name, schema in own["properties"].items():
        plain = _without_null({key: value for key, value in schema.items() if key not in ("default", "description")})
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in own.get("required", ())}
        if "description" in schema:
            parameter["description"] = schema["description"]
        if plain.get("type") == "object" or "$ref" in plain:
            parameter["content"] = {JSON: {"schema": plain}}
        else:
            if plain.get("type") == "array":
                parameter |= {"style": "form", "explode": False}
            default = schema.get("default")
            parameter["schema"] = {**plain, **({"default": default} if default not in (None, []) else {})}
        yield parameter


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that is given: one that is left out is not null."""
    if "anyOf" in schema:
        kinds = [kind for kind in schema["anyOf"] if kind.get("type") != "null"]
        if len(kinds) == 1:
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            return {**kinds[0], **rest}
    if "enum" in schema:
        return {**schema, "enum": [value for value in schema["enum"] if value is not None]}
    return schema
