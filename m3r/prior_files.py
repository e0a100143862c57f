"""Priors from files: `cameras.json`, a folder of masks, a folder of depth maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from mast3r_engine import Priors

T = TypeVar("T")


def read_priors(photos: Sequence[Path], cameras: Path | None, masks: Path | None, depths: Path | None) -> Priors:
    """Read what was given. Masks and depth maps are named like their photograph, or like it with another suffix.

    Raises:
        typer.BadParameter: a file cannot be read, or belongs to no photograph.
        PriorsError: what it says cannot be.
    """
    from mast3r_engine.prior_images import read_depth, read_mask
    from mast3r_engine.priors_document import priors_from_document

    document: dict[str, Any] = {}
    if cameras is not None:
        try:
            document = json.loads(cameras.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise typer.BadParameter(f"{cameras} is not readable JSON: {error}") from None
    return priors_from_document(
        document,
        masks=_read_folder(photos, masks, read_mask, (".png",)),
        depths=_read_folder(photos, depths, read_depth, (".png", ".npy")),
    )


def _read_folder(
    photos: Sequence[Path], folder: Path | None, read: Callable[[Path], T], suffixes: tuple[str, ...]
) -> Mapping[str, T]:
    """Every file is looked at once here, so that a bad one is told before the weights are read, and again when it is needed."""
    from mast3r_engine.prior_images import ReadWhenAsked

    if folder is None:
        return {}
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    if not files:
        raise typer.BadParameter(f"{folder} holds no {' or '.join(suffixes)} file")
    maps = ReadWhenAsked({_photo_of(path, photos): path for path in files}, read)
    for name in maps:
        maps[name]
    return maps


def _photo_of(path: Path, photos: Sequence[Path]) -> str:
    """`a.jpg.png` and `a.png` belong to `a.jpg`."""
    names = [photo.name for photo in photos if path.stem == photo.name] or [p.name for p in photos if path.stem == p.stem]
    if len(names) != 1:
        whose = "no photograph" if not names else f"{len(names)} photographs: {', '.join(names)}"
        raise typer.BadParameter(f"{path} belongs to {whose}; call it like its photograph, with .png behind its whole name")
    return names[0]
