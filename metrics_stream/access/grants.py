"""Who may see and publish what: the one place that says it, for sockets, pages, files and statistics alike.

What somebody shows (a token, a session of a browser, nothing) is a credential; `resolve` says what it opens now. The
answer to what is not known is no. All of it is synchronous and asks the database, so it never stands in a hot path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings as django_settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from metrics_stream.access.shares import SHARES_KEY, grants_of, held_by
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import AccessRefusedError, NotAuthenticatedError
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.metrics.permission import EVERYTHING, NOTHING, Grant, Permit
from metrics_stream.core.protocol.codes import CloseCode, ErrorCode
from metrics_stream.models import AccessPolicy, AccessToken, Dashboard, ShareLink, TestRun

BEARER = "bearer "


def _revoked(message: str) -> AccessRefusedError:
    return AccessRefusedError(CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN, message)


def _expired(message: str) -> AccessRefusedError:
    return AccessRefusedError(CloseCode.AUTHENTICATION_EXPIRED, ErrorCode.EXPIRED, message)


# --- credentials ---


@dataclass(frozen=True, slots=True)
class Anybody:
    """Nothing is shown."""


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """The session cookie of a browser."""

    key: str


@dataclass(frozen=True, slots=True)
class ProgramToken:
    """An access token, by its id."""

    pk: int


Credential = Anybody | BrowserSession | ProgramToken


@dataclass(frozen=True, slots=True)
class Access:
    """What a credential opens: metrics, dashboards, test runs."""

    who: str
    """For people: a name of a user or token, in the log and on the page Connections."""
    permit: Permit
    metric_types: tuple[str, ...]
    """Of which something may be seen, in the order of the catalogue."""
    everything: tuple[str, ...]
    """Which of them are meant by `all`."""
    user_id: int | None = None
    dashboards: frozenset[int] | None = frozenset()
    """Ids; None is every one that is published."""
    sees_drafts: bool = False
    run_sources: tuple[frozenset[str], ...] | None = ()
    """Runs that belong to sources of one of these sets only; None is every run."""
    run_ids: frozenset[int] = frozenset()
    """Further runs."""
    is_live: bool = True
    """Whether the permit holds for what is live, and not only for runs."""
    is_shared: bool = False
    """Whether nothing but share links opens it: their dashboards may be looked at, and nothing else."""

    @property
    def live_permit(self) -> Permit:
        """What may be seen of what is live."""
        return self.permit if self.is_live else NOTHING


def is_open() -> bool:
    """Return whether everybody who reaches the server sees everything (setting ANONYMOUS_READ)."""
    return bool(getattr(django_settings, "ANONYMOUS_READ", False))


def shows_something(headers: Mapping[str, str], *, may_have_session: bool) -> bool:
    """Return whether the database has to be asked what headers open; for the parameters see `admit`."""
    return bool(headers.get("authorization")) or (may_have_session and not is_open() and "cookie" in headers)


def admit(headers: Mapping[str, str], *, may_have_session: bool) -> tuple[Credential, Access]:
    """Return what headers show, and what that opens; raise AccessRefused when it is nothing.

    Names of headers are in lower case. A session cookie counts only where `may_have_session`: a socket without an
    Origin comes from a program, or from whoever got hold of a cookie.
    """
    credential = _credential_of(headers, may_have_session=may_have_session)
    return credential, resolve(credential)


def _credential_of(headers: Mapping[str, str], *, may_have_session: bool) -> Credential:
    authorization = headers.get("authorization", "")
    if authorization.lower().startswith(BEARER):
        return _token_of(authorization[len(BEARER) :].strip())
    if authorization:
        raise _revoked("the header Authorization is of another kind; allowed: Bearer and a token")
    key = _cookie(headers.get("cookie", ""), django_settings.SESSION_COOKIE_NAME)
    if may_have_session and key and not is_open():
        return BrowserSession(key)
    return Anybody()


def _token_of(text: str) -> ProgramToken:
    token = AccessToken.find(text)
    if token is None:
        raise _revoked("the token is unknown; a token looks like mst_…, and an admin makes it")
    return ProgramToken(token.pk)


def _cookie(header: str, name: str) -> str:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


# --- what they open ---


def resolve(credential: Credential) -> Access:
    """Return what a credential opens now; raise AccessRefused when that is nothing."""
    match credential:
        case ProgramToken(pk):
            return _access_of_token(pk)
        case BrowserSession(key):
            return _access_of_session(key)
        case _:
            if is_open():
                return _access("anybody", EVERYTHING, dashboards=None, run_sources=None)
            raise NotAuthenticatedError


def _access(who: str, permit: Permit, **options: Any) -> Access:
    catalogue = get_settings().catalogue()
    return Access(
        who, permit, permit.metric_types(catalogue.slugs), permit.metric_types(catalogue.all_slugs), **options
    )


def _access_of_token(pk: int) -> Access:
    token = AccessToken.objects.filter(pk=pk).first()
    if token is None or token.revoked_at is not None:
        raise _revoked("the token has been revoked")
    if token.has_expired:
        raise _expired("the token has expired")
    if not token.allows(AccessToken.Scope.SUBSCRIBE):
        raise _revoked("the token is not for subscribing; allowed: tokens with the scope subscribe")
    token.note_use()
    sources = frozenset(token.sources)
    permit = Permit(frozenset({Grant(_types(token.metric_types), sources)}))
    runs = (sources,) if sources else None
    return _access(f"token {token.name}", permit, dashboards=None, run_sources=runs)


def _access_of_session(key: str) -> Access:
    session = _session_store(key)
    user = user_of(session)
    links = _links_of(session)
    if user.is_authenticated:
        return access_of_user(user, links)
    if links:
        return _with_links(_access("", NOTHING), links)
    if session.get(SHARES_KEY):
        if any(link.has_expired and link.revoked_at is None for link in held_by(session)):
            raise _expired("the link has expired; ask for a new one")
        raise _revoked("the link does not work any more; ask for a new one")
    if session.is_empty() and key and session.exists(key):
        raise _expired("the session has expired; sign in again")
    raise NotAuthenticatedError


def access_of_user(user: AbstractBaseUser, links: Iterable[ShareLink] = ()) -> Access:
    """Return what a person who is signed in may see, beside what the share links in the browser show."""
    who = user.get_username()
    sees_drafts = is_staff(user)
    if is_open() or getattr(user, "is_superuser", False):
        every: dict[str, Any] = {"dashboards": None, "run_sources": None}
        return _access(who, EVERYTHING, user_id=user.pk, sees_drafts=sees_drafts, **every)
    policies = list(
        AccessPolicy.objects.filter(Q(users=user.pk) | Q(groups__user=user.pk))
        .distinct()
        .prefetch_related("dashboards")
    )
    sources: list[frozenset[str]] | None = []
    for policy in policies:
        if policy.runs == policy.Runs.ALL or (policy.runs == policy.Runs.SOURCES and not policy.sources):
            sources = None
        elif policy.runs == policy.Runs.SOURCES and sources is not None:
            sources.append(frozenset(policy.sources))
    every_dashboard = any(policy.all_dashboards for policy in policies)
    own = _access(
        who,
        Permit(frozenset(map(_grant_of, policies))),
        user_id=user.pk,
        dashboards=None if every_dashboard else frozenset(one.pk for each in policies for one in each.dashboards.all()),
        sees_drafts=sees_drafts,
        run_sources=None if sources is None else tuple(sources),
    )
    live = [link for link in links if link.run_id is None]  # a run that was shared is not mixed with a person's own
    return _with_links(own, live) if live else own


def _grant_of(policy: AccessPolicy) -> Grant:
    return Grant(
        _types(policy.metric_types),
        frozenset(policy.sources),
        frozenset(policy.agent_ids),
        frozenset(policy.fields),
    )


def _types(metric_types: Iterable[str]) -> frozenset[str]:
    named = frozenset(metric_types)
    return frozenset(get_settings().catalogue().slugs) if ALL in named else named


def _with_links(own: Access, links: Iterable[ShareLink]) -> Access:
    """Return an access that also opens what share links show: the fields of their dashboards' panels.

    Links of runs are for runs only, so beside one of those nothing is live.
    """
    links = list(links)
    for link in links:
        link.note_use()
    grants = own.permit.grants
    if grants is not None:
        grants = grants.union(*(grants_of(link.dashboard) for link in links))
    catalogue = get_settings().catalogue()
    permit = Permit(grants)
    return Access(
        who=own.who or f"link {links[-1].name}",
        permit=permit,
        metric_types=permit.metric_types(catalogue.slugs),
        everything=permit.metric_types(catalogue.all_slugs),
        user_id=own.user_id,
        dashboards=None if own.dashboards is None else own.dashboards.union(link.dashboard_id for link in links),
        sees_drafts=own.sees_drafts,
        run_sources=own.run_sources,
        run_ids=frozenset(link.run_id for link in links if link.run_id is not None),
        is_live=all(link.run_id is None for link in links),
        is_shared=not own.who,
    )


def _links_of(session: SessionBase) -> list[ShareLink]:
    return [link for link in held_by(session) if link.is_valid]


def _session_store(key: str) -> SessionBase:
    store: SessionBase = import_module(django_settings.SESSION_ENGINE).SessionStore(key)
    return store


def user_of(session: SessionBase) -> AbstractBaseUser | AnonymousUser:
    """Return whose session it is; nobody's when the user is gone, is not active, or has another password since."""
    user = get_user(cast(HttpRequest, SimpleNamespace(session=session)))
    return user if user.is_active else AnonymousUser()


