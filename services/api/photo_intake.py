"""Photographs of one capture on their way into the object store: each inspected, the usable ones stored, the others named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from services.adapters.objects import ObjectStore
from services.adapters.settings import Settings
from services.api.archives import ArchiveLimits, printable, read_archive
from services.api.photo_names import safe_photo_name
from services.api.photos import UnusablePhotoError, inspect_photo
from services.api.problems import ProblemError
from services.contract import keys
from services.contract.codes import ProblemCode
from services.contract.jobs import ImageInput
from services.contract.problems import FieldError


class PhotoIntake:
    """Collects the photographs of a capture. Its methods block; call them from a thread, one at a time."""

    def __init__(self, capture_id: str, objects: ObjectStore, settings: Settings) -> None:
        self.capture_id = capture_id
        self.images: list[ImageInput] = []
        self.faults: list[FieldError] = []  # photographs that cannot be used, and why
        self.warnings: list[str] = []
        self._objects = objects
        self._settings = settings
        self._names: set[str] = set()

    def add_photo(self, filename: str, file: BinaryIO, at: int) -> None:
        """Take one uploaded photograph, the `at`-th; closes the file.

        Raises:
            ProblemError: duplicate_name.
            ObjectStoreError: the store failed.
        """
        pointer = f"/images/{at}"
        with file:
            self._add(self._take_name(filename, at, pointer), file, pointer)

    def add_archive(self, file: BinaryIO) -> None:
        """Take every photograph of a zip; closes the file.

        Raises:
            ProblemError: invalid_archive, duplicate_name, too_many_images or too_large; nothing is to be kept.
            ObjectStoreError: the store failed.
        """
        limit = self._settings
        limits = ArchiveLimits(limit.max_archive_entries, limit.max_photo_bytes, limit.max_capture_bytes, limit.max_archive_ratio)
        with file:
            for at, photo in enumerate(read_archive(file, limits, self.warnings)):
                check_count(at + 1, limit.max_photos)
                name = self._take_name(photo.name, at, "/archive")
                if photo.file is None:
                    self.faults.append(FieldError(pointer="/archive", message=f"{name!r}: {photo.fault}"))
                    continue
                with photo.file:
                    self._add(name, photo.file, "/archive")

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

    def _add(self, name: str, file: BinaryIO, pointer: str) -> None:
        try:
            header = inspect_photo(file, self._settings.max_photo_pixels)
        except UnusablePhotoError as error:
            self.faults.append(FieldError(pointer=pointer, message=f"{name!r}: {error}"))
            return
        file.seek(0)
        stored = self._objects.put(keys.capture_image(self.capture_id, name), file, header.media_type)
        self.images.append(
            ImageInput(
                name=name,
                bytes=stored.bytes,
                sha256=stored.sha256,
                media_type=header.media_type,
                width=header.width,
                height=header.height,
            )
        )

    def _take_name(self, filename: str, at: int, pointer: str) -> str:
        name = safe_photo_name(filename) or f"image_{at:03d}"
        if name in self._names:
            detail = f"two photographs are named {printable(name)!r}; names must differ, and folders do not count"
            raise ProblemError(422, ProblemCode.DUPLICATE_NAME, detail, [FieldError(pointer=pointer, message=detail)])
        self._names.add(name)
        return name


def check_count(count: int, limit: int) -> None:
    """Refuse a photograph beyond the limit; raises ProblemError too_many_images."""
    if count > limit:
        detail = f"more than {limit} photographs, the limit of one job (GET /v1/info tells all limits)"
        raise ProblemError(422, ProblemCode.TOO_MANY_IMAGES, detail, [FieldError(pointer="/images", message=detail)])


def _invalid_images(faults: Sequence[FieldError], usable: int) -> ProblemError:
    what = "not every photograph is usable, and strict_images was asked for" if usable else "no photograph is usable"
    detail = f"{what}: " + "; ".join(fault.message for fault in faults[:3]) + ("; …" if len(faults) > 3 else "")
    return ProblemError(422, ProblemCode.INVALID_IMAGE, detail, faults)
