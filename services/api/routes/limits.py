"""Limits of the interface itself; those of photographs are settings."""

from __future__ import annotations

MAX_WAIT_S = 60  # of a long poll; proxies cut longer ones
MAX_PAGE = 200
DEFAULT_PAGE = 50
