"""References and maps: each a record in Redis for speed and in the object store for good (synchronous, for threads).

    reference:<id>, map:<id>                  the record             references, maps      ids by the end of their retention (ms)
    references:<tenant>, maps:<tenant>        a tenant's ids         localisation:chores   background work by when it may be taken
    references:<tenant>:bytes, maps:…:bytes   id -> bytes it keeps, for the tenant's quota
    localisation:tries                        how often a piece of background work was taken
    localisation:encoded                      references that a worker has encoded

What Redis has lost is read from the object store again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from services.adapters.job_scripts import script, to_ms
from services.adapters.objects import ObjectNotFound, ObjectStore
from services.adapters.redis_client import AsyncClient, Client
from services.adapters.settings import Settings
from services.contract import keys
from services.contract.ids import Prefix, is_id
from services.contract.localisation_records import MapRecord, ReferenceRecord

R = TypeVar("R", ReferenceRecord, MapRecord)


class LimitReached(Exception):
    """The tenant keeps as many as it may."""


@dataclass(frozen=True)
class RecordKind(Generic[R]):
    """How one kind of record is called and where it lies."""

    name: str
    prefix: Prefix
    model: type[R]
    root: str

    def folder(self, record_id: str) -> str:
        """Everything that belongs to a record, in the object store."""
        return f"{self.root}{record_id}/"

    def document(self, record_id: str) -> str:
        """The durable copy of the record."""
        return f"{self.root}{record_id}/{self.name}.json"

    def chore(self, record: R) -> str:
        """The background work that a new record needs, "" for none."""
        return f"{self.name}:{record.id}" if not isinstance(record, MapRecord) or record.status == "building" else ""


REFERENCES: RecordKind[ReferenceRecord] = RecordKind("reference", "ref", ReferenceRecord, keys.REFERENCES_PREFIX)
MAPS: RecordKind[MapRecord] = RecordKind("map", "map", MapRecord, keys.MAPS_PREFIX)


class RecordStore(Generic[R]):
    """The records of one kind. Raises ObjectStoreError and redis.RedisError."""

    def __init__(self, kind: RecordKind[R], settings: Settings, client: Client, objects: ObjectStore) -> None:
        self.kind: RecordKind[R] = kind
        self._redis = client
        self._objects = objects
        self._prefix = settings.key_prefix
        self._scripts: dict[str, Any] = {}

    def count(self, tenant: str) -> int:
        """Say how many a tenant has."""
        return int(self._redis.zcard(f"{self._prefix}{self.kind.name}s:{tenant}"))

    def create(self, record: R, limit: int) -> None:
        """Keep a new record; raises LimitReached, and then nothing of it is kept."""
        self._objects.put(self.kind.document(record.id), record.model_dump_json().encode(), "application/json")
        if not self._enter(record, limit):
            self._objects.delete_prefix(self.kind.folder(record.id))
            raise LimitReached(record.tenant)

    def get(self, record_id: str) -> R | None:
        """Read a record."""
        if not is_id(self.kind.prefix, record_id):
            return None
        document = self._redis.get(f"{self._prefix}{self.kind.name}:{record_id}")
        if not document:
            return self.restore(record_id)
        record: R = self.kind.model.model_validate_json(document)
        return record

    def page(self, tenant: str, cursor: str | None, limit: int) -> tuple[list[R], str | None]:
        """List a tenant's records, newest first, and the cursor of the next page."""
        newest = f"({cursor}" if cursor else "+"
        ids = self._redis.zrevrangebylex(f"{self._prefix}{self.kind.name}s:{tenant}", newest, "-", 0, limit)
        found = [record for record in map(self.get, ids) if record is not None]
        return found, ids[-1] if len(ids) == limit else None

    def update(self, record: R) -> bool:
        """Replace a record; False, and nothing is kept, when it was deleted meanwhile."""
        document, key = record.model_dump_json(), f"{self._prefix}{self.kind.name}:{record.id}"
        if self._redis.set(key, document, xx=True) is None:
            return False
        self._redis.hset(f"{self._prefix}{self.kind.name}s:{record.tenant}:bytes", record.id, weigh(record))
        self._objects.put(self.kind.document(record.id), document.encode(), "application/json")
        if self._redis.exists(key):
            return True
        self._objects.delete_prefix(self.kind.folder(record.id))
        return False

    def delete(self, record: R) -> None:
        """Remove a record with all that belongs to it; may be repeated."""
        self._objects.delete_prefix(self.kind.folder(record.id))
        pipe = self._redis.pipeline(transaction=True)
        pipe.delete(f"{self._prefix}{self.kind.name}:{record.id}")
        pipe.zrem(f"{self._prefix}{self.kind.name}s:{record.tenant}", record.id)
        pipe.zrem(f"{self._prefix}{self.kind.name}s", record.id)
        pipe.hdel(f"{self._prefix}{self.kind.name}s:{record.tenant}:bytes", record.id)
        pipe.zrem(f"{self._prefix}localisation:chores", f"{self.kind.name}:{record.id}")
        pipe.srem(f"{self._prefix}localisation:encoded", record.id)
        pipe.hdel(f"{self._prefix}localisation:tries", f"{self.kind.name}:{record.id}")
        pipe.execute()

    def mark_encoded(self, record_id: str) -> None:
        """Note that a worker has encoded a reference."""
        self._redis.sadd(f"{self._prefix}localisation:encoded", record_id)

    def encoded(self, ids: Sequence[str]) -> list[bool]:
        """Say which references are encoded."""
        return [bool(each) for each in self._redis.smismember(f"{self._prefix}localisation:encoded", list(ids))] if ids else []

    def restore(self, record_id: str) -> R | None:
        """Put back from the object store what Redis does not know; None when there is no such record."""
        try:
            record = self.kind.model.model_validate_json(self._objects.read(self.kind.document(record_id)))
        except (ObjectNotFound, ValidationError):
            return None
        self._enter(record, None)
        return record

    def due(self, now_ms: float) -> list[str]:
        """The records whose retention is over."""
        ids: list[str] = self._redis.zrangebyscore(f"{self._prefix}{self.kind.name}s", "-inf", now_ms, start=0, num=500)
        return ids

    def forget(self, record_id: str) -> None:
        """Take a record that is not there any more out of the index."""
        self._redis.zrem(f"{self._prefix}{self.kind.name}s", record_id)

    def _enter(self, record: R, limit: int | None) -> bool:
        if "enter" not in self._scripts:
            self._scripts["enter"] = self._redis.register_script(script("localisation_enter"))
        facts: list[Any] = [self._prefix, self.kind.name, record.id, record.tenant, record.model_dump_json()]
        expiry, most = to_ms(record.retention_until), "" if limit is None else limit
        return bool(self._scripts["enter"](args=[*facts, expiry, most, self.kind.chore(record), weigh(record)]) == "entered")


def weigh(record: ReferenceRecord | MapRecord) -> int:
    """Bytes that a record keeps in the object store, its encodings left out."""
    return record.image.bytes if isinstance(record, ReferenceRecord) else sum(file.bytes for file in record.files)


async def read_records(kind: RecordKind[R], ids: list[str], client: AsyncClient, settings: Settings) -> list[R | None]:
    """Read several records in one round trip; None for one that Redis does not know."""
    if not ids:
        return []
    documents = await client.mget([f"{settings.key_prefix}{kind.name}:{each}" for each in ids])
    return [kind.model.model_validate_json(document) if document else None for document in documents]
