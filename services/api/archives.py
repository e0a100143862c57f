"""One zip of photographs, taken apart without trusting anything it says about itself.

The caps: entries, bytes in all, bytes per entry, and the ratio of inflated to stored bytes, counted while inflating.
"""

from __future__ import annotations

import io
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from services.api.photo_names import has_photo_suffix
from services.api.photos import photo_format, read_head
from services.api.problems import ProblemError
from services.contract.codes import ProblemCode
from services.contract.problems import FieldError

SPOOL_BYTES = 1 << 20  # an entry up to this size stays in memory
RATIO_FLOOR_BYTES = 1 << 20  # small entries may deflate as well as they like
MAX_DIRECTORY_BYTES = 16 << 20  # of the central directory, which zipfile reads at once
_CHUNK = 1 << 16
_ENCRYPTED = 0x1
_NESTED = (b"PK\x03\x04", b"PK\x05\x06", b"7z\xbc\xaf", b"Rar!", b"\x1f\x8b")


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may hold."""

    entries: int
    entry_bytes: int
    total_bytes: int
    ratio: float  # bytes inflated per byte stored


@dataclass
class ArchivePhoto:
    """One entry that is, or claims to be, a photograph. `file` is None when it could not be read; `fault` says why."""

    name: str  # as in the archive
    file: BinaryIO | None
    fault: str | None = None


def read_archive(file: BinaryIO, limits: ArchiveLimits, warnings: list[str]) -> Iterator[ArchivePhoto]:
    """Give a zip's photographs in the archive's order; other files are left out with a warning.

    Raises:
        ProblemError: invalid_archive or too_large; nothing of the archive is to be used.
    """
    _check_directory(file, limits)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError) as error:
        raise _invalid(f"it cannot be read as a zip file ({error})") from None
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_clutter(entry.filename)]
        _check_entries(archive.infolist(), limits)
        left = limits.total_bytes
        for entry in entries:
            photo = _read_entry(archive, entry, limits, left)
            if photo.file is not None:
                left -= photo.file.seek(0, io.SEEK_END)
                head = read_head(photo.file)
                if head.startswith(_NESTED):
                    raise _invalid("archives inside the archive are not opened", entry.filename)
                if photo_format(head) is None and not has_photo_suffix(entry.filename):
                    warnings.append(f"{printable(entry.filename)!r} in the archive is not a photograph; it was left out")
                    continue
            yield photo


def printable(name: str) -> str:
    """Shorten a name from outside so that it can stand in a message."""
    shown = "".join(c if c.isprintable() else "?" for c in name)
    return shown if len(shown) <= 100 else shown[:97] + "..."


def _check_directory(file: BinaryIO, limits: ArchiveLimits) -> None:
    """Read the end-of-central-directory record (APPNOTE 4.3.16) before zipfile loads the directory it points to."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 65_635))
    tail = file.read()
    plain = tail[-22:-18] == b"PK\x05\x06" and tail[-2:] == b"\0\0"  # the usual case, without a comment
    at = len(tail) - 22 if plain else tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise _invalid("it is not a zip file, or it is cut off")
    entries, directory_bytes = struct.unpack("<HI", tail[at + 10 : at + 16])
    if at >= 76 and tail[at - 20 : at - 16] == b"PK\x06\x07":  # zip64: its record lies right before its locator
        entries, directory_bytes = struct.unpack("<QQ", tail[at - 44 : at - 28])
    if entries > limits.entries:
        raise _invalid(f"{entries} entries; the limit is {limits.entries}")
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise _invalid(f"a directory of {directory_bytes} bytes; the limit is {MAX_DIRECTORY_BYTES}")


def _check_entries(entries: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    if len(entries) > limits.entries:
        raise _invalid(f"{len(entries)} entries; the limit is {limits.entries}")
    for entry in entries:
        _check_place(entry)
    declared = sum(entry.file_size for entry in entries)
    if declared > limits.total_bytes:
        detail = f"archive: {declared} bytes when inflated; the limit is {limits.total_bytes}"
        raise ProblemError(413, ProblemCode.TOO_LARGE, detail, [FieldError(pointer="/archive", message=detail)])


def _check_place(entry: zipfile.ZipInfo) -> None:
    """Refuse names that leave the archive, links, encryption and methods that cannot be inflated in bounded steps."""
    name = entry.orig_filename.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/") or "\0" in name:
        raise _invalid("names must be relative, without '..'", entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _invalid("links and special files are not taken", entry.filename)
    if entry.flag_bits & _ENCRYPTED:
        raise _invalid("encrypted entries cannot be read", entry.filename)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _invalid("only stored and deflated entries are taken", entry.filename)


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: ArchiveLimits, left: int) -> ArchivePhoto:
    spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115 - handed on to the caller
    try:
        _inflate(archive, entry, spool, limits, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, struct.error):
        spool.close()
        return ArchivePhoto(entry.filename, None, "the archive's entry is damaged")
    except BaseException:
        spool.close()
        raise
    return ArchivePhoto(entry.filename, spool)


def _inflate(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, spool: BinaryIO, limits: ArchiveLimits, left: int) -> None:
    written = 0
    with archive.open(entry) as source:
        while block := source.read(_CHUNK):
            written += len(block)
            if written > RATIO_FLOOR_BYTES and written > limits.ratio * max(entry.compress_size, 1):
                raise _invalid(f"it inflates more than {limits.ratio:g} times", entry.filename)
            if written > min(limits.entry_bytes, left):
                detail = f"archive: {printable(entry.filename)!r} has more than {min(limits.entry_bytes, left)} bytes, the limit"
                raise ProblemError(413, ProblemCode.TOO_LARGE, detail, [FieldError(pointer="/archive", message=detail)])
            spool.write(block)


def _is_clutter(name: str) -> bool:
    """What operating systems leave in archives; not worth a warning."""
    parts = name.split("/")
    return parts[0] == "__MACOSX" or parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini")


def _invalid(reason: str, entry: str | None = None) -> ProblemError:
    where = f"{printable(entry)!r}: " if entry is not None else ""
    error = FieldError(pointer="/archive", message=where + reason)
    return ProblemError(422, ProblemCode.INVALID_ARCHIVE, f"archive: {where}{reason}", [error])
