"""docs/api.md lists the addresses, parameters and events that the API has."""

import json

import msgspec

from metrics_stream.api.openapi import document
from metrics_stream.api.readers import HIGH_COST, USUAL_COST
from metrics_stream.api.responses import MAX_LIMIT
from metrics_stream.consumers.event_query import StreamQuery
from metrics_stream.consumers.event_stream import HEARTBEAT_SECONDS
from metrics_stream.core.formats.dashboards import SCHEMA_VERSION, DashboardDocument, PanelDocument
from metrics_stream.core.protocol.bounds import DEFAULT_MAX_POINTS, MAX_POINTS
from metrics_stream.core.protocol.events import Closed
from tests.support.documents import API, names, one_line, table

DOCUMENT = json.loads(document(""))


def test_every_address_and_method():
    rows = table(API, "Addresses", "address")
    documented = {(names(row["address"])[0].replace("<slug>", "{slug}"), row["method"]) for row in rows}
    described = {
        (path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item if method != "parameters"
    }
    assert documented == described | {("/api/v1/openapi.json", "GET"), ("/api/v1/docs/", "GET")}


def test_which_addresses_offer_csv():
    rows = table(API, "Addresses", "address")
    documented = {
        names(row["address"])[0].replace("<slug>", "{slug}") for row in rows if row["what it does"].endswith("; CSV")
    }
    offered = {
        path
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method != "parameters" and "text/csv" in operation["responses"].get("200", {}).get("content", {})
    }
    assert documented == offered


def test_parameters_that_mean_the_same_everywhere():
    common = {name for row in table(API, "Parameters", "parameter") for name in names(row["parameter"])}
    used = {
        parameter["name"]
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method == "get"
        for parameter in operation.get("parameters", ())
    }
    assert common <= used
    text = one_line(API)
    assert f"{MAX_POINTS[0]} to {MAX_POINTS[1]:,}; {DEFAULT_MAX_POINTS} when it is left out" in text
    assert f"at most {MAX_LIMIT:,}" in text
    assert f"an address counts as {USUAL_COST:g}" in text
    assert f"the newest metrics) as {HIGH_COST:g}" in text


def test_the_stream():
    text = one_line(API)
    for name in StreamQuery.__struct_fields__:
        assert f"`{name}`" in text
    assert f"Every {HEARTBEAT_SECONDS:g} seconds" in text
    keys = [name for row in table(API, "Live metrics as events", "key") for name in names(row["key"])]
    assert keys == list(Closed.__struct_fields__)


def test_the_document_of_a_dashboard():
    rows = table(API, "Dashboards as documents", "key")
    keys = [name for row in rows for name in names(row["key"])]
    assert set(keys) == set(DashboardDocument.__struct_fields__)
    assert names(rows[0]["key"]) == ["schema_version"]
    assert rows[0]["meaning"].startswith(f"{SCHEMA_VERSION},")
    assert all(f"`{name}`" in one_line(API) for name in PanelDocument.__struct_fields__)
    needed = {field.name for field in msgspec.structs.fields(DashboardDocument) if field.required}
    assert needed == {"schema_version", "slug", "title"}
