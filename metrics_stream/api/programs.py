"""Programs that publish over HTTP or start runs: their tokens, rates, sources and agents.

There is one `PublishingPrograms` per runtime. It asks the database when a token was not looked up for FRESH_SECONDS and
when a source or agent is new, never for a metric like those before it. Rates hold for all server processes, in Redis,
or for each of them while Redis is away.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from channels.db import database_sync_to_async
from django.db import DatabaseError, transaction
from django.utils import timezone

from metrics_stream.access.credentials import BEARER
from metrics_stream.audit.trail import Action, Result, note
from metrics_stream.conf import StreamSettings, get_settings
from metrics_stream.core.errors import InvalidTokenError, ItemError, RequestRefusedError, TooManyGuessesError
from metrics_stream.core.formats.native import Terms
from metrics_stream.core.lru import LruDict
from metrics_stream.core.metrics.budget import Overflow, RowBudget
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.metrics.keys import agents_of
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.protocol.codes import ItemErrorCode, RequestErrorCode
from metrics_stream.core.rate_limit import TokenBucket
from metrics_stream.limits.guesses import guesses_of_process
from metrics_stream.limits.shared import Claim, SharedBuckets
from metrics_stream.models import AccessToken, TokenName
from metrics_stream.observation.faults import of_process as faults
from metrics_stream.runtime.runtime import PerRuntime

logger = logging.getLogger(__name__)

# A revoked token stops publishing after this time at the latest, even when the bus does not announce the revocation.
FRESH_SECONDS = 3.0
# For so long a token that was valid stays valid while the database cannot be reached.
TOKEN_UNKNOWN_SECONDS = 300.0
# How often the database is asked whether a token at its limit of names has room again: an admin may delete names.
FULL_SECONDS = 5.0

BURST_SECONDS = 10.0

# Past these limits, the entry that was not used for the longest time is forgotten.
MAX_TOKENS = 10_000
# Of so many types and sources of a token the log says that rows are folded.
MAX_LOGGED_OVERFLOWS = 100
MAX_PUBLICATIONS = 10_000

SOURCE: str = TokenName.Kind.SOURCE.value
AGENT: str = TokenName.Kind.AGENT.value


@dataclass(slots=True)
class Program:
    """A program with a valid token, and what is known of its publications."""

    pk: int
    name: str
    """As it stands in the audit log."""
    terms: Terms
    scopes: frozenset[str]
    expires_at: datetime | None
    looked_up_at: float
    requests: TokenBucket
    metrics: TokenBucket
    names: dict[str, set[str]] | None = None
    """Its sources and agents so far; None before they were looked up."""
    names_at: float = -math.inf
    """When they were last looked up."""
    rows: RowBudget = field(default_factory=lambda: RowBudget(time.monotonic))
    """The rows that it has published lately."""
    overflows_logged: set[tuple[str, str]] = field(default_factory=set)
    published: LruDict[bytes, None] = field(default_factory=lambda: LruDict(MAX_PUBLICATIONS))
    """The publication keys of its latest requests that had an Idempotency-Key."""

    @property
    def owner(self) -> str:
        """The name of the token in the history, which divides what it keeps among the tokens."""
        return f"token {self.pk}"


class PublishingPrograms:
    """The programs that publish over HTTP to one process."""

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._shared = SharedBuckets(settings)
        self._programs: LruDict[bytes, Program] = LruDict(MAX_TOKENS)

    # --- tokens ---

    async def admit(self, scope: str, authorization: str, address: str) -> Program:
        """Return the program of a token for one request, which needs `scope`; raise RequestRefusedError."""
        now = time.monotonic()
        text = authorization[len(BEARER) :].strip() if authorization.lower().startswith(BEARER) else ""
        digest = hashlib.sha256(text.encode(errors="replace")).digest()
        program = self._programs.get(digest)
        if not text:
            raise InvalidTokenError("a token is needed: send the header `Authorization: Bearer mst_…`")
        if program is None or now - program.looked_up_at >= FRESH_SECONDS:
            try:
                program = await self._look_up(digest, text, scope, address, program)
            except InvalidTokenError:
                note(Action.TOKEN, "", scope, address=address, result=Result.REFUSED)
                raise
            note(Action.TOKEN, program.name, scope, address=address)
        if program.expires_at is not None and program.expires_at <= timezone.now():
            raise InvalidTokenError("the token has expired")
        _take(program.requests, 1, now, RequestErrorCode.TOO_MANY_REQUESTS)
        if scope not in program.scopes:
            message = f"the token does not allow this request; allowed: tokens with the scope {scope}"
            raise RequestRefusedError(RequestErrorCode.FORBIDDEN, message)
        return program

    async def _look_up(self, digest: bytes, text: str, scope: str, address: str, known: Program | None) -> Program:
        now = time.monotonic()
        try:
            token = await _find(text, scope, address)
        except TooManyGuessesError as error:
            raise RequestRefusedError(
                RequestErrorCode.TOO_MANY_REQUESTS, str(error), retry_seconds=error.retry_seconds
            ) from error
        except DatabaseError as error:
            if known is not None and now - known.looked_up_at < TOKEN_UNKNOWN_SECONDS:
                return known
            faults.note_database("a token cannot be looked up", error)
            message = "the token cannot be looked up; try again later"
            raise RequestRefusedError(RequestErrorCode.UNAVAILABLE, message, retry_seconds=5) from error
        if token is None or token.revoked_at is not None or token.has_expired:
            self._programs.pop(digest, None)
            state = "is unknown" if token is None else "has expired" if token.has_expired else "has been revoked"
            raise InvalidTokenError(f"the token {state}")
        terms, scopes = _make_terms(token), frozenset(token.scopes)
        if known is None:
            program = Program(
                token.pk,
                f"token {token.name}",
                terms,
                scopes,
                token.ends_at,
                now,
                _make_bucket(self._settings.ingest_requests_per_second, now),
                _make_bucket(self._settings.ingest_metrics_per_second, now),
            )
            # Two requests may have looked it up at once; both take from the buckets of the first.
            return self._programs.get(digest) or self._programs.put(digest, program)
        known.terms, known.scopes, known.expires_at, known.looked_up_at = terms, scopes, token.ends_at, now
        return self._programs.put(digest, known)

    # --- rates ---

    async def take_metrics(self, program: Program, count: int) -> None:
        """Take `count` metrics from the rate of a program; raise RequestRefusedError when they are too many.

        They and the request count for all server processes, while Redis answers.
        """
        _take(program.metrics, count, time.monotonic(), RequestErrorCode.TOO_MANY_METRICS)
        await self.take_shared(program, count)

    async def take_shared(self, program: Program, metrics: int = 0) -> None:
        """Take a request, and its metrics, from the rates of a program over all server processes."""
        if not self._shared.is_shared:
            return
        settings = self._settings
        claims = [
            _make_claim("requests", program, 1, settings.ingest_requests_per_second),
            _make_claim("metrics", program, metrics, settings.ingest_metrics_per_second),
        ]
        waits = await asyncio.to_thread(self._shared.take, claims)
        errors = (RequestErrorCode.TOO_MANY_REQUESTS, RequestErrorCode.TOO_MANY_METRICS)
        for wait, error, claim in zip(waits or (), errors, claims, strict=False):
            if wait:
                program.metrics.give_back(metrics)
                raise _make_rate_error(error, claim.per_second, wait)

    # --- sources and agents ---

    async def admit_names(self, program: Program, metrics: Mapping[int, Metric]) -> dict[int, ItemError]:
        """Return an error for each metric whose sources or agents are more than the program may have.

        The names of the other metrics are stored. Raises RequestRefusedError when that is not possible.
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
            # A program that sends new names without end must not cause a query for each request.
            refused = _choose(wanted, names, limits)[0]
            if len(refused) == len(wanted):
                return refused
        try:
            refused, names = await _claim(program.pk, wanted, limits)
        except DatabaseError as error:
            faults.note_database("new sources and agents cannot be stored", error)
            message = "new sources and agents cannot be stored; try again later"
            raise RequestRefusedError(RequestErrorCode.UNAVAILABLE, message, retry_seconds=5) from error
        program.names, program.names_at = names, now
        return refused

    # --- rows ---

    @staticmethod
    def fold_rows(program: Program, metrics: Mapping[int, Metric]) -> tuple[dict[int, Metric], list[Overflow]]:
        """Return the metrics with rows past the program's budget folded into `(other)`, and where that was done."""
        kept, overflows = program.rows.apply(metrics.values())
        for overflow in overflows:
            place = overflow.metric_type, overflow.source
            if place not in program.overflows_logged and len(program.overflows_logged) < MAX_LOGGED_OVERFLOWS:
                program.overflows_logged.add(place)
                logger.warning("%s: %s (logged once)", program.name, overflow)
        return dict(zip(metrics, kept, strict=True)), overflows

    # --- repeated requests ---

    def is_published(self, program: Program, publication: bytes) -> bool:
        """Return whether this process has published a request of this key for the program."""
        return publication in program.published

    def note_published(self, program: Program, publication: bytes) -> None:
        """Remember the key of a request that is published."""
        program.published.put(publication, None)


