"""Secrets that webhooks are signed with: a tenant's own, derived, and those that clients give, sealed.

Everything comes from one master key: `M3R_WEBHOOK_KEY`, or one that is made once and kept in the object store. A secret that a
client gives must outlive Redis, so it lies in the job's document: sealed with AES-SIV (RFC 5297), bound to its tenant. With a
key from the environment, whoever reads the store or a dump of Redis reads no secret; with one in the store that holds for Redis
alone. AES-SIV is deterministic: the same wish seals to the same text, so a request that is sent again is known to be the same.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from services.adapters.objects import ObjectExists, ObjectNotFound, ObjectStore
from services.adapters.settings import Settings
from services.contract.keys import webhook_key
from services.contract.webhooks import Webhook

SECRET_PREFIX = "whsec_"


class SecretUnreadable(Exception):
    """A sealed secret cannot be opened: it was sealed under another `M3R_WEBHOOK_KEY`."""


class WebhookSecrets:
    """Seals, opens and derives secrets. The first use may raise ObjectStoreError."""

    def __init__(self, settings: Settings, objects: ObjectStore) -> None:
        self._objects = objects
        self._configured = settings.webhook_key
        self._lock = threading.Lock()
        self._kept: bytes | None = None

    def of_tenant(self, tenant: str) -> str:
        """The secret that a tenant's webhooks are signed with unless the job brought one of its own."""
        return SECRET_PREFIX + base64.b64encode(self._derive("tenant", tenant)).decode()

    def seal(self, secret: str, tenant: str) -> str:
        """Make a secret unreadable for all but this service, and worthless for another tenant."""
        return base64.b64encode(self._cipher().encrypt(secret.encode(), [tenant.encode()])).decode()

    def of_job(self, webhook: Webhook, tenant: str) -> str:
        """The secret of a job's webhook; raises SecretUnreadable."""
        if webhook.sealed_secret is None:
            return self.of_tenant(tenant)
        try:
            return self._cipher().decrypt(base64.b64decode(webhook.sealed_secret), [tenant.encode()]).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise SecretUnreadable("the secret cannot be opened: was M3R_WEBHOOK_KEY changed?") from None

    def _cipher(self) -> AESSIV:
        return AESSIV(self._derive("seal", "1") + self._derive("seal", "2"))

    def _derive(self, use: str, name: str) -> bytes:
        return hmac.new(self._master(), f"m3r-webhook\n{use}\n{name}".encode(), hashlib.sha256).digest()

    def _master(self) -> bytes:
        if self._configured is not None:
            return hashlib.sha256(self._configured.encode()).digest()
        with self._lock:
            if self._kept is None:
                self._kept = self._find_or_make()
            return self._kept

    def _find_or_make(self) -> bytes:
        """The kept master key. Of several processes that make one at the same time, one wins and all read its key."""
        with contextlib.suppress(ObjectNotFound):
            return self._objects.read(webhook_key())
        with contextlib.suppress(ObjectExists):
            self._objects.put(webhook_key(), secrets.token_bytes(32), if_absent=True)
        return self._objects.read(webhook_key())


def is_secret(text: str) -> bool:
    """Whether it is `whsec_` and 24 to 64 bytes in base64 (Standard Webhooks, "Signature scheme")."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(SECRET_PREFIX) and 24 <= len(key) <= 64
