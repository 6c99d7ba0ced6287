"""What a credential gives access to: the one place that decides it, for WebSockets, pages, files and statistics.

`resolve` returns the access of a credential now, and raises if there is none. All functions are synchronous and query
the database, so they must not be called on a hot path.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings as django_settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Q, QuerySet
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
from metrics_stream.access.shares import SHARES_KEY, held_by
from metrics_stream.conf import get_settings
from metrics_stream.core.errors import NotAuthenticatedError
from metrics_stream.core.metrics.catalogue import ALL
from metrics_stream.core.metrics.permission import EVERYTHING, NOTHING, Grant, Permit
from metrics_stream.models import AccessPolicy, AccessToken, ShareLink
from metrics_stream.models.dashboard_content import grant_from, grants_in, grants_of, panels_in
from metrics_stream.models.key_filters import terms_of


@dataclass(frozen=True, slots=True)
class Access:
    """What a credential gives access to: metrics, dashboards, test runs."""

    who: str
    """The name of the user or token, for the log and the page Connections."""
    permit: Permit
    """What is visible of test runs and, with what live links share, of live metrics."""
    metric_types: tuple[str, ...]
    """Metric types that are at least partly visible, in catalogue order."""
    everything: tuple[str, ...]
    """Those of them that `all` stands for."""
    user_id: Any = None
    """The primary key of the user; None for tokens and guests."""
    maker_ids: frozenset[Any] = frozenset()
    """The primary keys of the people to whom the token or the links are bound."""
    dashboards: frozenset[int] | None = frozenset()
    """Ids of dashboards; None means every published one."""
    sees_drafts: bool = False
    shared_grants: frozenset[Grant] = frozenset()
    """What links share of live metrics."""
    shared_dashboards: frozenset[int] = frozenset()
    """Those of them that only share links open."""
    shared_panels: frozenset[int] = frozenset()
    """The panels of these that existed when the links were made."""
    run_ids: frozenset[int] = frozenset()
    """Ids of runs that are visible although the permit names no such runs."""
    is_live: bool = True
    """Whether live metrics are visible too, and not only runs."""
    is_shared: bool = False
    """Whether it comes from share links alone: their dashboards may be viewed, and nothing else."""

    @property
    def live_permit(self) -> Permit:
        """The permit for live metrics."""
        return self.page_permit if self.is_live else NOTHING

    @property
    def page_permit(self) -> Permit:
        """The permit for what pages say of metrics: names of types, sources, agents and fields."""
        return self.permit.plus(self.shared_grants)

    def shows_run(self, pk: int, sources: Collection[str]) -> bool:
        """Return whether a run of these sources may be listed, replayed and exported."""
        return pk in self.run_ids or self.permit.names_run(sources)

    def opens(self, dashboard_id: int) -> bool:
        """Return whether the page of a dashboard may be opened, once it is published."""
        return self.dashboards is None or dashboard_id in self.dashboards

    def within(self, maker: Access) -> Access:
        """Return the part of the access that its maker has, too; the identity and the links stay."""
        permit = self.permit.overlap(maker.permit)
        dashboards = self.dashboards if maker.dashboards is None else maker.dashboards
        if self.dashboards is not None and maker.dashboards is not None:
            dashboards = self.dashboards & maker.dashboards
        return replace(
            self,
            **_describe_permit(permit),
            dashboards=dashboards,
            sees_drafts=self.sees_drafts and maker.sees_drafts,
            run_ids=self.run_ids & maker.run_ids,
            maker_ids=self.maker_ids | {maker.user_id},
        )

    def visible_types(self, metric_types: Iterable[str]) -> tuple[str, ...]:
        """Return those of the metric types that are at least partly visible, in catalogue order."""
        named = frozenset(metric_types)
        return tuple(item for item in self.metric_types if item in named)


def is_open() -> bool:
    """Return whether everything is visible without a credential (setting ANONYMOUS_READ)."""
    return get_settings().anonymous_read


def shows_something(headers: Mapping[str, str], *, may_have_session: bool) -> bool:
    """Return whether headers contain a credential that the database must resolve; parameters as in `admit`."""
    return bool(headers.get("authorization")) or (may_have_session and not is_open() and "cookie" in headers)


def admit(headers: Mapping[str, str], *, may_have_session: bool, address: str) -> tuple[Credential, Access]:
    """Return the credential in headers and its access; raise AccessRefusedError if there is none.

    Header names are in lower case. Pass `may_have_session` only for requests with an Origin: without one the request
    comes from a program, or from somebody with a stolen cookie. `address` as in `credential_of`.
    """
    credential = credential_of(headers, may_have_session=may_have_session and not is_open(), address=address)
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
                return _build_access("anybody", EVERYTHING, dashboards=None)
            raise NotAuthenticatedError


def _build_access(who: str, permit: Permit, **options: Any) -> Access:
    return Access(who, **_describe_permit(permit), **options)


def _describe_permit(permit: Permit) -> dict[str, Any]:
    """Return the permit with the metric types that it shows, as attributes of Access."""
    catalogue = get_settings().catalogue()
    return {
        "permit": permit,
        "metric_types": permit.metric_types(catalogue.slugs),
        "everything": permit.metric_types(catalogue.all_slugs),
    }


def _access_of_token(pk: int) -> Access:
    token = AccessToken.objects.select_related("created_by").filter(pk=pk).first()
    if token is None or token.revoked_at is not None:
        raise forbidden("the token has been revoked")
    if token.has_expired:
        raise expired("the token has expired")
    if not token.allows(AccessToken.Scope.SUBSCRIBE):
        raise forbidden("the token is not for subscribing; allowed: tokens with the scope subscribe")
    if not token.metric_types:
        raise forbidden("the token names no metric types, so it opens nothing; allowed: tokens with metric types")
    maker = _access_of_maker(token)
    token.note_use()
    sources = frozenset(token.sources)
    grant = Grant(_expand_types(token.metric_types), sources, keys=terms_of(token.keys))
    permit = Permit(frozenset({grant}), frozenset({sources}) if sources else None)
    access = _build_access(f"token {token.name}", permit, dashboards=None)
    if maker is not None:
        access = access.within(maker)
    # Whoever sees no metric type has no use for pages that show some.
    return access if access.metric_types else _build_access(access.who, NOTHING)


def _access_of_maker(grant: AccessToken | ShareLink) -> Access | None:
    """Return the access of the person to whom a token or link is bound now, None if it is bound to nobody.

    Raise AccessRefusedError if the person has no active account any more.
    """
    if not grant.is_personal:
        return None
    if not grant.has_maker or grant.created_by is None:
        raise forbidden("the account of the person who made this is not active any more")
    return access_of_user(grant.created_by)


def _access_of_session(key: str) -> Access:
    session = _open_session(key)
    user = user_of(session)
    links = _effective_links_in(session)
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
    who = str(user.get_username())
    sees_drafts = is_staff(user)
    if is_open() or getattr(user, "is_superuser", False):
        return _build_access(who, EVERYTHING, user_id=user.pk, sees_drafts=sees_drafts, dashboards=None)
    policies = list(
        AccessPolicy.objects.filter(Q(users=user.pk) | Q(groups__in=_groups_of(user)))
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
        Permit(frozenset(map(_grant_of, policies)), None if sources is None else frozenset(sources)),
        user_id=user.pk,
        dashboards=None if every_dashboard else frozenset(one.pk for each in policies for one in each.dashboards.all()),
        sees_drafts=sees_drafts,
    )
    # A shared run is not mixed with the user's own access.
    live = [link for link in links if link.run_id is None]
    return _add_links(own, live) if live else own


def _groups_of(user: AbstractBaseUser) -> QuerySet[Group]:
    """Return the groups of a user; a custom user model may have none."""
    groups = getattr(user, "groups", None)
    return Group.objects.none() if groups is None else groups.all()


def _grant_of(policy: AccessPolicy) -> Grant:
    return grant_from(policy, _expand_types(policy.metric_types), frozenset(policy.fields))


def _expand_types(metric_types: Iterable[str]) -> frozenset[str]:
    named = frozenset(metric_types)
    return frozenset(get_settings().catalogue().slugs) if ALL in named else named


def _add_links(own: Access, links: Iterable[ShareLink]) -> Access:
    """Return the access, extended by what share links show.

    A link to a run is valid for that run only, so with one of those nothing live is visible.
    """
    links = list(links)
    is_live = all(link.run_id is None for link in links)
    grants = frozenset[Grant]().union(*map(_grants_of_link, links))
    for link in links:
        link.note_use()
    shared = frozenset(link.dashboard_id for link in links if not own.opens(link.dashboard_id))
    return replace(
        own,
        **(_describe_permit(own.permit.plus(grants)) | ({"permit": own.permit} if is_live else {})),
        who=own.who or f"link {links[-1].name}",
        dashboards=None if own.dashboards is None else own.dashboards | shared,
        shared_grants=grants if is_live else frozenset(),
        shared_dashboards=shared,
        shared_panels=frozenset[int]().union(*(panels_in(link.content) for link in links)),
        run_ids=frozenset(link.run_id for link in links if link.run_id is not None),
        maker_ids=frozenset(link.created_by_id for link in links if link.is_personal),
        is_live=is_live,
        is_shared=not own.who,
    )


def _grants_of_link(link: ShareLink) -> frozenset[Grant]:
    """Return what a link shows: what it was made for, as far as its dashboard shows it and its maker may see it now."""
    shown = Permit(grants_in(link.content)).overlap(Permit(frozenset(grants_of(link.dashboard))))
    maker = _access_of_maker(link)
    shown = shown if maker is None else shown.overlap(maker.permit)
    return shown.grants or frozenset()


def is_effective(link: ShareLink) -> bool:
    """Return whether a link opens its page: it is valid, and its maker may open this dashboard and run now."""
    if not link.is_valid:
        return False
    maker = _access_of_maker(link)
    if maker is None:
        return True
    return maker.opens(link.dashboard_id) and (link.run is None or maker.shows_run(link.run.pk, link.run.sources))


def _effective_links_in(session: SessionBase) -> list[ShareLink]:
    return [link for link in held_by(session) if is_effective(link)]


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
    """Return whether a user is active and on the staff, and so may see drafts."""
    return bool(user.is_active and getattr(user, "is_staff", False))


def sees_connections(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Return whether a user may see who is connected: in the admin and in the statistics."""
    return is_staff(user) and any(
        user.has_perm(f"metrics_stream.{action}_connection")  # type: ignore[union-attr]  # of every user model for the admin
        for action in ("view", "change")
    )


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
        address = request.META.get("REMOTE_ADDR") or ""
        return admit({"authorization": authorization}, may_have_session=False, address=address)[1]
    user = request.user
    if user.is_authenticated:
        return access_of_user(user, _effective_links_in(request.session))
    if not is_open() and (links := _effective_links_in(request.session)):
        return _add_links(_build_access("", NOTHING), links)
    return resolve(Anybody())
