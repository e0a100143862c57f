"""An object store in a directory: the default, for one machine.

An object is a file; beside it lies a small file `.m3r-meta-<name>` with its SHA-256 and media type. Both appear by an atomic
rename, after fsync. A reader whose file has another size or time than the small file says (a crash between the two renames,
a copy of the folder) computes the sum anew.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from services.adapters.objects import (
    CHUNK_BYTES,
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    OutOfSpace,
    PresignedPut,
    StorageUnavailable,
    StoredObject,
    check_key,
)

META = ".m3r-meta-"
PART = ".m3r-part-"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DirectoryStore:
    """Objects as files below one folder. See `ObjectStore` for the methods."""

    def __init__(self, folder: str | Path, min_free_bytes: int = 0) -> None:
        self.root = Path(folder).absolute()
        self._min_free_bytes = min_free_bytes
        with contextlib.suppress(OSError):  # `check` and every use of it tell
            self.root.mkdir(parents=True, exist_ok=True)

    def put(
        self, key: str, data: bytes | BinaryIO, media_type: str = "application/octet-stream", if_absent: bool = False
    ) -> StoredObject:
        path = self._path(key)
        with storage_errors(key):
            self._require_space()
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.parent / (PART + secrets.token_hex(8))
            try:
                stored = _write(part, key, data)
                self._publish(part, path, stored, media_type, if_absent)
            finally:
                part.unlink(missing_ok=True)
        return stored

    def stat(self, key: str) -> StoredObject | None:
        path = self._path(key)
        with storage_errors(key):
            return _stat(path, key)

    def read(self, key: str) -> bytes:
        return b"".join(self.open_range(key))

    def open_range(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        path = self._path(key)
        with storage_errors(key):
            self._require_root()
            if not path.is_file():
                raise ObjectNotFound(f"nothing is stored under {key!r}")
            file = path.open("rb")
        return _chunks(file, start, end)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        folder = self._path(check_key(prefix, prefix=True).removesuffix("/"))
        for path in _files_below(folder):
            key = path.relative_to(self.root).as_posix()
            stored = _stat(path, key)
            if stored is not None:
                yield stored

    def list_folders(self, prefix: str) -> Iterator[str]:
        folder = self._path(check_key(prefix, prefix=True).removesuffix("/"))
        with storage_errors(prefix):
            self._require_root()
            names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if folder.is_dir() else []
        yield from names

    def delete(self, key: str) -> None:
        path = self._path(key)
        with storage_errors(key):
            path.unlink(missing_ok=True)
            _meta(path).unlink(missing_ok=True)
            self._remove_empty_folders(path.parent)

    def delete_prefix(self, prefix: str) -> int:
        folder = self._path(check_key(prefix, prefix=True).removesuffix("/"))
        count = sum(1 for _ in _files_below(folder))
        with storage_errors(prefix):
            if folder.is_dir():
                shutil.rmtree(folder, onerror=_unless_gone)
                self._remove_empty_folders(folder.parent)
        return count

    def presign(self, key: str, expires_s: float, download_name: str | None = None) -> str | None:  # noqa: ARG002
        return None

    def presign_put(self, key: str, expires_s: float, size: int, sha256: str) -> PresignedPut | None:  # noqa: ARG002
        return None

    def remove_unfinished(self, begun_before: datetime) -> int:
        removed = 0
        with storage_errors(str(self.root)):
            for parent, _, names in os.walk(self.root):
                for part in (Path(parent) / name for name in names if name.startswith(PART)):
                    with contextlib.suppress(FileNotFoundError):  # its writer has just finished
                        if part.stat().st_mtime < begun_before.timestamp():
                            part.unlink()
                            removed += 1
        return removed

    def check(self) -> None:
        with storage_errors(str(self.root)):
            self.root.mkdir(parents=True, exist_ok=True)
            self._require_space()
            probe = self.root / (PART + secrets.token_hex(8))
            probe.write_bytes(b"")
            probe.unlink()

    def free_bytes(self) -> int | None:
        try:
            return shutil.disk_usage(self.root if self.root.exists() else self.root.parent).free
        except OSError:
            return None

    def _path(self, key: str) -> Path:
        path = self.root / check_key(key)
        # A link inside the store could lead out of it; links are not made by us, so none is followed.
        if os.path.realpath(path.parent) != os.path.normpath(os.path.join(os.path.realpath(self.root), *key.split("/")[:-1])):  # noqa: PTH118
            raise InvalidKey(f"{key!r} leads through a symbolic link")
        if path.is_symlink():
            raise InvalidKey(f"{key!r} is a symbolic link")
        return path

    def _require_root(self) -> None:
        if not self.root.is_dir():
            raise StorageUnavailable(f"there is no folder {self.root}; is its disk mounted?")

    def _require_space(self) -> None:
        free = self.free_bytes()
        if free is not None and free < self._min_free_bytes:
            raise OutOfSpace(
                f"{free} bytes are left on the disk; {self._min_free_bytes} are kept free. Remove data or enlarge it."
            )

    def _publish(self, part: Path, path: Path, stored: StoredObject, media_type: str, if_absent: bool) -> None:
        meta = _meta(path)
        meta_part = part.with_name(part.name + "-meta")
        with meta_part.open("w") as file:
            json.dump({"sha256": stored.sha256, "media_type": media_type, **_stamp(part)}, file)
            file.flush()
            os.fsync(file.fileno())
        if if_absent:
            try:
                os.link(part, path)  # fails when the name is taken; a rename would replace
            except FileExistsError:
                meta_part.unlink()
                raise ObjectExists(f"something is stored under {stored.key!r} already") from None
            meta_part.replace(meta)
        else:
            meta_part.replace(meta)
            part.replace(path)
        _sync_folder(path.parent)

    def _remove_empty_folders(self, folder: Path) -> None:
        while folder != self.root and self.root in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


@contextlib.contextmanager
def storage_errors(key: str) -> Iterator[None]:
    """Turn an OSError into the store's own errors."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise OutOfSpace(f"{key}: the disk is full") from error
        raise StorageUnavailable(f"{key}: {error.strerror or error}") from error


