"""The keys as the API sees them: those of the settings and those of the key store, remembered for a few seconds."""

from __future__ import annotations

import hmac

from anyio import CapacityLimiter

from services.adapters.key_store import KeyStore, hash_key
from services.adapters.objects import ObjectStoreError
from services.adapters.settings import Settings
from services.api.short_cache import ShortCache
from services.contract.access import KeyRecord, TenantRecord

FRESH_S = 3.0  # a revoked key works so long at most, a new one after so long at the latest
STALE_S = 300.0  # while the object store is away known keys go on working; nobody can revoke one then
THREADS = 4


class Keyring:
    """Answers whether a key is known, and whether one is needed."""

    def __init__(self, settings: Settings, store: KeyStore) -> None:
        threads = CapacityLimiter(THREADS)  # of its own: whoever uploads slowly does not keep others from being let in
        self._configured = tuple(known.strip().lower() for known in settings.api_key_sha256s)
        self._records: ShortCache[KeyRecord | None] = ShortCache(store.find, threads, FRESH_S, STALE_S)
        self._tenants: ShortCache[TenantRecord] = ShortCache(store.tenant, threads, FRESH_S, STALE_S)
        self._any: ShortCache[bool] = ShortCache(lambda _: store.any(), threads, FRESH_S, STALE_S)
        self._required = bool(self._configured)

    def is_configured(self, key: str) -> bool:
        """Whether the settings name this key's hash. Each is compared in constant time, so that the time tells nothing."""
        digest = hash_key(key)
        matches = [hmac.compare_digest(digest, known) for known in self._configured]
        return any(matches)

    async def find(self, key: str) -> KeyRecord | None:
        """Look a key up in the store; raises ObjectStoreError."""
        return await self._records.get(hash_key(key))

    async def required(self) -> bool:
        """Whether requests need a key: from the first one on, and for ever. Raises ObjectStoreError."""
        if not self._required:
            self._required = await self._any.get("")
        return self._required

    async def tenant(self, name: str) -> TenantRecord:
        """What is written down of a tenant; while nobody can say, what the settings say is good for it."""
        try:
            return await self._tenants.get(name)
        except ObjectStoreError:
            return TenantRecord(name=name)
