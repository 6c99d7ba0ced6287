"""Programs that publish over HTTP, or start runs: who they are, how much they may send, of how many sources and agents.

One per runtime. The database is asked when a token was not seen for a moment and when a name is new, never for a metric
that is like those before it. What is counted here holds for one server process.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from channels.db import database_sync_to_async
from django.db import DatabaseError, transaction
from django.utils import timezone

from metrics_stream.access.credentials import BEARER
from metrics_stream.conf import StreamSettings, get_settings
from metrics_stream.core.errors import InvalidTokenError, ItemError, RequestRefusedError
from metrics_stream.core.formats.native import Terms
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import ItemErrorCode, RequestErrorCode
from metrics_stream.core.rate_limit import TokenBucket
from metrics_stream.models import AccessToken, TokenName
from metrics_stream.runtime.runtime import PerRuntime

logger = logging.getLogger(__name__)

# A token that is revoked publishes nothing any more after this long, whether or not somebody says so over the bus.
FRESH_SECONDS = 3.0
# For so long a token that was valid stays so while the database is away.
UNKNOWN_SECONDS = 300.0
# How often it is looked up whether a token that has all its names got room for others.
FULL_SECONDS = 5.0

BURST_SECONDS = 10.0

# Past these the one that was silent longest is forgotten.
MAX_TOKENS = 10_000
MAX_ADDRESSES = 10_000
MAX_PUBLICATIONS = 10_000

SOURCE: str = TokenName.Kind.SOURCE.value
AGENT: str = TokenName.Kind.AGENT.value

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class Program:
    """A token that is valid, and what is known of what it has published."""

    pk: int
    terms: Terms
    scopes: frozenset[str]
    expires_at: datetime | None
    looked_up_at: float
    requests: TokenBucket
    metrics: TokenBucket
    names: dict[str, set[str]] | None = None
    """The sources and agents that it has published of; None before they were looked up."""
    names_at: float = -math.inf
    """When they were looked up last."""
    done: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    """What it has published under a key of its own lately."""


class PublishingPrograms:
    """The programs that publish over HTTP to one process."""

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._programs: OrderedDict[bytes, Program] = OrderedDict()
        self._guesses: OrderedDict[str, TokenBucket] = OrderedDict()

    # --- who it is ---

    async def admit(self, scope: str, authorization: str, address: str) -> Program:
        """Return whose token it is, for one request that its scopes have to allow; raise RequestRefused."""
        now = time.monotonic()
        text = authorization[len(BEARER) :].strip() if authorization.lower().startswith(BEARER) else ""
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        program = self._programs.get(digest)
        # Whoever was valid is not kept out by others who guess behind the same address.
        guess = None if program is not None else self._guess(address, now)
        if not text:
            raise InvalidTokenError("a token is needed: send the header `Authorization: Bearer mst_…`")
        if program is None or now - program.looked_up_at >= FRESH_SECONDS:
            program = await self._look_up(digest, text, scope, program, now)
        if program.expires_at is not None and program.expires_at <= timezone.now():
            raise InvalidTokenError("the token has expired")
        if guess is not None:
            guess.give_back(1)
        _take(program.requests, 1, now, RequestErrorCode.TOO_MANY_REQUESTS)
        if scope not in program.scopes:
            raise RequestRefusedError(
                RequestErrorCode.FORBIDDEN, f"the token is not for this; allowed: tokens with the scope {scope}"
            )
        return program

    def _guess(self, address: str, now: float) -> TokenBucket:
        per_minute = self._settings.ingest_guesses_per_minute
        token_bucket = _recent(self._guesses, address, MAX_ADDRESSES)
        if token_bucket is None:
            token_bucket = _put(self._guesses, address, TokenBucket(per_minute / 60, per_minute, now), MAX_ADDRESSES)
        if wait := token_bucket.take(1, now):
            message = f"more than {per_minute:g} requests a minute without a valid token came from your address"
            raise RequestRefusedError(RequestErrorCode.TOO_MANY_REQUESTS, message, retry_seconds=wait)
        return token_bucket

    async def _look_up(self, digest: bytes, text: str, scope: str, known: Program | None, now: float) -> Program:
        try:
            token = await _find(text, scope)
        except DatabaseError as error:
            if known is not None and now - known.looked_up_at < UNKNOWN_SECONDS:
                return known
            logger.warning("a token cannot be looked up: %s", str(error).strip().partition("\n")[0])
            message = "the token cannot be looked up; come back"
            raise RequestRefusedError(RequestErrorCode.UNAVAILABLE, message, retry_seconds=5) from error
        if token is None or token.revoked_at is not None or token.has_expired:
            self._programs.pop(digest, None)
            state = "is unknown" if token is None else "has expired" if token.has_expired else "has been revoked"
            raise InvalidTokenError(f"the token {state}")
        terms, scopes = _terms_of(token), frozenset(token.scopes)
        if known is None:
            program = Program(
                token.pk,
                terms,
                scopes,
                token.expires_at,
                now,
                _token_bucket(self._settings.ingest_requests_per_second, now),
                _token_bucket(self._settings.ingest_metrics_per_second, now),
            )
            # Two requests may have asked at once; both take from the allowances of the first.
            return self._programs.get(digest) or _put(self._programs, digest, program, MAX_TOKENS)
        known.terms, known.scopes, known.expires_at, known.looked_up_at = terms, scopes, token.expires_at, now
        _put(self._programs, digest, known, MAX_TOKENS)
        return known

    # --- how much it sends ---

    def take_metrics(self, program: Program, count: int) -> None:
        """Take so many metrics from what a program may publish; raise RequestRefused when they are too many."""
        _take(program.metrics, count, time.monotonic(), RequestErrorCode.TOO_MANY_METRICS)

    # --- of what ---

    async def admit_names(self, program: Program, metrics: Mapping[int, Metric]) -> dict[int, ItemError]:
        """Return what is wrong with metrics whose sources or agents are more than a program may have.

        The names of the others are remembered. Raises RequestRefused when that is not possible.
        """
        names = program.names
        wanted = {index: _names_of(metric) for index, metric in metrics.items()}
        if names is not None:
            wanted = {index: item for index, item in wanted.items() if not _is_known(item, names)}
            if not wanted:
                return {}
        limits = {SOURCE: self._settings.ingest_max_sources, AGENT: self._settings.ingest_max_agents}
        now = time.monotonic()
        if names is not None and now - program.names_at < FULL_SECONDS:
            # Who invents names without end costs no more than a look into memory.
            refused = _choose(wanted, names, limits)[0]
            if len(refused) == len(wanted):
                return refused
        try:
            refused, names = await _claim(program.pk, wanted, limits)
        except DatabaseError as error:
            logger.warning("new sources and agents cannot be noted: %s", str(error).strip().partition("\n")[0])
            message = "new sources and agents cannot be noted; come back"
            raise RequestRefusedError(RequestErrorCode.UNAVAILABLE, message, retry_seconds=5) from error
        program.names, program.names_at = names, now
        return refused

    # --- what it sends twice ---

    def is_done(self, program: Program, publication: bytes) -> bool:
        """Return whether a program has published this here before."""
        return publication in program.done

    def note_done(self, program: Program, publication: bytes) -> None:
        """Remember for a while that a program has published this."""
        _put(program.done, publication, None, MAX_PUBLICATIONS)


def _token_bucket(per_second: float, now: float) -> TokenBucket:
    return TokenBucket(per_second, max(1.0, per_second * BURST_SECONDS), now)


def _take(token_bucket: TokenBucket, amount: float, now: float, error: RequestErrorCode) -> None:
    if wait := token_bucket.take(amount, now):
        what = "requests" if error == RequestErrorCode.TOO_MANY_REQUESTS else "metrics"
        message = f"the token may send {token_bucket.per_second:g} {what} a second on average"
        raise RequestRefusedError(error, message, retry_seconds=wait)


def _recent(kept: OrderedDict[K, V], key: K, limit: int) -> V | None:
    found = kept.get(key)
    return None if found is None else _put(kept, key, found, limit)


def _put(kept: OrderedDict[K, V], key: K, value: V, limit: int) -> V:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > limit:
        kept.popitem(last=False)
    return value


def _terms_of(token: AccessToken) -> Terms:
    settings = get_settings()
    catalogue = settings.catalogue()
    # What the service says of itself has to be named.
    named = {*token.metric_types, *(catalogue.all_slugs if ALL in token.metric_types else ())}
    return Terms(
        types={slug: item for slug, item in catalogue.types.items() if slug in named},
        sources=frozenset(token.sources),
        default_source=token.sources[0] if len(token.sources) == 1 else token.name,
        max_metric_bytes=settings.max_metric_bytes,
    )


# --- names ---

Names = tuple[tuple[str, str], ...]


def _names_of(metric: Metric) -> Names:
    return ((SOURCE, metric.source), *((AGENT, agent_id) for agent_id in metric.agent_ids))


def _is_known(wanted: Names, names: Mapping[str, set[str]]) -> bool:
    return all(name in names[kind] for kind, name in wanted)


def _choose(
    wanted: Mapping[int, Names], names: Mapping[str, set[str]], limits: Mapping[str, int]
) -> tuple[dict[int, ItemError], list[tuple[str, str]]]:
    """Return which metrics are refused because there would be too many names, and the new names of the others."""
    counts = {kind: len(names[kind]) for kind in names}
    new: dict[tuple[str, str], None] = {}
    refused: dict[int, ItemError] = {}
    for index, own in wanted.items():
        missing = list(dict.fromkeys(name for name in own if name not in new and name[1] not in names[name[0]]))
        for kind, count in counts.items():
            own_new = [name for its_kind, name in missing if its_kind == kind]
            if own_new and count + len(own_new) > limits[kind]:
                refused[index] = _too_many(kind, own_new[0], limits[kind])
                break
        else:
            new.update(dict.fromkeys(missing))
            for kind, _ in missing:
                counts[kind] += 1
    return refused, list(new)


def _too_many(kind: str, name: str, limit: int) -> ItemError:
    code, path = (
        (ItemErrorCode.TOO_MANY_SOURCES, "source") if kind == SOURCE else (ItemErrorCode.TOO_MANY_AGENTS, "data")
    )
    return ItemError(code, path, f"{kind} {name!r} is new, and the token may publish of at most {limit:,} {kind}s")


def _note_new(
    pk: int, wanted: Mapping[int, Names], limits: Mapping[str, int]
) -> tuple[dict[int, ItemError], dict[str, set[str]]]:
    """Note the new names in the database; return which metrics are refused, and all the names that there are."""
    with transaction.atomic():
        # Two processes that note names at once would go past the limit together.
        AccessToken.objects.select_for_update().filter(pk=pk).first()
        names: dict[str, set[str]] = {SOURCE: set(), AGENT: set()}
        for kind, name in TokenName.objects.filter(token=pk).values_list("kind", "name"):
            names.setdefault(kind, set()).add(name)
        refused, new = _choose(wanted, names, limits)
        rows = [TokenName(token_id=pk, kind=kind, name=name) for kind, name in new]
        TokenName.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)
    for kind, name in new:
        names[kind].add(name)
    return refused, names


def _find_token(text: str, scope: str) -> AccessToken | None:
    token = AccessToken.find(text)
    if token is not None and token.allows(scope):
        token.note_use()
    return token


# In threads of their own: a page that takes long must not hold up what is published.
_find = database_sync_to_async(_find_token, thread_sensitive=False)
_claim = database_sync_to_async(_note_new, thread_sensitive=False)


# Called with a runtime; the first request makes them.
publishing_programs_of = PerRuntime(lambda runtime: PublishingPrograms(runtime.settings))
