"""What a file is, by its first bytes: before any parser sees it."""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Literal

from mast3r_engine.checkpoints.stored import refuse

FileKind = Literal["zip", "pickle", "safetensors"]

HEAD_BYTES = 65_536
MAX_SAFETENSORS_HEADER = 100_000_000  # the format's own limit


def identify_file(path: Path) -> FileKind:
    """Which parser a file is for; CheckpointError says what the file is if it is for none."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise refuse(path, f"cannot be read ({error.strerror})") from error
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= MAX_SAFETENSORS_HEADER:
        return "safetensors"
    if head.startswith(b"\x80\x02"):  # torch's own protocol; no published file has another
        return "pickle"
    if head[:1] == b"\x80" and head[1:2] in (b"\x03", b"\x04", b"\x05"):
        raise refuse(path, describe_pickle(path))
    raise refuse(path, _describe_foreign(head))


def _describe_foreign(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the weights themselves (run `git lfs pull`)"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, probably the error page of a failed download"
    if text.startswith((b"<?xml", b"{", b"[")):
        return "an XML or JSON text, not weights"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip archive (unpack it first)"
    return f"not a checkpoint (it begins with the bytes {head[:8].hex(' ')})"


def describe_pickle(path: Path) -> str:
    """What a bare pickle seems to hold, by the texts in it; nothing is executed."""
    texts = set()
    try:
        with path.open("rb") as file:
            for opcode, argument, _ in pickletools.genops(file.read(HEAD_BYTES)):
                if isinstance(argument, str) and opcode.name != "PERSID":
                    texts.add(argument)
    except Exception:  # the opcodes of a hostile or cut-off pickle can fail in any way; what was seen so far counts
        texts.discard("")
    if {"Codebook", "centroids"} <= texts:
        return "a retrieval codebook, which belongs beside a MASt3R checkpoint"
    return "a Python pickle that is no published checkpoint"
