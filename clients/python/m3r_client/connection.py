"""How to reach a service: what both clients are built with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx

from m3r_client.retrying import RetryPolicy

PARALLEL_UPLOADS = 4


@dataclass(frozen=True)
class Connection:
    """Where the service is, the key, and how patient to be."""

    url: str
    key: str | None = field(default=None, repr=False)
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    def http_arguments(self) -> dict[str, Any]:
        """Arguments of an httpx client, blocking or not."""
        headers = {"User-Agent": "m3r-client/0.1.0", "Accept": "application/json, */*"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        limits = httpx.Limits(max_connections=20, keepalive_expiry=20)
        return {"base_url": self.url.rstrip("/"), "headers": headers, "limits": limits}
