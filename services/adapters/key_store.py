"""Keys and tenants in the object store, where an empty Redis loses none of them (synchronous, for threads and the command line).

access/keys/<sha256>.json      KeyRecord; a revoked one stays, so that a service does not become open with its last key
access/tenants/<name>.json     TenantRecord
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from pydantic import ValidationError

from services.adapters.objects import ObjectNotFound, ObjectStore
from services.contract import keys
from services.contract.access import KEY_PREFIX, KeyRecord, Scope, TenantRecord

ID_DIGITS = 16


class KeyNotFound(Exception):
    """No key has this id."""


class KeyStore:
    """Makes, finds and revokes keys; keeps what tenants may use. Every method may raise ObjectStoreError."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def create(
        self, tenant: str, scopes: Sequence[Scope], label: str = "", expires_at: datetime | None = None
    ) -> tuple[str, KeyRecord]:
        """Make a key of 256 random bits; gives it, this once, and its record."""
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        digest = hash_key(key)
        record = KeyRecord(
            id=f"key_{digest[:ID_DIGITS]}",
            sha256=digest,
            tenant=tenant,
            scopes=sorted(set(scopes)),
            label=label,
            created_at=datetime.now(UTC),
            expires_at=expires_at,
        )
        self._write(record)
        return key, record

    def find(self, sha256: str) -> KeyRecord | None:
        """Look a key up by its SHA-256 (hex); revoked and expired ones are found too."""
        try:
            return KeyRecord.model_validate_json(self._objects.read(keys.access_key(sha256)))
        except (ObjectNotFound, ValidationError):
            return None

    def list(self, tenant: str | None = None) -> Iterator[KeyRecord]:
        """Give all keys, or a tenant's."""
        for found in self._objects.list(keys.ACCESS_KEYS_PREFIX):
            record = self.find(found.key.removeprefix(keys.ACCESS_KEYS_PREFIX).removesuffix(".json"))
            if record is not None and tenant in (None, record.tenant):
                yield record

    def revoke(self, key_id: str) -> KeyRecord:
        """Make a key worthless; one that is already stays as it is. Raises KeyNotFound."""
        record = next((record for record in self.list() if record.id == key_id), None)
        if record is None:
            raise KeyNotFound(f"there is no key {key_id!r}")
        if record.revoked_at is None:
            record = record.model_copy(update={"revoked_at": datetime.now(UTC)})
            self._write(record)
        return record

    def any(self) -> bool:
        """Whether a key was ever made."""
        # The folders are asked for first: a store that is away raises there, it is not mistaken for one without keys.
        return "keys" in self._objects.list_folders(keys.ACCESS_PREFIX) and any(
            True for _ in self._objects.list(keys.ACCESS_KEYS_PREFIX)
        )

    def tenant(self, name: str) -> TenantRecord:
        """What a tenant may use; one of which nothing is written down may use what the settings say."""
        try:
            return TenantRecord.model_validate_json(self._objects.read(keys.access_tenant(name)))
        except ObjectNotFound:
            return TenantRecord(name=name)

    def tenants(self) -> Iterator[TenantRecord]:
        """Give what is written down of tenants."""
        for found in self._objects.list(keys.ACCESS_TENANTS_PREFIX):
            yield self.tenant(found.key.removeprefix(keys.ACCESS_TENANTS_PREFIX).removesuffix(".json"))

    def set_tenant(self, record: TenantRecord) -> None:
        """Write down what a tenant may use."""
        self._objects.put(keys.access_tenant(record.name), record.model_dump_json().encode(), "application/json")

    def _write(self, record: KeyRecord) -> None:
        self._objects.put(keys.access_key(record.sha256), record.model_dump_json().encode(), "application/json")


def hash_key(key: str) -> str:
    """The SHA-256 of a key in hex. It has 256 random bits, so neither salt nor a slow hash would add anything."""
    return hashlib.sha256(key.encode()).hexdigest()
