"""What is known beforehand against the photographs it is about: names and sizes, before anything is queued."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from services.api.problems import ProblemError
from services.contract.cameras import CamerasDocument
from services.contract.codes import ProblemCode
from services.contract.jobs import ImageInput, PriorFile
from services.contract.problems import FieldError

NAMES_TOLD = 5
FAULTS_TOLD = 5


def check_sizes(document: CamerasDocument | None, files: Sequence[PriorFile], images: Sequence[ImageInput]) -> None:
    """Refuse what belongs to photographs of other sizes; about photographs that are not there yet nothing can be said.

    Raises:
        ProblemError: 422 invalid_priors, with a pointer to each fault.
    """
    _refuse(_size_faults(document, files, {image.name: image for image in images}))


def check_priors(
    document: CamerasDocument | None,
    files: Sequence[PriorFile],
    images: Sequence[ImageInput],
    left_out: Collection[str] = (),
) -> None:
    """Refuse what does not fit the photographs of a job: what `check_sizes` does, and photographs that do not exist.

    Args:
        left_out: photographs that were sent and cannot be used.
    """
    there = {image.name: image for image in images}
    names = document.names if document is not None else {}
    said = [*names.items(), *((file.name, _pointer(file)) for file in files if file.kind != "cameras")]
    unknown = [
        FieldError(pointer=pointer, message=f"{name!r} is not among the photographs: {_some(list(there))}")
        for name, pointer in said
        if name not in there and name not in left_out
    ]
    _refuse([*unknown, *_size_faults(document, files, there)])


def _size_faults(document: CamerasDocument | None, files: Sequence[PriorFile], there: dict[str, ImageInput]) -> list[FieldError]:
    said = [
        (name, "camera", camera.width, camera.height, pointer)
        for name, pointer in (document.names if document is not None else {}).items()
        if document is not None and (camera := document.camera_of(name)) is not None
    ]
    said += [
        (file.name, file.kind, file.width, file.height, _pointer(file))
        for file in files
        if file.width is not None and file.height is not None
    ]
    return [
        FieldError(pointer=pointer, message=_other_size(there[name], what, width, height))
        for name, what, width, height, pointer in said
        if name in there and (width, height) not in there[name].upright_sizes
    ]


def _other_size(image: ImageInput, what: str, width: int, height: int) -> str:
    upright = " or ".join(f"{w}x{h}" for w, h in image.upright_sizes)
    return (
        f"{image.name}: the {what} is {width}x{height} pixels and the photograph {upright} (upright, after EXIF rotation); "
        "bring it to the photograph's size"
    )


def _refuse(faults: Sequence[FieldError]) -> None:
    if faults:
        detail = "; ".join(fault.message for fault in faults[:FAULTS_TOLD]) + ("; …" if len(faults) > FAULTS_TOLD else "")
        raise ProblemError(422, ProblemCode.INVALID_PRIORS, detail, faults)


def _pointer(file: PriorFile) -> str:
    part = {"mask": "masks", "depth": "depths", "cameras": "cameras"}[file.kind]
    return f"/{part}/" + file.name.replace("~", "~0").replace("/", "~1")


def _some(names: Sequence[str]) -> str:
    told = ", ".join(names[:NAMES_TOLD]) + (f" and {len(names) - NAMES_TOLD} more" if len(names) > NAMES_TOLD else "")
    return told or "there are none"
