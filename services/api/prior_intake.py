"""What is known beforehand and comes in one body with the photographs: judged, stored, then matched to its photograph."""

from __future__ import annotations

import io
import json
import secrets
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO

from services.adapters.prior_store import MEDIA_TYPES
from services.adapters.settings import Settings
from services.api.json_body import validate
from services.api.photo_intake import PhotoStore, sha256_of
from services.api.photo_names import safe_photo_name
from services.api.prior_checks import check_priors
from services.api.prior_images import ImageKind
from services.api.prior_upload import cameras_file, judge_prior_image
from services.api.problems import invalid_field
from services.contract import keys
from services.contract.cameras import CamerasDocument
from services.contract.codes import ProblemCode
from services.contract.jobs import ImageInput, PriorFile

PARTS: dict[str, ImageKind] = {"masks": "mask", "depths": "depth"}


class PriorIntake:
    """Collects masks, depth maps and the cameras document of one submission. Files may be stored from several threads."""

    def __init__(self, capture_id: str, objects: PhotoStore, settings: Settings) -> None:
        self._capture_id = capture_id
        self._objects = objects
        self._settings = settings
        self._files: dict[str, PriorFile] = {}  # by their place in the request, "/masks/0"
        self._kept: list[PriorFile] = []

    @property
    def files(self) -> list[PriorFile]:
        """What the job is given, once all is settled."""
        return self._kept

    @property
    def digests(self) -> list[tuple[str, str, str]]:
        """Kind, photograph and SHA-256 of everything, in one order however it was sent."""
        return digests_of(self._kept)

    def add_image(self, kind: ImageKind, filename: str, file: BinaryIO, pointer: str) -> None:
        """Judge and store a mask or depth map; closes the file. Blocks; raises ProblemError, ObjectStoreError."""
        with file:
            name = safe_photo_name(filename)
            prior = judge_prior_image(file, kind, name, sha256_of(file), self._settings.max_photo_pixels, pointer)
            self._files[pointer] = self._store(prior, file)

    def settle(self, cameras: str, images: Sequence[ImageInput], left_out: Collection[str]) -> None:
        """Match everything to the photographs, once all have come; what is said of those left out goes with them. Blocks.

        Raises:
            ProblemError: invalid_priors, duplicate_name.
            ObjectStoreError: the store failed.
        """
        document = _read_document(cameras) if cameras.strip() else None
        names = [image.name for image in images]
        files = [self._matched(pointer, prior, [*names, *left_out]) for pointer, prior in sorted(self._files.items())]
        _require_one_each(files)
        check_priors(document, files, images, left_out)
        self._kept = [file for file in files if file.name not in left_out]
        if document is not None and not document.empty:
            data = document.without(left_out).as_json()
            self._kept.append(self._store(cameras_file(data), io.BytesIO(data)))

    def _matched(self, pointer: str, prior: PriorFile, names: Sequence[str]) -> PriorFile:
        """Name a file's photograph: `a.jpg.png`, `a.jpg` and `a.png` belong to `a.jpg`."""
        path = PurePosixPath(prior.name)
        found = [name for name in names if name in (prior.name, path.stem)] or [
            name for name in names if PurePosixPath(name).stem == path.stem
        ]
        if len(found) != 1:
            whose = f"{len(found)} photographs: {', '.join(found[:5])}" if found else "no photograph that was sent"
            detail = f"{prior.name!r} belongs to {whose}; call it like its photograph, with .png behind its whole name"
            raise invalid_field(pointer, detail, ProblemCode.INVALID_PRIORS)
        return prior.model_copy(update={"name": found[0]})

    def _store(self, prior: PriorFile, data: BinaryIO) -> PriorFile:
        prior = prior.model_copy(update={"id": secrets.token_hex(14)})
        data.seek(0)
        self._objects.put(keys.capture_prior(self._capture_id, prior.id), data, MEDIA_TYPES[prior.kind])
        return prior


def digests_of(priors: Sequence[PriorFile]) -> list[tuple[str, str, str]]:
    """Kind, photograph and SHA-256 of each."""
    return sorted((prior.kind, prior.name, prior.sha256) for prior in priors)


def _read_document(text: str) -> CamerasDocument:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid_field("/cameras", f"not JSON: {error}", ProblemCode.INVALID_PRIORS) from None
    return validate(document, CamerasDocument, ProblemCode.INVALID_PRIORS, "/cameras")


def _require_one_each(files: Sequence[PriorFile]) -> None:
    for (kind, name), count in Counter((file.kind, file.name) for file in files).items():
        if count > 1:
            part = {"mask": "masks", "depth": "depths"}[kind]
            raise invalid_field(f"/{part}", f"{count} files are the {kind} of {name!r}; send one", ProblemCode.DUPLICATE_NAME)