def _make_bucket(per_second: float, now: float) -> TokenBucket:
    return TokenBucket(per_second, max(1.0, per_second * BURST_SECONDS), now)


def _take(token_bucket: TokenBucket, amount: float, now: float, error: RequestErrorCode) -> None:
    if wait := token_bucket.take(amount, now):
        raise _make_rate_error(error, token_bucket.per_second, wait)


def _make_rate_error(error: RequestErrorCode, per_second: float, wait: float) -> RequestRefusedError:
    what = "requests" if error == RequestErrorCode.TOO_MANY_REQUESTS else "metrics"
    message = f"the token may send {per_second:g} {what} a second on average"
    return RequestRefusedError(error, message, retry_seconds=wait)


def _make_claim(what: str, program: Program, amount: float, per_second: float) -> Claim:
    return Claim(f"{what}.{program.pk}", amount, per_second, max(1.0, per_second * BURST_SECONDS))


def _make_terms(token: AccessToken) -> Terms:
    settings = get_settings()
    catalogue = settings.catalogue()
    # `all` does not include the metrics of the service itself: they must be listed by name.
    named = {*token.metric_types, *(catalogue.all_slugs if ALL in token.metric_types else ())}
    return Terms(
        types={slug: item for slug, item in catalogue.types.items() if slug in named},
        sources=frozenset(token.sources),
        default_source=token.sources[0] if len(token.sources) == 1 else token.name,
        max_metric_bytes=settings.max_metric_bytes,
        max_fields=settings.ingest_max_fields,
    )