def is_staff(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Return whether somebody may see what is not for viewers."""
    return bool(user.is_active and getattr(user, "is_staff", False))


# --- requests for pages ---


def access_of(request: HttpRequest) -> Access:
    """Return what the sender of a request may see; raise AccessRefused when that is nothing. Asked once a request."""
    found = getattr(request, "_metrics_stream_access", None)
    if found is None:
        found = _find_access(request)
        request._metrics_stream_access = found  # type: ignore[attr-defined]
    return cast(Access, found)


def _find_access(request: HttpRequest) -> Access:
    if authorization := request.headers.get("Authorization"):
        return admit({"authorization": authorization}, may_have_session=False)[1]
    user = request.user
    if user.is_authenticated:
        return access_of_user(user, _links_of(request.session))
    if not is_open() and (links := _links_of(request.session)):
        return _with_links(_access("", NOTHING), links)
    return resolve(Anybody())


def visible_dashboards(access: Access) -> QuerySet[Dashboard]:
    """Return the published dashboards that somebody may open."""
    published = Dashboard.objects.filter(published=True)
    return published if access.dashboards is None else published.filter(pk__in=access.dashboards)


def find_dashboard(access: Access, slug: str) -> Dashboard | None:
    """Return a dashboard that somebody may open; those that are not published exist for staff only."""
    found = Dashboard.objects.select_related("preset").filter(slug=slug).first()
    if found is None or not (found.published or access.sees_drafts):
        return None
    return found if access.dashboards is None or found.pk in access.dashboards else None


def visible_runs(access: Access) -> QuerySet[TestRun]:
    """Return the test runs that somebody may see, watch again and export; of each only what the permit shows."""
    if access.run_sources is None:
        return TestRun.objects.all()
    pks = set(access.run_ids)
    if access.run_sources:
        # Databases compare lists in JSON each in their own way; there are few runs, and few who see only some.
        for pk, sources in TestRun.objects.values_list("pk", "sources"):
            if sources and any(allowed.issuperset(sources) for allowed in access.run_sources):
                pks.add(pk)
    return TestRun.objects.filter(pk__in=pks)
