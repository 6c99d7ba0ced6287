"""The messages between processes on the channel layer: their classes, and how they are written and read.

| `type` on the layer | class | meaning |
|---|---|---|
| `metrics.publish` | Published | metrics of one type |
| `stats.request` | StatsRequest | asks the server processes for statistics, or about one client |
| `access.changed` | AccessChanged | permissions have changed |
| `client.close` | CloseClient | closes a client of any process |
| `bus.canary` | CanaryMessage | from a process to itself: shows that the layer carries messages |

Metrics travel as one msgpack blob: the in-memory layer deep-copies what it is given, and copying a blob costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from metrics_stream.bus.publication import Publication
from metrics_stream.core.delivery.explanation import Question
from metrics_stream.core.metrics.keys import restore_rows
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.history import Placed

_encode_question = msgspec.msgpack.Encoder().encode
_decode_metrics = msgspec.msgpack.Decoder(list[Metric]).decode
_decode_question = msgspec.msgpack.Decoder(Question).decode


@dataclass(frozen=True, slots=True)
class StatsRequest:
    """Ask every server process for its statistics or, with a question, the one that the client is connected to."""

    reply_to: str
    question: Question | None = None


@dataclass(frozen=True, slots=True)
class AccessChanged:
    """Tell that some client may see more or less than before, or is signed out.

    `owner` names the only user, token or session that it concerns, as `access.monitor.owner_names` does; None means
    everybody.
    """

    owner: str | None = None


@dataclass(frozen=True, slots=True)
class CloseClient:
    """Close a client, in the process that it is connected to."""

    client_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class CanaryMessage:
    """Come back to the process that sent it."""

    number: int


@dataclass(frozen=True, slots=True)
class Published:
    """Metrics of one type that were published together.

    `number` is the number of the first of them among its producer's metrics of the type; None if the producer is
    unknown. `place` is where they stand in the history; None without a history.
    """

    metrics: list[Metric]
    producer: str = ""
    number: int | None = None
    place: Placed | None = None
    origin: str = ""
    """The program that made the metrics, for people."""


Message = Published | StatsRequest | AccessChanged | CloseClient | CanaryMessage


def encode_publication(publication: Publication, place: Placed | None) -> dict[str, Any]:
    """Return the layer message of a publication that the history has put at `place`; it is read as Published."""
    content = {
        "type": "metrics.publish",
        "payload": publication.payload,
        "producer": publication.numbering.id,
        "number": publication.number,
        "origin": publication.origin,
    }
    if place is not None:
        content["place"] = tuple(place)
    return content


def encode(message: StatsRequest | AccessChanged | CloseClient | CanaryMessage) -> dict[str, Any]:
    """Return the layer message of any other message."""
    match message:
        case StatsRequest(reply_to, None):
            return {"type": "stats.request", "reply_to": reply_to}
        case StatsRequest(reply_to, question):
            return {"type": "stats.request", "reply_to": reply_to, "question": _encode_question(question)}
        case AccessChanged(owner):
            return {"type": "access.changed"} if owner is None else {"type": "access.changed", "owner": owner}
        case CloseClient(client_id, reason):
            return {"type": "client.close", "client_id": client_id, "reason": reason}
        case CanaryMessage(number):
            return {"type": "bus.canary", "number": number}


def decode(content: dict[str, Any]) -> Message | None:
    """Return what a layer message says; None if its type is unknown, as that of a newer version is.

    Raise msgspec.DecodeError, KeyError or TypeError for a malformed message.
    """
    read = _READERS.get(content.get("type"))
    return None if read is None else read(content)


def _read_published(content: dict[str, Any]) -> Published:
    place = content.get("place")
    return Published(
        restore_rows(_decode_metrics(content["payload"])),
        content.get("producer", ""),
        content.get("number"),
        None if place is None else Placed(*place),
        content.get("origin") or content.get("producer", ""),
    )


def _read_stats_request(content: dict[str, Any]) -> StatsRequest:
    question = content.get("question")
    return StatsRequest(content["reply_to"], None if question is None else _decode_question(question))


_READERS: dict[Any, Callable[[dict[str, Any]], Message]] = {
    "metrics.publish": _read_published,
    "stats.request": _read_stats_request,
    "access.changed": lambda content: AccessChanged(content.get("owner")),
    "client.close": lambda content: CloseClient(content["client_id"], content["reason"]),
    "bus.canary": lambda content: CanaryMessage(content["number"]),
}
