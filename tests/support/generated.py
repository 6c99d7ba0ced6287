"""Requests made of the OpenAPI document by schemathesis, and what every answer to them must be."""

from __future__ import annotations

from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]

# Statuses that the server itself answers.
_OF_SERVER = {400, 414, 431}

# Slugs of objects that exist; random ones hardly ever do.
SLUGS = ["soak", "shop", "operations", "one"]


def cases_of(document: dict[str, Any], *, without: tuple[str, ...] = ()) -> st.SearchStrategy[Case]:
    """Return a strategy of requests to every operation but `without`, valid and invalid ones."""
    schema = schemathesis.openapi.from_dict(document)
    found = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path not in without:
            found += [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
    named = st.tuples(st.one_of(found), st.sampled_from([None, *SLUGS]))
    return named.map(_with_slug)


def _with_slug(pair: tuple[Case, str | None]) -> Case:
    case, slug = pair
    if slug is not None and "slug" in (case.path_parameters or {}):
        case.path_parameters["slug"] = slug
    return case


def prepare(case: Case, base_url: str, **headers: str) -> requests.PreparedRequest:
    """Return the request of a case; `headers` replace those of the case."""
    options = case.as_transport_kwargs(base_url=base_url)
    options["headers"] = {**{k: v for k, v in options["headers"].items() if k.lower() != "authorization"}, **headers}
    options.pop("cookies", None)
    return requests.Request(**options).prepare()


def check(case: Case, answer: requests.Response | httpx.Response) -> None:
    """Require what the document promises, and no failure of the server."""
    told = f"{answer.request.method} {answer.request.url} {case.body!r:.300}: {answer.status_code}"
    assert answer.status_code < 500, f"{told}: {answer.text[:1_000]}"
    if answer.headers["Content-Type"].startswith("text/plain") and answer.status_code in _OF_SERVER:
        return  # refused before the application: no HTTP, or too much of it
    if answer.status_code >= 400 and answer.status_code != 422:
        assert answer.headers["Content-Type"] == "application/json", f"{told}: {answer.text[:500]}"
        assert set(answer.json()) >= {"error", "message"}, told
    case.validate_response(answer, checks=CHECKS)
