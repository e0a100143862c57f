"""Photographs of one capture on their way into the object store: each inspected, the usable ones stored, the others named."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import BinaryIO, Protocol

from services.adapters.objects import CHUNK_BYTES, StoredObject
from services.adapters.settings import Settings
from services.api.archives import ArchiveLimits, printable, read_archive
from services.api.photo_names import safe_photo_name
from services.api.photos import UnusablePhotoError, inspect_photo
from services.api.problems import ProblemError
from services.contract import keys
from services.contract.codes import ProblemCode
from services.contract.jobs import ImageInput
from services.contract.problems import FieldError


class PhotoStore(Protocol):
    """What an intake needs of an object store."""

    def put(self, key: str, data: BinaryIO, media_type: str) -> StoredObject:
        """Store an object."""

    def delete_prefix(self, prefix: str) -> int:
        """Remove everything below a prefix."""

    def check(self) -> None:
        """Raise ObjectStoreError unless the store can be written."""

    def free_bytes(self) -> int | None:
        """Say how much room is left; None where that is not known."""


class DigestingStore:
    """Stores nothing and says what it would have: for a request that is read only to see whether it is the one of before."""

    def put(self, key: str, data: BinaryIO, media_type: str) -> StoredObject:  # noqa: ARG002
        return StoredObject(key, data.seek(0, os.SEEK_END), sha256_of(data))

    def delete_prefix(self, prefix: str) -> int:  # noqa: ARG002
        return 0

    def check(self) -> None:
        return None

    def free_bytes(self) -> int | None:
        return None


class PhotoIntake:
    """Collects the photographs of a capture. Several may be stored at a time, each from a thread of its own."""

    def __init__(self, capture_id: str, objects: PhotoStore, settings: Settings) -> None:
        self.capture_id = capture_id
        self.warnings: list[str] = []
        self._objects = objects
        self._settings = settings
        self._names: set[str] = set()
        self._images: dict[int, ImageInput] = {}  # by their place in the request
        self._faults: dict[int, FieldError] = {}
        self._unusable: dict[int, tuple[str, str]] = {}

    @property
    def images(self) -> list[ImageInput]:
        """The usable photographs, in the order they were sent."""
        return [self._images[at] for at in sorted(self._images)]

    @property
    def digests(self) -> list[tuple[str, str]]:
        """Name and SHA-256 (hex) of every photograph, usable or not, in the order they were sent."""
        usable = {at: (image.name, image.sha256) for at, image in self._images.items()}
        return [digest for _, digest in sorted({**usable, **self._unusable}.items())]

    @property
    def faults(self) -> list[FieldError]:
        """The photographs that cannot be used, and why."""
        return [self._faults[at] for at in sorted(self._faults)]

    def take_name(self, filename: str, at: int, pointer: str) -> str:
        """Make the `at`-th photograph's name safe; raises ProblemError duplicate_name."""
        name = safe_photo_name(filename) or f"image_{at:03d}"
        if name in self._names:
            detail = f"two photographs are named {printable(name)!r}; names must differ, and folders do not count"
            raise ProblemError(422, ProblemCode.DUPLICATE_NAME, detail, [FieldError(pointer=pointer, message=detail)])
        self._names.add(name)
        return name

    def add_photo(self, name: str, file: BinaryIO, at: int, pointer: str) -> None:
        """Inspect one photograph and store it, or note what is wrong with it; closes the file. Blocks.

        Raises:
            ObjectStoreError: the store failed.
        """
        with file:
            try:
                header = inspect_photo(file, self._settings.max_photo_pixels)
            except UnusablePhotoError as error:
                self._faults[at] = FieldError(pointer=pointer, message=f"{name!r}: {error}")
                self._unusable[at] = (name, sha256_of(file))
                return
            file.seek(0)
            stored = self._objects.put(keys.capture_image(self.capture_id, name), file, header.media_type)
        self._images[at] = ImageInput(
            name=name,
            bytes=stored.bytes,
            sha256=stored.sha256,
            media_type=header.media_type,
            width=header.width,
            height=header.height,
            exif_orientation=header.orientation,
        )

    def add_archive(self, file: BinaryIO) -> None:
        """Take every photograph of a zip; closes the file. Blocks.

        Raises:
            ProblemError: invalid_archive, duplicate_name, too_many_images or too_large; nothing is to be kept.
            ObjectStoreError: the store failed.
        """
        limit = self._settings
        limits = ArchiveLimits(limit.max_archive_entries, limit.max_photo_bytes, limit.max_capture_bytes, limit.max_archive_ratio)
        with file:
            for at, photo in enumerate(read_archive(file, limits, self.warnings)):
                check_count(at + 1, limit.max_photos)
                name = self.take_name(photo.name, at, "/archive")
                if photo.file is None:
                    self._faults[at] = FieldError(pointer="/archive", message=f"{name!r}: {photo.fault}")
                    self._unusable[at] = (name, "")  # too damaged to be read at all
                else:
                    self.add_photo(name, photo.file, at, "/archive")

    @property
    def left_out(self) -> list[str]:
        """Names of the photographs that cannot be used."""
        return [name for name, _ in self._unusable.values()]

    def discard(self) -> None:
        """Remove what was stored."""
        self._objects.delete_prefix(keys.capture_prefix(self.capture_id))

    def settle(self, strict: bool) -> None:
        """Decide, once all photographs came: unusable ones become warnings, or refuse the submission.

        Raises:
            ProblemError: invalid_image (no photograph is usable, or `strict`), too_few_images (there was none).
        """
        if self.faults and (strict or not self.images):
            raise _invalid_images(self.faults, len(self.images))
        if not self.images:
            detail = "no photograph came; send parts named 'images' (curl: -F images=@a.jpg) or one zip named 'archive'"
            raise ProblemError(422, ProblemCode.TOO_FEW_IMAGES, detail, [FieldError(pointer="/images", message=detail)])
        self.warnings += [f"photo left out: {fault.message}" for fault in self.faults]
        if len(self.images) == 1:
            self.warnings.append("only one usable photo: depth and scale come from it alone, nothing confirms them")


def sha256_of(file: BinaryIO) -> str:
    """The SHA-256 of a whole file, in hex."""
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def check_count(count: int, limit: int) -> None:
    """Refuse a photograph beyond the limit; raises ProblemError too_many_images."""
    if count > limit:
        detail = f"more than {limit} photographs, the limit of one job (GET /v1/info tells all limits)"
        raise ProblemError(422, ProblemCode.TOO_MANY_IMAGES, detail, [FieldError(pointer="/images", message=detail)])


def _invalid_images(faults: Sequence[FieldError], usable: int) -> ProblemError:
    what = "not every photograph is usable, and strict_images was asked for" if usable else "no photograph is usable"
    detail = f"{what}: " + "; ".join(fault.message for fault in faults[:3]) + ("; …" if len(faults) > 3 else "")
    return ProblemError(422, ProblemCode.INVALID_IMAGE, detail, faults)
