"""Prefixed UUIDv7 identifiers: sortable by time of creation (RFC 9562, section 5.7)."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from typing import Literal

Prefix = Literal["cap", "job", "ref", "map", "upl", "req"]

JOB_ID_PATTERN = r"^job_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
CAPTURE_ID_PATTERN = JOB_ID_PATTERN.replace("job_", "cap_")


def new_id(prefix: Prefix) -> str:
    """Make an identifier such as `job_0197…`."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return f"{prefix}_{uuid.UUID(int=value)}"


def id_pattern(prefix: Prefix) -> str:
    """The regular expression of identifiers of this kind."""
    return JOB_ID_PATTERN.replace("job_", f"{prefix}_")


def is_id(prefix: Prefix, text: str) -> bool:
    """Say whether `text` is an identifier of this kind."""
    return re.fullmatch(id_pattern(prefix), text) is not None
