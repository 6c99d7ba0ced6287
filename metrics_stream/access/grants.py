"""What a credential gives access to: the one place that decides it, for WebSockets, pages, files and statistics.

`resolve` returns the access of a credential now, and raises if there is none. All functions are synchronous and query
the database, so they must not be called on a hot path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings as django_settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Q
from django.http import HttpRequest

from metrics_stream.access.credentials import (
    Anybody,
    BrowserSession,
    Credential,
    ProgramToken,
    credential_of,
    expired,
    forbidden,
)
from metrics_stream.access.shares import SHARES_KEY, grants_of, held_by
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import NotAuthenticatedError
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.metrics.permission import EVERYTHING, NOTHING, Grant, Permit
from metrics_stream.models import AccessPolicy, AccessToken, ShareLink


@dataclass(frozen=True, slots=True)
class Access:
    """What a credential gives access to: metrics, dashboards, test runs."""

    who: str
    """The name of the user or token, for the log and the page Connections."""
    permit: Permit
    metric_types: tuple[str, ...]
    """Metric types that are at least partly visible, in catalogue order."""
    everything: tuple[str, ...]
    """Those of them that `all` stands for."""
    user_id: int | None = None
    dashboards: frozenset[int] | None = frozenset()
    """Ids of dashboards; None means every published one."""
    sees_drafts: bool = False
    run_sources: tuple[frozenset[str], ...] | None = ()
    """Runs whose sources all are in one of these sets; None means every run."""
    run_ids: frozenset[int] = frozenset()
    """Ids of further runs."""
    is_live: bool = True
    """Whether the permit applies to live metrics too, and not only to runs."""
    is_shared: bool = False
    """Whether it comes from share links alone: their dashboards may be viewed, and nothing else."""

    @property
    def live_permit(self) -> Permit:
        """The permit for live metrics."""
        return self.permit if self.is_live else NOTHING

    def visible_types(self, metric_types: Iterable[str]) -> tuple[str, ...]:
        """Return those of the metric types that are at least partly visible, in catalogue order."""
        named = frozenset(metric_types)
        return tuple(item for item in self.metric_types if item in named)


def is_open() -> bool:
    """Return whether everything is visible without a credential (setting ANONYMOUS_READ)."""
    return bool(getattr(django_settings, "ANONYMOUS_READ", False))


def shows_something(headers: Mapping[str, str], *, may_have_session: bool) -> bool:
    """Return whether headers contain a credential that the database must resolve; parameters as in `admit`."""
    return bool(headers.get("authorization")) or (may_have_session and not is_open() and "cookie" in headers)


def admit(headers: Mapping[str, str], *, may_have_session: bool) -> tuple[Credential, Access]:
    """Return the credential in headers and its access; raise AccessRefusedError if there is none.

    Header names are in lower case. Pass `may_have_session` only for requests with an Origin: without one the request
    comes from a program, or from somebody with a stolen cookie.
    """
    credential = credential_of(headers, may_have_session=may_have_session and not is_open())
    return credential, resolve(credential)


# --- the access of each kind of credential ---


def resolve(credential: Credential) -> Access:
    """Return the access of a credential now; raise AccessRefusedError if it has none."""
    match credential:
        case ProgramToken(pk):
            return _access_of_token(pk)
        case BrowserSession(key):
            return _access_of_session(key)
        case _:
            if is_open():
                return _build_access("anybody", EVERYTHING, dashboards=None, run_sources=None)
            raise NotAuthenticatedError


def _build_access(who: str, permit: Permit, **options: Any) -> Access:
    catalogue = get_settings().catalogue()
    return Access(
        who, permit, permit.metric_types(catalogue.slugs), permit.metric_types(catalogue.all_slugs), **options
    )


def _access_of_token(pk: int) -> Access:
    token = AccessToken.objects.filter(pk=pk).first()
    if token is None or token.revoked_at is not None:
        raise forbidden("the token has been revoked")
    if token.has_expired:
        raise expired("the token has expired")
    if not token.allows(AccessToken.Scope.SUBSCRIBE):
        raise forbidden("the token is not for subscribing; allowed: tokens with the scope subscribe")
    token.note_use()
    sources = frozenset(token.sources)
    permit = Permit(frozenset({Grant(_expand_types(token.metric_types), sources)}))
    runs = (sources,) if sources else None
    return _build_access(f"token {token.name}", permit, dashboards=None, run_sources=runs)


def _access_of_session(key: str) -> Access:
    session = _open_session(key)
    user = user_of(session)
    links = _valid_links_in(session)
    if user.is_authenticated:
        return access_of_user(user, links)
    if links:
        return _add_links(_build_access("", NOTHING), links)
    if session.get(SHARES_KEY):
        if any(link.has_expired and link.revoked_at is None for link in held_by(session)):
            raise expired("the link has expired; ask for a new one")
        raise forbidden("the link does not work any more; ask for a new one")
    if session.is_empty() and key and session.exists(key):
        raise expired("the session has expired; sign in again")
    raise NotAuthenticatedError


def access_of_user(user: AbstractBaseUser, links: Iterable[ShareLink] = ()) -> Access:
    """Return the access of a signed-in user, extended by the share links opened in the same browser."""
    who = user.get_username()
    sees_drafts = is_staff(user)
    if is_open() or getattr(user, "is_superuser", False):
        every: dict[str, Any] = {"dashboards": None, "run_sources": None}
        return _build_access(who, EVERYTHING, user_id=user.pk, sees_drafts=sees_drafts, **every)
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
    own = _build_access(
        who,
        Permit(frozenset(map(_grant_of, policies))),
        user_id=user.pk,
        dashboards=None if every_dashboard else frozenset(one.pk for each in policies for one in each.dashboards.all()),
        sees_drafts=sees_drafts,
        run_sources=None if sources is None else tuple(sources),
    )
    # A shared run is not mixed with the user's own access.
    live = [link for link in links if link.run_id is None]
    return _add_links(own, live) if live else own


def _grant_of(policy: AccessPolicy) -> Grant:
    return Grant(
        _expand_types(policy.metric_types),
        frozenset(policy.sources),
        frozenset(policy.agent_ids),
        frozenset(policy.fields),
    )


def _expand_types(metric_types: Iterable[str]) -> frozenset[str]:
    named = frozenset(metric_types)
    return frozenset(get_settings().catalogue().slugs) if ALL in named else named


def _add_links(own: Access, links: Iterable[ShareLink]) -> Access:
    """Return the access, extended by what share links show: the fields that the panels of their dashboards draw.

    A link to a run is valid for that run only, so with one of those nothing live is visible.
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


