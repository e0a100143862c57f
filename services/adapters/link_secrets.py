"""The secrets that signed links are signed with, in the object store: every API process knows them, a restart changes nothing.

access/signing/<id>.json   LinkSecret; the newest signs, all that are there are believed
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from pydantic import ValidationError

from services.adapters.objects import ObjectNotFound, ObjectStore
from services.contract import keys
from services.contract.access import LinkSecret


class LinkSecrets:
    """Makes and reads the secrets. Every method may raise ObjectStoreError."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def all(self) -> tuple[LinkSecret, ...]:
        """Give the secrets, the newest first."""
        found = [self._read(stored.key) for stored in self._objects.list(keys.ACCESS_SIGNING_PREFIX)]
        return tuple(sorted((secret for secret in found if secret), key=lambda secret: secret.created_at, reverse=True))

    def current(self) -> LinkSecret:
        """Give the secret that signs; makes the first one."""
        known = self.all()
        return known[0] if known else self.rotate()

    def rotate(self, older: bool = False) -> LinkSecret:
        """Make a new secret and forget all but the one before it; `older`: that one too, links handed out end now."""
        before = self.all()
        secret = LinkSecret(id=secrets.token_hex(4), secret=secrets.token_hex(32), created_at=datetime.now(UTC))
        self._objects.put(keys.access_signing(secret.id), secret.model_dump_json().encode(), "application/json")
        for old in before if older else before[1:]:
            self._objects.delete(keys.access_signing(old.id))
        return secret

    def _read(self, key: str) -> LinkSecret | None:
        try:
            return LinkSecret.model_validate_json(self._objects.read(key))
        except (ObjectNotFound, ValidationError):
            return None
