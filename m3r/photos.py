"""Photographs in a folder."""

from __future__ import annotations

from pathlib import Path

import typer

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".heic", ".heif"})


def find_photos(place: Path) -> list[Path]:
    """List the photographs of a folder in order of their names, or the one file given.

    Raises:
        typer.BadParameter: there is none.
    """
    if place.is_file():
        return [place]
    photos = sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not photos:
        raise typer.BadParameter(f"{place} holds no photograph ({', '.join(sorted(SUFFIXES))})")
    return photos