def _valid_links_in(session: SessionBase) -> list[ShareLink]:
    return [link for link in held_by(session) if link.is_valid]


def _open_session(key: str) -> SessionBase:
    store: SessionBase = import_module(django_settings.SESSION_ENGINE).SessionStore(key)
    return store


class _SessionCopy(dict[str, Any]):
    """What a session holds. Django renews that of a former SECRET_KEY, but no handshake can tell the browser so."""

    def cycle_key(self) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""


def user_of(session: SessionBase) -> AbstractBaseUser | AnonymousUser:
    """Return the user of a session; anonymous if the user was deleted, deactivated, or has changed the password."""
    user = get_user(cast(HttpRequest, SimpleNamespace(session=_SessionCopy(session.items()))))
    return user if user.is_active else AnonymousUser()


def is_staff(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Return whether a user is active and on the staff, and so may see drafts and statistics."""
    return bool(user.is_active and getattr(user, "is_staff", False))


# --- requests for pages ---


def access_of(request: HttpRequest) -> Access:
    """Return the access of a request, resolved once per request; raise AccessRefusedError if there is none."""
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
        return access_of_user(user, _valid_links_in(request.session))
    if not is_open() and (links := _valid_links_in(request.session)):
        return _add_links(_build_access("", NOTHING), links)
    return resolve(Anybody())