# --- names ---

Names = tuple[tuple[str, str], ...]


def _names_of(metric: Metric) -> Names:
    return ((SOURCE, metric.source), *((AGENT, agent_id) for agent_id in agents_of(metric.rows)))


def _is_known(wanted: Names, names: Mapping[str, set[str]]) -> bool:
    return all(name in names[kind] for kind, name in wanted)


def _choose(
    wanted: Mapping[int, Names], names: Mapping[str, set[str]], limits: Mapping[str, int]
) -> tuple[dict[int, ItemError], list[tuple[str, str]]]:
    """Return the metrics refused because of too many names, and the new names of the other metrics."""
    counts = {kind: len(names[kind]) for kind in names}
    new: dict[tuple[str, str], None] = {}
    refused: dict[int, ItemError] = {}
    for index, own in wanted.items():
        missing = list(dict.fromkeys(name for name in own if name not in new and name[1] not in names[name[0]]))
        for kind, count in counts.items():
            own_new = [name for its_kind, name in missing if its_kind == kind]
            if own_new and count + len(own_new) > limits[kind]:
                refused[index] = _make_limit_error(kind, own_new[0], limits[kind])
                break
        else:
            new.update(dict.fromkeys(missing))
            for kind, _ in missing:
                counts[kind] += 1
    return refused, list(new)


def _make_limit_error(kind: str, name: str, limit: int) -> ItemError:
    code, path = (
        (ItemErrorCode.TOO_MANY_SOURCES, "source") if kind == SOURCE else (ItemErrorCode.TOO_MANY_AGENTS, "data")
    )
    return ItemError(code, path, f"{kind} {name!r} is new, and the token may publish for at most {limit:,} {kind}s")


def _store_new_names(
    pk: int, wanted: Mapping[int, Names], limits: Mapping[str, int]
) -> tuple[dict[int, ItemError], dict[str, set[str]]]:
    """Store the new names in the database; return the metrics refused, and all names of the token."""
    with transaction.atomic():
        # Without the lock, two processes that store names at once would exceed the limit together.
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


def _find_token(text: str, scope: str, address: str) -> AccessToken | None:
    token = guesses_of_process().find(text, address, AccessToken.find, AccessToken.name_possible)
    if token is not None and token.allows(scope):
        token.note_use()
    return token


# Outside Django's shared thread: a slow page must not delay publishing.
_find = database_sync_to_async(_find_token, thread_sensitive=False)
_claim = database_sync_to_async(_store_new_names, thread_sensitive=False)


# Called with a runtime; the first request makes them.
publishing_programs_of = PerRuntime(lambda runtime: PublishingPrograms(runtime.settings))
