"""`Content-Digest` (RFC 9530): what a client says the sum of its body is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

from services.api.problems import ProblemError
from services.contract.codes import ProblemCode
from services.contract.problems import FieldError

ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
_MEMBER = re.compile(r"\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):\s*")


def read_digests(header: str | None) -> dict[str, bytes]:
    """Read the sums that are of an algorithm we know, by algorithm; others are not looked at, as the RFC says.

    Raises:
        ProblemError: 400, the header cannot be read.
    """
    found: dict[str, bytes] = {}
    for member in header.split(",") if header is not None and header.strip() else []:
        match = _MEMBER.fullmatch(member)
        if match is None:
            raise _malformed(member)
        name, value = match.groups()
        try:
            found[name] = base64.b64decode(value, validate=True)
        except binascii.Error:
            raise _malformed(member) from None
    return {name: digest for name, digest in found.items() if name in ALGORITHMS}


class BodySums:
    """Sums of a body as it comes: its SHA-256, and what its client wants compared."""

    def __init__(self, wanted: dict[str, bytes]) -> None:
        self._wanted = wanted
        self._sums = {name: hashlib.new(ALGORITHMS[name]) for name in {"sha-256", *wanted}}

    def update(self, chunk: bytes) -> None:
        """Take the next bytes."""
        for digest in self._sums.values():
            digest.update(chunk)

    def check(self) -> str:
        """Give the SHA-256 in hex; raises ProblemError digest_mismatch when a sum is not the one that was promised."""
        for name, wanted in self._wanted.items():
            if self._sums[name].digest() != wanted:
                raise _mismatch(name, self._sums[name].digest())
        return self._sums["sha-256"].hexdigest()


def _mismatch(name: str, came: bytes) -> ProblemError:
    detail = f"the bytes that came have {name} :{_encode(came)}:, which Content-Digest does not say; send them again"
    pointer = FieldError(pointer="/header/content-digest", message=detail)
    return ProblemError(422, ProblemCode.DIGEST_MISMATCH, detail, [pointer], retryable=True)


def _encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _malformed(member: str) -> ProblemError:
    detail = f"Content-Digest: {member.strip()[:100]!r} cannot be read; 'sha-256=:BASE64:' is wanted (RFC 9530)"
    pointer = FieldError(pointer="/header/content-digest", message=detail)
    return ProblemError(400, ProblemCode.INVALID_REQUEST, detail, [pointer])
