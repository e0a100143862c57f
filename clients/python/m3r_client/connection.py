"""How to reach a service: what both clients are built with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx

PARALLEL_UPLOADS = 4


@dataclass(frozen=True)
class Connection:
    """Where the service is, and the key."""

    url: str
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what could never work; raises ValueError."""
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url is {self.url!r}; it must begin with http:// or https://")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise ValueError("key holds characters that no key has; it looks like 'm3r_…'")

    def http_arguments(self) -> dict[str, Any]:
        """Arguments of an httpx client, blocking or not."""
        headers = {"User-Agent": "m3r-client/0.1.0", "Accept": "application/json, */*"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        limits = httpx.Limits(max_connections=20, keepalive_expiry=20)
        return {"base_url": self.url.rstrip("/"), "headers": headers, "limits": limits}
