"""Names of photographs as clients send them, made safe to be part of an object key."""

from __future__ import annotations

import unicodedata

MAX_NAME_BYTES = 180  # leaves room for a store's own suffixes within the usual 255

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".heic", ".heif", ".hif", ".tif", ".tiff")


def safe_photo_name(name: str) -> str:
    """Reduce a file name to its last part, without control characters, at most `MAX_NAME_BYTES` long.

    Returns "" when nothing is left.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(c for c in last if c.isprintable() and unicodedata.category(c) != "Cs").strip().lstrip(".")
    return _shorten(printable)


def has_photo_suffix(name: str) -> bool:
    """Say whether the name promises a photograph."""
    return name.lower().endswith(PHOTO_SUFFIXES)


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > 10:
        stem, suffix = name, ""
    kept = stem.encode()[: MAX_NAME_BYTES - len((dot + suffix).encode())].decode(errors="ignore")
    return kept + (dot + suffix if suffix else "")
