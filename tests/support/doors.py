"""The doors where metrics come in: each takes one metric as a dict, and publishes it or returns it."""

import json

from metrics_stream.broadcast import Broadcaster, functions
from metrics_stream.core.formats.native import Terms, items_in, read_item
from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.protocol.parsing import parse, parse_instant

TOKEN = "mst_" + "a" * 43
AT = 1_769_860_800.25  # 2026-01-31T12:00:00.25Z
NOW = 1_900_000_000.0


async def through_function(item):
    await functions.broadcast(**item)


async def through_functions_of_many(item):
    await functions.broadcast_many([item])


async def through_broadcaster(item):
    Broadcaster().broadcast(**item)


async def through_broadcaster_of_many(item):
    Broadcaster().broadcast_many([item])


async def through_broadcaster_over_http(item):
    Broadcaster(url="http://127.0.0.1:1", token=TOKEN).broadcast(**item)


HELPERS = [
    through_function,
    through_functions_of_many,
    through_broadcaster,
    through_broadcaster_of_many,
    through_broadcaster_over_http,
]


def through_http(item):
    terms = Terms(Catalogue().types, frozenset(), "any", 100_000)
    [read] = items_in(json.dumps(item).encode(), "json", max_items=1)
    return read_item(read, terms, NOW)


def through_socket(instant):
    return parse_instant("to", parse(json.dumps({"type": "seek", "to": instant})).to)
