"""The limit on guesses: how many secrets that do not exist an address may show, at all doors together.

A door looks a secret up with `find`. Whoever shows a valid secret is not refused for the guesses of others behind the
same address: one that was valid before is known, and one that is new has a name that guesses lack. The limit of the
process holds always, and that of the installation while Redis answers; so the limit never fails open.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Protocol, TypeVar

from django.core.signals import setting_changed

from metrics_stream.conf import get_settings
from metrics_stream.core.errors import TooManyGuessesError
from metrics_stream.core.lru import LruDict
from metrics_stream.core.rate_limit import TokenBucket
from metrics_stream.limits.shared import Claim, SharedBuckets, asking

logger = logging.getLogger(__name__)


class Secretive(Protocol):
    """What a secret stands for: a token or a share link."""

    @property
    def is_valid(self) -> bool:
        """Whether it is neither expired nor revoked."""


T = TypeVar("T", bound=Secretive)

# Past these limits, the entry that was not used for the longest time is forgotten.
MAX_ADDRESSES = 10_000
MAX_KNOWN = 10_000

# For so long the other processes know a secret that was valid.
KNOWN_SECONDS = 86_400

# A client that has one IPv6 address has all with the same prefix.
IPV6_PREFIX_BITS = 64


def network_of(address: str) -> str:
    """Return the address, or the network of an IPv6 address, for which attempts count; empty if it is none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed.packed, IPV6_PREFIX_BITS), strict=False).network_address)


class Guesses:
    """Counts the guesses of each address. It can be used from several threads."""

    def __init__(self, per_minute: float, shared: SharedBuckets, *, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._shared = shared
        self._now = now
        self._lock = threading.Lock()
        self._buckets: LruDict[str, TokenBucket] = LruDict(MAX_ADDRESSES)
        self._known: LruDict[str, None] = LruDict(MAX_KNOWN)
        self._told: LruDict[str, float] = LruDict(MAX_ADDRESSES)

    def find(
        self, secret: str, address: str, look_up: Callable[[str], T | None], name_possible: Callable[[str], str]
    ) -> T | None:
        """Return what a secret stands for, valid or not; raise TooManyGuessesError if its address guessed too often.

        `name_possible` returns, without a query, a name for a secret that may exist, and nothing for most guesses.
        Such a secret is looked up although its address guesses too often, as long as few secrets with that name were.
        """
        try:
            self.admit(secret, address)
            has_paid = True
        except TooManyGuessesError:
            name, has_paid = name_possible(secret), False
            if not name or not self._take_of_name(name):
                raise
        found = look_up(secret)
        if found is None or not found.is_valid:
            self.note_invalid(secret, address)
        else:
            self.note_valid(secret, address if has_paid else None)
        return found

    def admit(self, secret: str, address: str) -> None:
        """Count a look-up of a secret; raise TooManyGuessesError when its address has guessed too often."""
        network, name = network_of(address), _name_of(secret)
        with self._lock:
            if name in self._known:
                self._known.move_to_end(name)
                return
            wait = self._bucket_of(network).take(1, self._now())
        if wait:
            if not self._shared.is_known(name):
                self._refuse(address, wait)
            return
        waits = self._shared.take([self._claim(network)], unless_known=name)
        if waits is not None and waits[0]:
            self._refuse(address, waits[0])

    def _take_of_name(self, name: str) -> bool:
        """Return whether another secret of this name may be looked up, from whatever address."""
        bucket = f"name.{name}"
        with self._lock:
            if self._bucket_of(bucket).take(1, self._now()):
                return False
        waits = self._shared.take([self._claim(bucket)])
        return waits is None or not waits[0]

    def note_valid(self, secret: str, address: str | None) -> None:
        """Note that a secret is valid: it is never refused as a guess from now on, and was none of its address.

        `address` is None if the look-up was not counted for one.
        """
        name = _name_of(secret)
        with self._lock:
            is_new = name not in self._known
            self._known.put(name, None)
            if is_new and address is not None:
                self._bucket_of(network_of(address)).give_back(1)
        if is_new:
            self._shared.note_known(name, KNOWN_SECONDS)
            if address is not None:
                self._shared.take([self._claim(network_of(address))._replace(amount=-1.0)])

    def note_invalid(self, secret: str, address: str) -> None:
        """Log a secret that does not exist, or no longer; it counts as a guess from now on."""
        with self._lock:
            self._known.pop(_name_of(secret), None)
        logger.warning("a token or link that is not valid was shown from %s", address or "an unknown address")

    def _bucket_of(self, network: str) -> TokenBucket:
        found = self._buckets.use(network)
        per_minute = self._per_minute
        return found or self._buckets.put(network, TokenBucket(per_minute / 60, per_minute, self._now()))

    def _claim(self, network: str) -> Claim:
        return Claim(f"guesses.{network}", 1.0, self._per_minute / 60, self._per_minute)

    def _refuse(self, address: str, wait: float) -> None:
        with self._lock:
            now, told_at = self._now(), self._told.get(address)
            is_due = told_at is None or now - told_at >= 60
            if is_due:
                self._told.put(address, now)
        if is_due:  # Once a minute: a flood of guesses must not fill the log.
            logger.warning("%s guesses tokens or links, and is refused", address or "an unknown address")
        raise TooManyGuessesError(
            f"more than {self._per_minute:g} requests a minute without a valid token came from your address", wait
        )


def _name_of(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


class _Process:
    guesses: Guesses | None = None


def guesses_of_process() -> Guesses:
    """Return the guesses that this process counts, at all its doors."""
    if _Process.guesses is None:
        settings = get_settings()
        _Process.guesses = Guesses(settings.ingest_guesses_per_minute, SharedBuckets(settings))
    return _Process.guesses


def forget_guesses() -> None:
    """Count anew, with the settings of now."""
    _Process.guesses = None
    asking.forget()


def _reset(*, setting: str, **_: object) -> None:
    if setting in {"METRICS_STREAM", "CHANNEL_LAYERS"}:
        forget_guesses()


setting_changed.connect(_reset)
