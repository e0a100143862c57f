"""The page's files, as they lie in the package: read once, with their tags and a compressed copy."""

from __future__ import annotations

import functools
import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

INDEX = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page."""

    body: bytes
    compressed: bytes  # gzip
    media_type: str
    tag: str  # of the bytes; the compressed copy has one of its own


@functools.cache
def page_files() -> dict[str, PageFile]:
    """Read every file that a browser may ask for, by its path below the page. What is not in here does not exist."""
    return dict(_read(resources.files("services.api").joinpath("web"), ""))


def _read(folder: Traversable, prefix: str) -> list[tuple[str, PageFile]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        media_type = MEDIA_TYPES.get("." + entry.name.rpartition(".")[2])
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
        elif media_type is not None:
            found.append((prefix + entry.name, _describe(entry.read_bytes(), media_type)))
    return found


def _describe(body: bytes, media_type: str) -> PageFile:
    # No time in the gzip header: every process of a service answers with the same bytes.
    return PageFile(body, gzip.compress(body, 9, mtime=0), media_type, hashlib.sha256(body).hexdigest()[:32])
