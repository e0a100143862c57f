"""What is known of photographs beforehand, on its way to the service: cameras and poses, masks, depth maps."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from m3r_client.photos import Photo, Photos, as_photo

CamerasLike = str | PathLike[str] | Mapping[str, Any]
PriorImages = Photos | Mapping[str, str | PathLike[str] | bytes]


@dataclass(frozen=True)
class Priors:
    """Everything that is known; masks and depth maps under their photographs' names."""

    cameras: Mapping[str, Any] | None = None  # as `cameras.json` has it, docs/priors.md
    masks: Sequence[Photo] = field(default_factory=tuple)  # PNG, white where pixels may be used
    depths: Sequence[Photo] = field(default_factory=tuple)  # 16-bit PNG, millimetres

    def of_those_used(self, left_out: Collection[str]) -> Priors:
        """The same, but for what is said of photographs that cannot be used."""
        if not left_out:
            return self
        cameras = None if self.cameras is None else _without(self.cameras, left_out)
        masks, depths = ([each for each in images if each.name not in left_out] for images in (self.masks, self.depths))
        return Priors(cameras, masks, depths)


def gather_priors(
    photos: Sequence[Photo], cameras: CamerasLike | None, masks: PriorImages | None, depths: PriorImages | None
) -> Priors:
    """Read and name what is known.

    Args:
        photos: those that it is about.
        cameras: a JSON file, or what it would hold.
        masks, depths: a folder of PNGs, or several of: a path, (name, bytes); or by the photographs' names. A file belongs to the
            photograph of its name, or of its name without `.png`, or with another suffix.

    Raises:
        ValueError: a file cannot be read, belongs to no photograph, or to one that has another.
    """
    return Priors(_read_cameras(cameras), _match(photos, masks, "mask"), _match(photos, depths, "depth map"))


def _read_cameras(cameras: CamerasLike | None) -> Mapping[str, Any] | None:
    if cameras is None or isinstance(cameras, Mapping):
        return cameras
    try:
        document = json.loads(Path(cameras).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{cameras} is not readable JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{cameras} holds no JSON object")
    return document


def _match(photos: Sequence[Photo], images: PriorImages | None, what: str) -> list[Photo]:
    found: dict[str, Photo] = {}
    for file in [] if images is None else _files(images, what):
        name = _photo_of(file.name, [photo.name for photo in photos], what)
        if name in found:
            raise ValueError(f"{name} has two: {found[name].source!r:.100} and {file.source!r:.100}; give one {what}")
        found[name] = Photo(name, file.source)
    return list(found.values())


def _files(images: PriorImages, what: str) -> list[Photo]:
    if isinstance(images, Mapping):
        return [Photo(name, each if isinstance(each, bytes) else Path(each)) for name, each in images.items()]
    if not isinstance(images, (str, PathLike)):
        return [as_photo(each) for each in images]
    files = [as_photo(file) for file in sorted(Path(images).iterdir()) if file.suffix.lower() == ".png"]
    if not files:
        raise ValueError(f"{images} holds no {what} (.png)")
    return files


def _photo_of(name: str, photos: Sequence[str], what: str) -> str:
    """`a.jpg.png`, `a.jpg` and `a.png` belong to `a.jpg`."""
    stem = Path(name).stem
    names = [photo for photo in photos if photo in (name, stem)] or [photo for photo in photos if Path(photo).stem == stem]
    if len(names) != 1:
        whose = "no photograph" if not names else f"{len(names)} photographs: {', '.join(names[:5])}"
        raise ValueError(f"the {what} {name} belongs to {whose}; call it like its photograph, with .png behind its whole name")
    return names[0]


def _without(cameras: Mapping[str, Any], left_out: Collection[str]) -> dict[str, Any]:
    """A document without what it says of some photographs; the service judges the rest."""
    kept = dict(cameras)
    if isinstance(kept.get("photos"), Mapping):
        kept["photos"] = {name: facts for name, facts in kept["photos"].items() if name not in left_out}
    if isinstance(kept.get("shared_cameras"), list):
        kept["shared_cameras"] = [
            [name for name in group if name not in left_out] if isinstance(group, list) else group
            for group in kept["shared_cameras"]
        ]
    if isinstance(kept.get("distances"), list):
        kept["distances"] = [d for d in kept["distances"] if not (isinstance(d, Mapping) and _between(d) & set(left_out))]
    return kept


def _between(distance: Mapping[str, Any]) -> set[Any]:
    return {distance.get(end) for end in ("first", "second") if isinstance(distance.get(end), str)}
