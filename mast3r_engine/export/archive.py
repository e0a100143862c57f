"""Formats of several files as one zip, the same bytes for the same content."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mast3r_engine.export.atomic import replace_when_done

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment a zip can hold; the time of writing would make every file another
STORED = (".png", ".jpg", ".jpeg", ".npz")  # compressed already


def write_archive(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write `(name inside, content)` one after the other, so that an iterator never holds more than one of them."""
    with replace_when_done(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if name.lower().endswith(STORED) else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def readme(title: str, lines: Iterable[str]) -> tuple[str, bytes]:
    """The `README.txt` of an archive."""
    return "README.txt", "\n".join([title, "", *lines, ""]).encode()


def array_bytes(values: NDArray[np.generic]) -> bytes:
    """An `.npy` file."""
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()
