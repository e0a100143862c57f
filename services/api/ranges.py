"""HTTP range requests (RFC 9110, section 14): one byte range of a file whose bytes never change."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)


class UnsatisfiableRangeError(Exception):
    """The range lies outside the file."""


@dataclass(frozen=True)
class ByteRange:
    """Bytes [start, end) of a file."""

    start: int
    end: int


def choose_range(header: str | None, if_range: str | None, etag: str, size: int) -> ByteRange | None:
    """Say which part of a file to send; None: all of it.

    A header that is no byte range, or names several, is ignored, as the RFC allows; so is one whose `If-Range` names other bytes.

    Raises:
        UnsatisfiableRangeError: the range starts beyond the file's end, or is empty.
    """
    if header is None or (if_range is not None and if_range.strip() != etag):
        return None
    found = _ONE_RANGE.fullmatch(header.strip())
    if found is None or found.group(1) == found.group(2) == "":
        return None
    first, last = found.group(1), found.group(2)
    if first == "":
        return _last_bytes(int(last), size)
    if last != "" and int(last) < int(first):
        return None
    if int(first) >= size:
        raise UnsatisfiableRangeError(f"byte {first} of {size}")
    return ByteRange(int(first), size if last == "" else min(int(last) + 1, size))


def etag_matches(header: str | None, etag: str) -> bool:
    """Say whether an `If-None-Match` header names this tag (weak comparison, RFC 9110 section 13.1.2)."""
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


def _last_bytes(count: int, size: int) -> ByteRange:
    if count == 0 or size == 0:
        raise UnsatisfiableRangeError(f"the last {count} bytes of {size}")
    return ByteRange(max(0, size - count), size)