def _meta(path: Path) -> Path:
    return path.with_name(META + path.name)


def _write(part: Path, key: str, data: bytes | BinaryIO) -> StoredObject:
    digest, size = hashlib.sha256(), 0
    with part.open("xb") as file:
        for chunk in [data] if isinstance(data, bytes) else iter(lambda: data.read(CHUNK_BYTES), b""):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return StoredObject(key, size, digest.hexdigest())


def _stat(path: Path, key: str) -> StoredObject | None:
    try:
        stamp = _stamp(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with contextlib.suppress(OSError, ValueError, KeyError):
        meta = json.loads(_meta(path).read_text())
        if all(meta[name] == value for name, value in stamp.items()):
            return StoredObject(key, stamp["bytes"], meta["sha256"])
    with path.open("rb") as file:
        return StoredObject(key, stamp["bytes"], hashlib.file_digest(file, "sha256").hexdigest())


def _stamp(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _chunks(file: BinaryIO, start: int, end: int | None) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = None if end is None else max(0, end - start)
        while left is None or left > 0:
            chunk = file.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
            if not chunk:
                return
            left = None if left is None else left - len(chunk)
            yield chunk


def _files_below(folder: Path) -> Iterator[Path]:
    """Give the objects' files in the order of their keys: a folder sorts as its name with a slash."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name + "/" * entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):  # nothing is there, or it has just been removed
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(Path(entry.path))
        elif not entry.name.startswith((META, PART)):
            yield Path(entry.path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unless_gone(_: object, __: str, what: tuple[type[BaseException], BaseException, TracebackType]) -> None:
    """Let what another one has removed meanwhile be no error: two may delete the same."""
    if not isinstance(what[1], FileNotFoundError):
        raise what[1]
