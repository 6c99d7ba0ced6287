"""Tokens, people with policies and share links, and WebSocket clients that show them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client as Browser
from django.utils import timezone

from metrics_stream.models import AccessPolicy, AccessToken, Dashboard, ShareLink
from tests.support.clients import Client, opened

PASSWORD = "correct horse battery"
HOST = [(b"host", b"testserver")]


@asynccontextmanager
async def socket(
    *headers: tuple[bytes, bytes], path: str = "/ws/metrics/", address: str = "10.0.0.1"
) -> AsyncIterator[Client]:
    """Yield a client with these headers that comes from another machine and has heard nothing yet."""
    async with opened(path, [*HOST, *headers], address=address) as client:
        yield client


def bearer(text: str) -> tuple[bytes, bytes]:
    """Return the header with which a program shows a token."""
    return (b"authorization", f"Bearer {text}".encode())


def page_of(browser: Browser) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Return the headers that a page in the browser sends with a handshake."""
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())
    return (b"origin", b"http://testserver"), (b"cookie", cookies.encode())


@sync_to_async
def make_token(**values: Any) -> tuple[AccessToken, str]:
    """Return a token for subscribing to `system`, and its text."""
    return AccessToken.issue(**{"name": "probe", "scopes": ["subscribe"], "metric_types": ["system"]} | values)


@sync_to_async
def make_viewer(name: str = "ann", **policy: Any) -> tuple[User, Browser]:
    """Return a person, with a policy if any of its columns is given, and a browser in which she is signed in."""
    user = User.objects.create_user(name, password=PASSWORD)
    if policy:
        columns = {"metric_types": ["system"], **policy}
        AccessPolicy.objects.create(name=name, **columns).users.add(user)
    browser = Browser()
    browser.force_login(user)
    return user, browser


async def settled(client: Client) -> None:
    """Return when everything that was published so far has been delivered or left out."""
    assert (await client.ask(type="ping"))["type"] == "pong"


def open_link(client: Browser, text: str) -> HttpResponse:
    """Open a share link in a browser."""
    return client.get(f"/share/{text}/")


def end_link(link: ShareLink, how: str) -> None:
    """End a share link in one of the four ways."""
    match how:
        case "expired":
            ShareLink.objects.update(expires_at=timezone.now())
        case "revoked":
            link.revoke()
        case "deleted":
            link.delete()
        case "unpublished":
            Dashboard.objects.update(published=False)
