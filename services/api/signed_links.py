"""Links that work without a key for a short time: a browser's `EventSource`, `img` and `a` cannot send one.

A link carries `tenant`, `exp` (seconds since 1970) and `sig`: the secret's id and an HMAC-SHA256 (RFC 2104) over method, path,
tenant and `exp`. The path is the application's own, without a proxy's prefix.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import unquote, urlencode

from anyio import CapacityLimiter, to_thread

from services.adapters.link_secrets import LinkSecrets
from services.api.short_cache import ShortCache
from services.contract.access import LinkSecret

FRESH_S = 30.0  # a secret that was taken away is believed so long at most
AGAIN_S = 1.0  # an unknown secret makes us look again, but no more often
STALE_S = 3600.0

SIGNED_ROUTES = frozenset(
    {
        "/v1/jobs/{job_id}/events",
        "/v1/jobs/{job_id}/artifacts.zip",
        "/v1/jobs/{job_id}/artifacts/{name:path}",
        "/v1/jobs/{job_id}/images/{name}/thumbnail",
        "/v1/captures/{capture_id}/images/{name}/thumbnail",
    }
)


class BadLinkError(Exception):
    """A signed link that does not hold; the message says why."""


class Signature:
    """Signs the links of one answer for one tenant; all end at the same time."""

    def __init__(self, secret: LinkSecret, tenant: str, base: str, lifetime_s: float, now: float) -> None:
        step = max(1, round(lifetime_s))
        # Ends on a whole step: within one, the same link is given again, so that a browser's cache knows what it fetched.
        self._exp = (int(now) // step + 2) * step
        self._secret = secret
        self._tenant = tenant
        self._base = base

    @property
    def expires_at(self) -> datetime:
        """When the links end: after one to two lifetimes."""
        return datetime.fromtimestamp(self._exp, UTC)

    def sign(self, url: str) -> str:
        """Make a signed link of a URL below the base."""
        path = unquote(url.removeprefix(self._base))
        mac = _mac(self._secret, path, self._tenant, self._exp)
        query = {"tenant": self._tenant, "exp": self._exp, "sig": f"{self._secret.id}.{mac}"}
        return f"{url}?{urlencode(query)}"


class LinkSigner:
    """Opens signatures and checks links."""

    def __init__(self, store: LinkSecrets, lifetime_s: float) -> None:
        self._store = store
        self._lifetime_s = lifetime_s
        self._threads = CapacityLimiter(1)
        self._secrets: ShortCache[tuple[LinkSecret, ...]] = ShortCache(lambda _: store.all(), self._threads, FRESH_S, STALE_S)

    async def signature(self, tenant: str, base: str) -> Signature:
        """Begin to sign; makes the first secret. Raises ObjectStoreError."""
        known = await self._secrets.get("")
        secret = known[0] if known else await self._make()
        return Signature(secret, tenant, base, self._lifetime_s, time.time())

    async def check(self, path: str, query: Mapping[str, str]) -> str:
        """Give the tenant of a signed link.

        Raises:
            BadLinkError: it has ended, or is not one of ours.
            ObjectStoreError: no secret can be read.
        """
        tenant, exp, (secret_id, _, mac) = query.get("tenant", ""), query.get("exp", ""), query["sig"].partition(".")
        secret = _with_id(await self._secrets.get(""), secret_id) or _with_id(await self._secrets.get("", AGAIN_S), secret_id)
        whole = exp.isascii() and exp.isdecimal() and len(exp) <= 12
        if secret is None or not whole or not hmac.compare_digest(mac.encode(), _mac(secret, path, tenant, int(exp)).encode()):
            raise BadLinkError("the link's signature is wrong")
        if int(exp) <= time.time():
            raise BadLinkError("the link has ended; ask for a new one")
        return tenant

    async def _make(self) -> LinkSecret:
        secret = await to_thread.run_sync(self._store.current, limiter=self._threads)
        self._secrets.forget("")
        return secret


def _with_id(known: tuple[LinkSecret, ...], secret_id: str) -> LinkSecret | None:
    return next((secret for secret in known if secret.id == secret_id), None)


def _mac(secret: LinkSecret, path: str, tenant: str, exp: int) -> str:
    text = json.dumps(["m3r-link", "GET", path, tenant, exp])
    digest = hmac.new(bytes.fromhex(secret.secret), text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
