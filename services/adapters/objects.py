"""Where bytes lie: one interface, two back ends (a directory, S3).

ObjectStoreError
├── StorageUnavailable   the store does not answer; later it may
├── OutOfSpace           the disk is full, or nearly
├── ObjectNotFound       there is nothing under this key
├── ObjectExists         something lies there already and `if_absent` was asked for
└── InvalidKey           the key is absolute, leaves the store or holds characters that no key of ours has
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from services.adapters.settings import Settings

CHUNK_BYTES = 2**20


class ObjectStoreError(Exception):
    """Base of what an object store raises."""


class StorageUnavailable(ObjectStoreError):
    """The store does not answer."""


class OutOfSpace(ObjectStoreError):
    """The disk is full, or has less left than `min_free_disk_bytes`."""


class ObjectNotFound(ObjectStoreError):
    """There is nothing under this key."""


class ObjectExists(ObjectStoreError):
    """Something lies under this key already."""


class InvalidKey(ObjectStoreError):
    """This cannot be a key."""


@dataclass(frozen=True)
class StoredObject:
    """One object: its key, its size and the SHA-256 of its bytes in hex."""

    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class PresignedPut:
    """A URL that takes one object without credentials, and the headers that must be sent with it."""

    url: str
    headers: dict[str, str]


class ObjectStore(Protocol):
    """Objects by key. Synchronous and thread-safe; an object appears whole or not at all."""

    def put(
        self, key: str, data: bytes | BinaryIO, media_type: str = "application/octet-stream", if_absent: bool = False
    ) -> StoredObject:
        """Store an object, replacing what lies there; with `if_absent`, raise ObjectExists instead."""

    def stat(self, key: str) -> StoredObject | None:
        """Say what lies under a key."""

    def read(self, key: str) -> bytes:
        """Give an object's bytes; raises ObjectNotFound."""

    def open_range(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Give bytes [start, end) in chunks; raises ObjectNotFound before the first chunk."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Give every object below a prefix that ends in "/", in the order of the keys."""

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Give the names of the folders directly below a prefix that ends in "/"; one that was just emptied may linger (S3)."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""

    def delete_prefix(self, prefix: str) -> int:
        """Remove everything below a prefix that ends in "/"; says how many objects there were."""

    def presign(self, key: str, expires_s: float, download_name: str | None = None) -> str | None:
        """Give a URL that reads the object without credentials; None where the store has no URLs."""

    def presign_put(self, key: str, expires_s: float, size: int, sha256: str) -> PresignedPut | None:
        """Give a URL that takes an object of this size and SHA-256 (hex); None where the store has no URLs.

        A server that does not check sums may let other bytes of this size pass: whoever reads the object verifies it.
        """

    def remove_unfinished(self, begun_before: datetime) -> int:
        """Remove what writers that died have left of objects; nobody ever saw it. Says how many there were."""

    def check(self) -> None:
        """Raise StorageUnavailable or OutOfSpace unless the store can be written."""

    def free_bytes(self) -> int | None:
        """Say how much room is left; None where that is not known."""


def open_store(settings: Settings) -> ObjectStore:
    """Open the store that `settings.store` names."""
    kind, _, place = settings.store.partition(":")
    if kind == "dir" and place:
        from services.adapters.directory import DirectoryStore

        return DirectoryStore(place, min_free_bytes=settings.min_free_disk_bytes)
    if kind == "s3" and place.startswith("//"):
        from services.adapters.s3 import S3Store

        bucket, _, prefix = place[2:].partition("/")
        return S3Store(bucket, prefix, settings)
    raise ValueError(f"store is {settings.store!r}; it must be dir:FOLDER or s3://BUCKET[/PREFIX]")


def check_key(key: str, prefix: bool = False) -> str:
    """Let a key (or a prefix, which ends in "/") pass; raises InvalidKey."""
    parts = key.removesuffix("/").split("/") if prefix else key.split("/")
    bad = any(part in ("", ".", "..") or part.startswith(".m3r-") for part in parts)
    control = any(ord(character) < 32 or character in "\\\x7f" for character in key)
    if bad or control or len(key.encode("utf-8", "replace")) > 900 or (prefix and not key.endswith("/")):
        raise InvalidKey(f"{key!r} is not a key: names without '..', '\\' or control characters, separated by single '/'")
    return key
